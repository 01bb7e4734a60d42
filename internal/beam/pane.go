package beam

// Timing says where a pane stands relative to the watermark
// (PaneInfo.Timing; the numbers are those on the wire).
type Timing uint8

// The timings, numbered as on the wire.
const (
	Early   Timing = 0
	OnTime  Timing = 1
	Late    Timing = 2
	Unknown Timing = 3
)

// Pane is the PaneInfo of an element: which firing of its window and key it
// belongs to.
type Pane struct {
	First, Last bool
	Timing      Timing
	// Index counts the panes of a key and window from 0.
	Index int64
	// NonSpeculative counts the panes that are not early; -1 in an early one.
	NonSpeculative int64
}

// NoFiring is the pane of an element that no grouping has touched.
var NoFiring = Pane{First: true, Last: true, Timing: Unknown}
