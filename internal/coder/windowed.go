package coder

import (
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// A windowed value is a timestamp, the windows, a pane, then the value:
//
//	| timestamp, 8 bytes | count, 4 bytes | windows ... | pane, 1.. bytes | value ... |
//
// A param_windowed_value is the value alone; the rest is the same for all
// elements and stands in the coder's payload.

// Windowed is the coder of the elements of a data stream.
type Windowed struct {
	value, window *Coder
	// param is the header of all elements of a param_windowed_value, nil for
	// the ordinary windowed_value.
	param *Element
}

// NewWindowed returns the windowed_value coder of these components.
func NewWindowed(value, window *Coder) *Windowed {
	return &Windowed{value: value, window: window}
}

// ParseWindowed reads a coder that must be beam:coder:windowed_value:v1 or
// beam:coder:param_windowed_value:v1.
func ParseWindowed(id string, coders map[string]*pipepb.Coder) (*Windowed, error) {
	c, err := Parse(id, coders)
	if err != nil {
		return nil, err
	}
	if c.windowed == nil {
		return nil, invalid("coder "+id, "it is %s, not a coder of windowed values", c)
	}
	return c.windowed, nil
}

// Value returns the coder of the values.
func (w *Windowed) Value() *Coder { return w.value }

// Window returns the coder of one window.
func (w *Windowed) Window() *Coder { return w.window }

// WindowKind tells the layout of a window's bytes.
func (w *Windowed) WindowKind() Kind { return w.window.kind }

// Known says that Scan finds the end of every element.
func (w *Windowed) Known() bool { return w.value.known && (w.window.known || w.param != nil) }

// Element is one windowed element, as slices of the input.
type Element struct {
	// Timestamp lies within the range of event time: one outside is clamped.
	Timestamp beam.EventTime
	// Hold is the watermark that must not be passed while the element waits: its
	// timestamp, or the last instant of a window of it that ends before. Python
	// combines per window with the window's end for a timestamp, and rounds the
	// microsecond before an end that is negative up to it.
	Hold beam.EventTime
	// Windows holds the encoded windows one after another, without the count.
	Windows     []byte
	WindowCount int
	// Pane is the encoded pane, with the element's metadata if it has any.
	Pane []byte
	// Value is the encoded value.
	Value []byte
	// Raw is the whole element. For a param_windowed_value it is the value.
	Raw []byte
}

// Scan reads the first element of b and returns its size. With an error, e is
// unchanged.
func (w *Windowed) Scan(b []byte, e *Element) (n int, err error) {
	if w.param != nil {
		return w.scanParam(b, e)
	}
	if len(b) < timestampSize {
		return 0, ErrShort
	}
	count, windows, first, err := w.window.skipWindows(b[timestampSize:])
	if err != nil {
		return 0, err
	}
	paneAt := timestampSize + windows
	pane, err := skipPane(b[paneAt:])
	if err != nil {
		return 0, err
	}
	valueAt := paneAt + pane
	value, err := w.value.Skip(b[valueAt:])
	if err != nil {
		return 0, err
	}
	n = valueAt + value
	ts := clamp(timestamp(b))
	*e = Element{
		Timestamp:   ts,
		Hold:        min(ts, first),
		Windows:     b[timestampSize+countSize : paneAt : paneAt],
		WindowCount: count,
		Pane:        b[paneAt:valueAt:valueAt],
		Value:       b[valueAt:n:n],
		Raw:         b[:n:n],
	}
	return n, nil
}

func (w *Windowed) scanParam(b []byte, e *Element) (int, error) {
	n, err := w.value.Skip(b)
	if err != nil {
		return 0, err
	}
	*e = *w.param
	e.Value, e.Raw = b[:n:n], b[:n:n]
	return n, nil
}

// readParam reads the payload of a param_windowed_value: a windowed value
// of bytes in the outer form, of which only the header counts.
func (w *Windowed) readParam(payload []byte) (*Element, error) {
	var e Element
	header := NewWindowed(GlobalWindow, w.window)
	if _, err := header.Scan(payload, &e); err != nil {
		return nil, whole(err)
	}
	e.Value, e.Raw = nil, nil
	return &e, nil
}

// EachWindow calls f with each encoded window of an element that w scanned.
func (w *Windowed) EachWindow(e *Element, f func(raw []byte) error) error {
	return w.window.eachWindow(e.Windows, e.WindowCount, f)
}

// AppendHeader appends all of a windowed value but the value. The windows are
// given one after another, as in Element.
func AppendHeader(dst []byte, ts beam.EventTime, windowCount int, rawWindows []byte, pane beam.Pane) []byte {
	return AppendPane(appendWindows(AppendTimestamp(dst, ts), windowCount, rawWindows), pane)
}

// AppendElement appends e as a windowed_value, from all its fields but Raw.
func AppendElement(dst []byte, e *Element) []byte {
	dst = appendWindows(AppendTimestamp(dst, e.Timestamp), e.WindowCount, e.Windows)
	return append(append(dst, e.Pane...), e.Value...)
}

// AppendInWindow appends an element as one in a single window of those that it
// is in. The element is Element.Raw of a windowed_value, windows the length of
// its Element.Windows.
func AppendInWindow(dst, element []byte, windows int, window string) []byte {
	if windows == len(window) {
		return append(dst, element...)
	}
	dst = append(AppendIterableCount(append(dst, element[:timestampSize]...), 1), window...)
	return append(dst, element[timestampSize+countSize+windows:]...)
}

func appendWindows(dst []byte, count int, raw []byte) []byte {
	return append(AppendIterableCount(dst, count), raw...)
}
