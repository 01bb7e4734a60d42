package window

import (
	"fmt"
	"slices"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Merging windows. A window that is new for a key may join open cells of the
// key: they become one cell, with the values, counts and delays of all. It keeps
// the number of its panes only if its window is that of one of them; else its
// panes begin anew, as a window that nobody has seen. Tombstones never merge:
// their trigger has finished for good.

// mergingCell returns the open cell that has window x now, or its tombstone.
func (w *incremental) mergingCell(k *keyed, x *extent) (*cell, error) {
	if w.s.g.sessions() {
		return w.sessionCell(k, x.bounds), nil
	}
	if c := k.find(x); c != nil {
		return c, nil
	}
	return w.customCell(k, x)
}

// sessionCell merges the cells that overlap b, which touching is not.
func (w *incremental) sessionCell(k *keyed, b beam.Window) *cell {
	from, to := k.overlapping(b)
	if from == to {
		x := w.s.g.newSession(b)
		if c := k.find(x); c != nil { // a session of less than a millisecond overlaps nothing
			return c
		}
		return w.openUnlessClosed(k, x)
	}
	union := b
	for _, c := range k.cells[from:to] {
		union.Start, union.End = min(union.Start, c.bounds.Start), max(union.End, c.bounds.End)
	}
	if first := k.cells[from]; from+1 == to && first.bounds == union {
		return first
	}
	w.merges.cells = append(w.merges.cells[:0], k.cells[from:to]...)
	return w.merge(w.merges.cells, w.s.g.newSession(union))
}

// overlapping is the range of the open cells that overlap b. They overlap one
// another not, so that the order of their ends is that of their starts.
func (k *keyed) overlapping(b beam.Window) (from, to int) {
	from = len(k.cells)
	for from > 0 && k.cells[from-1].bounds.End > b.Start {
		from--
	}
	to = from
	for to < len(k.cells) && k.cells[to].bounds.Start < b.End {
		to++
	}
	return from, to
}

// session is the extent of a session, without raw.
func (g *Grouping) session(b beam.Window) extent {
	end := min(max(b.MaxTimestamp(), beam.MinEventTime), beam.EndOfGlobalWindow)
	return extent{bounds: b, end: end, gc: g.Strategy.GarbageTime(end)}
}

func (g *Grouping) newSession(b beam.Window) *extent {
	x := g.session(b)
	x.raw = string(coder.AppendIntervalWindow(make([]byte, 0, 20), b))
	return &x
}

// openUnlessClosed returns the tombstone of x if there is one.
func (w *incremental) openUnlessClosed(k *keyed, x *extent) *cell {
	if c := k.closed[x.raw]; c != nil {
		return c
	}
	return w.open(k, x)
}

// customCell asks the window function which windows merge.
func (w *incremental) customCell(k *keyed, x *extent) (*cell, error) {
	windows := [][]byte{[]byte(x.raw)}
	for _, c := range k.cells {
		windows = append(windows, []byte(c.raw))
	}
	merges, err := w.s.g.CustomMerge(windows)
	if err != nil {
		return nil, err
	}
	home := x
	for _, m := range merges {
		result, err := w.customMerge(k, m, x)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(m.Sources, func(raw []byte) bool { return x.raw == string(raw) }) {
			home = result
		}
	}
	if c := k.find(home); c != nil {
		return c, nil
	}
	return w.openUnlessClosed(k, home), nil
}

// customMerge does one merge; its sources are open windows and x.
func (w *incremental) customMerge(k *keyed, m Merge, x *extent) (*extent, error) {
	result, err := w.s.g.newExtent(m.Result)
	if err != nil {
		return nil, err
	}
	var cells []*cell
	for _, raw := range m.Sources {
		i := slices.IndexFunc(k.cells, func(c *cell) bool { return c.raw == string(raw) })
		switch {
		case i >= 0:
			cells = append(cells, k.cells[i])
		case string(raw) != x.raw:
			return nil, badMerge("a source is not one of the windows")
		}
	}
	if c := k.find(result); c != nil && !slices.Contains(cells, c) {
		return nil, badMerge("the result is a window that is not a source")
	}
	if len(cells) > 0 {
		w.merge(cells, result)
	}
	return result, nil
}

func badMerge(why string) error {
	return &beam.Error{Code: beam.UserCode, What: fmt.Sprintf("the window function merged windows wrongly: %s", why)}
}

// mergeScratch is memory that merges use again.
type mergeScratch struct {
	cells  []*cell
	states [][]nodeState
	first  []nodeState
}

// statesOf returns the triggers' states of cells; that of the first is a copy.
func (m *mergeScratch) statesOf(cells []*cell) [][]nodeState {
	m.first = append(m.first[:0], cells[0].trig...)
	m.states = append(m.states[:0], m.first)
	for _, c := range cells[1:] {
		m.states = append(m.states, c.trig)
	}
	return m.states
}

// merge makes one cell, in window x, of cells, of which there is one at least.
func (w *incremental) merge(cells []*cell, x *extent) *cell {
	into, old := cells[0], cells[0].extent
	keep := slices.IndexFunc(cells, func(c *cell) bool { return c.raw == x.raw })
	states, kept := w.merges.statesOf(cells), fateOf(cells, keep)
	for _, c := range cells[1:] {
		into.absorb(c, w.s.g.Strategy.outputTime)
		w.detach(c)
	}
	into.withdraw()
	into.key.delete(into)
	w.leave(old)
	w.insert(into, x)
	into.panes = kept.panes
	into.late = into.late && (keep < 0 || kept.late)
	into.restamp(w.s.g, w.s.wm)
	w.mergeTrigger(into, states, keep)
	return into
}

// fate is what a merged window has of the cell whose window it keeps.
type fate struct {
	panes panes
	late  bool
}

func fateOf(cells []*cell, keep int) fate {
	if keep < 0 {
		return fate{}
	}
	return fate{panes: cells[keep].panes, late: cells[keep].late}
}

// absorb takes the elements of another cell.
func (c *cell) absorb(o *cell, by outputTime) {
	c.values.join(&o.values)
	c.fresh += o.fresh
	c.stamp.add(o.stamp, by)
}

// restamp moves a stamp that depends on the window to the end of the new one,
// if it can still be held there.
func (c *cell) restamp(g *Grouping, wm beam.EventTime) {
	if g.stamps() || c.empty() {
		return
	}
	c.stamp = stamp{at: c.end, set: c.end >= wm}
}

// mergeTrigger sets the trigger of a merged cell from those of its parts.
func (w *incremental) mergeTrigger(c *cell, from [][]nodeState, keep int) {
	clear(c.trig)
	if keep >= 0 {
		copy(c.trig, from[keep])
	}
	r := w.run(c)
	r.merge(0, from)
	if r.finished() {
		w.bytes -= c.values.held()
		w.close(c)
	}
	w.settle(c)
}
