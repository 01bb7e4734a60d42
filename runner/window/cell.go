package window

import "fresnel/internal/beam"

// cell is the state of one key and window in the incremental way.
//
//	first element ──▶ open ──trigger finished──▶ closed (a tombstone that drops what comes)
//	                   │                           │
//	                   └────── garbage time ───────┴──▶ gone
//
// A merge makes one cell of several.
type cell struct {
	key *keyed
	*extent
	values values
	// fresh counts the elements since the last pane: a pane without is empty.
	fresh int
	// stamp is the timestamp that the pane to come has by now.
	stamp stamp
	panes panes
	// trig is the trigger's state, in few if that has room.
	trig []nodeState
	few  [3]nodeState

	// ended: the watermark passed the end of the window, and what fires then
	// has fired.
	ended bool
	// late: no pane to come can be on time, as the output watermark may be past
	// the end of the window.
	late bool
	// closed: the trigger has finished.
	closed bool

	// request is the compaction under way, nil if there is none.
	request *request

	event, timer, held slot
}

// extent is one window, shared by the cells in it unless windows merge.
type extent struct {
	raw string // encoded
	// bounds are those of a session.
	bounds beam.Window
	// end is the last instant, gc the last watermark at which the window lives.
	end, gc beam.EventTime
	refs    int
}

// keyed is what a shard has of one key: its cells in order of end, then of the
// encoded window. Where windows merge, the open cells do not overlap, and
// closed has the tombstones.
type keyed struct {
	key    string
	cells  []*cell
	closed map[string]*cell // by encoded window
	one    [1]*cell         // where cells begins
	used   bool             // something came for it of late
}

func newKeyed(key []byte) *keyed {
	k := &keyed{key: string(key)}
	k.cells = k.one[:0]
	return k
}

// states returns the state of a trigger that has not begun.
func (c *cell) states(nodes int) []nodeState {
	if nodes > len(c.few) {
		return make([]nodeState, nodes)
	}
	clear(c.few[:])
	return c.few[:nodes]
}

// footprint is about what a cell takes beside its values.
func (c *cell) footprint() int64 { return 400 + 16*int64(len(c.trig)) }

// before orders the cells of a key. Sessions are in the order of their starts as
// well: one of less than a millisecond, which overlaps none that ends where it
// begins, comes after that one.
func (x *extent) before(o *extent) bool {
	switch {
	case x.end != o.end:
		return x.end < o.end
	case x.bounds.End != o.bounds.End: // both end with the global window
		return x.bounds.End < o.bounds.End
	case x.bounds.Start != o.bounds.Start:
		return x.bounds.Start < o.bounds.Start
	}
	return x.raw < o.raw
}

// empty says whether the pane to come has nothing new.
func (c *cell) empty() bool { return c.fresh == 0 }

// fired begins the next pane, with the values up to now if they are kept.
func (c *cell) fired(a *attic, keep bool) {
	c.fresh, c.stamp = 0, stamp{}
	if !keep {
		c.dropValues(a)
	}
}

// dropValues forgets the values; a compaction under way answers to nobody.
func (c *cell) dropValues(a *attic) {
	c.values.drop(a)
	c.withdraw()
}

// close makes the cell a tombstone.
func (c *cell) close(a *attic) {
	c.closed = true
	c.trig = nil
	c.dropValues(a)
}
