package window

import (
	"slices"
	"sort"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// The incremental way: a cell for each key and window.
//
//	element ──▶ keyed ──▶ cell ──▶ trigger ready? ──▶ pane
//	                       ▲
//	 events (ends, garbage times), timers (delays), holds: schedules of cells
type incremental struct {
	s       *Shard
	trigger *trigger
	keys    map[string]*keyed
	extents map[string]*extent // not used where windows merge
	// last is the window of the last element: neighbours mostly share it.
	last *extent
	// probe is the session of the element that is being added, without raw.
	probe  extent
	merges mergeScratch

	events schedule[*cell] // by nextEvent
	timers schedule[*cell] // by the end of a delay
	holds  schedule[*cell] // by hold, or by a lower one (see lower)

	requests requests
	// bytes are those in memory.
	bytes int64
	attic *attic
	far   far
}

// closingOnly is the trigger of a bounded job: each window has one pane.
var closingOnly = &trigger{nodes: []node{{kind: nodeNever, end: 1}}}

func newIncremental(s *Shard) *incremental {
	w := &incremental{
		s:        s,
		trigger:  s.g.Strategy.trigger,
		keys:     make(map[string]*keyed),
		extents:  make(map[string]*extent),
		events:   schedule[*cell]{slot: func(c *cell) *slot { return &c.event }},
		timers:   schedule[*cell]{slot: func(c *cell) *slot { return &c.timer }},
		holds:    schedule[*cell]{slot: func(c *cell) *slot { return &c.held }},
		requests: make(requests),
	}
	if s.g.Bounded {
		w.trigger = closingOnly
	}
	w.attic = newAttic(s.g.Spill)
	w.far = newFar(s.g.Temp, w.attic)
	return w
}

func (w *incremental) add(block []byte, now instant, out *Output) error {
	var e coder.Element
	for len(block) > 0 {
		n, err := w.s.g.Input.Scan(block, &e)
		if err != nil {
			return badBlock(err)
		}
		block = block[n:]
		if err := w.element(&e, now, out); err != nil {
			return err
		}
	}
	return w.failure()
}

// element adds one element to each of its windows.
func (w *incremental) element(e *coder.Element, now instant, out *Output) error {
	key, value, err := w.s.g.split(e.Value)
	if err != nil {
		return err
	}
	raw := e.Windows
	for range e.WindowCount {
		n := len(raw)
		if e.WindowCount > 1 {
			if n, err = w.s.g.window.Skip(raw); err != nil {
				return badBlock(err)
			}
		}
		x, err := w.extent(raw[:n])
		if err != nil {
			return err
		}
		if err := w.value(key, value, x, e.Timestamp, now, out); err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}

// extent returns the window that raw encodes; of a session it is valid until
// the next.
func (w *incremental) extent(raw []byte) (*extent, error) {
	if w.s.g.sessions() {
		b, _, err := coder.DecodeIntervalWindow(raw)
		if err != nil {
			return nil, badBlock(err)
		}
		w.probe = w.s.g.session(b)
		return &w.probe, nil
	}
	if w.last != nil && w.last.raw == string(raw) {
		return w.last, nil
	}
	x := w.extents[string(raw)]
	if x == nil {
		var err error
		if x, err = w.s.g.newExtent(raw); err != nil {
			return nil, err
		}
	}
	w.last = x
	return x, nil
}

func (g *Grouping) newExtent(raw []byte) (*extent, error) {
	end, err := g.maxTimestamp(raw)
	if err != nil {
		return nil, err
	}
	return &extent{raw: string(raw), end: end, gc: g.Strategy.GarbageTime(end)}, nil
}

// value adds one value to a key and window, and fires what it makes ready.
func (w *incremental) value(key, value []byte, x *extent, ts beam.EventTime, now instant, out *Output) error {
	if x.gc < w.s.wm {
		w.s.droppedLate++
		return nil
	}
	c, err := w.cell(key, x)
	if err != nil {
		return err
	}
	if c.closed {
		w.s.droppedClosed++
		return nil
	}
	c.values.add(value)
	c.fresh++
	c.stamp.add(w.s.g.stampOf(ts, c.end, w.s.wm), w.s.g.Strategy.outputTime)
	w.bytes += int64(len(value))
	r := w.run(c)
	r.element(0, now)
	if r.ready(0) {
		w.fire(c, r, out)
	}
	w.settle(c)
	w.compact(c, out)
	return nil
}

// cell returns the cell of a key and window, after the merges that the window
// causes.
func (w *incremental) cell(key []byte, x *extent) (*cell, error) {
	k := w.keys[string(key)]
	if k == nil {
		k = w.fetch(string(key))
	}
	if k == nil {
		k = newKeyed(key)
		w.keys[k.key] = k
		w.bytes += keyFootprint(k.key)
	}
	k.used = true
	if w.s.g.Strategy.merging {
		return w.mergingCell(k, x)
	}
	if c := k.find(x); c != nil {
		return c, nil
	}
	return w.open(k, x), nil
}

func keyFootprint(key string) int64 { return 120 + int64(len(key)) }

// find returns the open cell of a window, or the tombstone where windows do not
// merge.
func (k *keyed) find(x *extent) *cell {
	if n := len(k.cells); n > 0 && k.cells[n-1].extent == x {
		return k.cells[n-1]
	}
	if i := k.place(x); i < len(k.cells) && k.cells[i].raw == x.raw {
		return k.cells[i]
	}
	return nil
}

// place is where the window is, or would be, among the cells: mostly it is the last.
func (k *keyed) place(x *extent) int {
	if n := len(k.cells); n == 0 || k.cells[n-1].before(x) {
		return n
	}
	return sort.Search(len(k.cells), func(i int) bool { return !k.cells[i].before(x) })
}

// open makes the cell of a window, which is empty.
func (w *incremental) open(k *keyed, x *extent) *cell {
	c := &cell{key: k}
	c.trig = c.states(len(w.trigger.nodes))
	w.insert(c, x)
	w.bytes += c.footprint()
	return c
}

// insert puts a cell at a window. One that comes after the window's end has
// nothing to fire at the end.
func (w *incremental) insert(c *cell, x *extent) {
	c.extent = x
	if x.refs++; x.refs == 1 && !w.s.g.Strategy.merging {
		w.extents[x.raw] = x
	}
	c.ended = w.s.wm > x.end
	c.late = c.ended
	c.key.cells = slices.Insert(c.key.cells, c.key.place(x), c)
	w.events.set(c, int64(c.nextEvent()))
}

// run is the trigger of a cell at the shard's watermark.
func (w *incremental) run(c *cell) run {
	return run{trigger: w.trigger, st: c.trig, ended: w.s.wm > c.end}
}

// fire fires the trigger, which is ready, and emits the pane.
func (w *incremental) fire(c *cell, r run, out *Output) {
	r.fire(0)
	s, last := w.s.g.Strategy, r.finished()
	timing := c.timing(w.s.wm)
	if s.wanted(c.empty(), timing == beam.OnTime, last) {
		w.emit(c, c.panes.next(timing, last), out)
	}
	w.bytes -= c.values.held()
	c.fired(w.attic, s.accumulating)
	if last {
		w.close(c)
	}
	w.bytes += c.values.held()
}

// close makes a cell a tombstone, up to its garbage time.
func (w *incremental) close(c *cell) {
	w.bytes -= c.footprint()
	c.close(w.attic)
	w.bytes += c.footprint()
	if w.s.g.Strategy.merging {
		w.bury(c)
	}
}

// bury moves a tombstone to where merges do not see it. One of the same window
// may be there, since merges may make a window again.
func (w *incremental) bury(c *cell) {
	k := c.key
	k.delete(c)
	if old := k.closed[c.raw]; old != nil {
		w.detach(old)
	}
	if k.closed == nil {
		k.closed = make(map[string]*cell)
	}
	k.closed[c.raw] = c
}

// emit writes a pane: all values that the cell has.
func (w *incremental) emit(c *cell, p beam.Pane, out *Output) {
	ts := c.stamp.or(c.end)
	if out.Rest != nil && c.values.size > out.RestAbove && c.values.count > 1 {
		out.hotPane(w.attic, c, ts, p)
		return
	}
	b := out.pane(len(c.key.key) + c.values.size + 64)
	b.writeCell(w.attic, c, ts, p)
	out.endPane(ts)
}

// settle puts a changed cell where it belongs in the schedules.
func (w *incremental) settle(c *cell) {
	if w.trigger.timed {
		w.setTimer(c, w.run(c).tick(minInstant))
	}
	w.lower(c)
}

// minInstant is before all times: a tick at it changes nothing.
const minInstant = -never - 1

func (w *incremental) setTimer(c *cell, at instant) {
	switch {
	case c.closed || at == never:
		w.timers.remove(c)
	case c.timer.pos == 0 || c.timer.at != int64(at):
		w.timers.set(c, int64(at))
	}
}

// lower lowers the hold of a cell in the schedule. One that rises, as most do,
// is left where it is until hold finds it.
func (w *incremental) lower(c *cell) {
	hold := int64(w.s.g.Strategy.holdOf(c))
	if hold < int64(noHold) && (c.held.pos == 0 || hold < c.held.at) {
		w.holds.set(c, hold)
	}
}

func (w *incremental) hold() beam.EventTime {
	far := noHold
	if at, ok := w.far.first(farHolds); ok {
		far = beam.EventTime(at)
	}
	for {
		c, at, ok := w.holds.first()
		if !ok {
			return min(noHold, far)
		}
		switch hold := w.s.g.Strategy.holdOf(c); {
		case hold == noHold:
			w.holds.remove(c)
		case int64(hold) == at:
			return min(hold, far)
		default:
			w.holds.set(c, int64(hold))
		}
	}
}

// fireEventTime fires the cells whose window's end or garbage time the
// watermark has passed, in the order of these times.
func (w *incremental) fireEventTime(out *Output) error {
	for more := true; more; w.breathe() {
		var until int64
		more, until = w.fetchDue(farEvents, int64(w.s.wm)-1)
		w.fireEventsUntil(until, out)
	}
	return w.failure()
}

// fireEventsUntil fires all events up to a time. What fires has none of these left,
// and gives no other cell one.
func (w *incremental) fireEventsUntil(last int64, out *Output) {
	due := w.events.take(last)
	w.holds.removeAll(due) // settle puts back what stays
	for _, c := range due {
		switch {
		case c.event.pos != taken: // it went with another
		case c.gc < w.s.wm:
			w.expire(c, out)
		default:
			w.end(c, out)
		}
	}
}

// end passes the end of a window that takes late data.
func (w *incremental) end(c *cell, out *Output) {
	if r := w.run(c); !c.closed && r.ready(0) {
		w.fire(c, r, out)
	}
	c.ended = true
	c.late = c.empty() || !c.stamp.set
	w.events.set(c, int64(c.nextEvent()))
	w.settle(c)
}

// expire ends a window for good, with the pane that is left.
func (w *incremental) expire(c *cell, out *Output) {
	if s := w.s.g.Strategy; !c.closed {
		timing := c.timing(w.s.wm)
		onTime := timing == beam.OnTime && (!s.onTimeByTrigger || w.run(c).ready(0))
		if s.wanted(c.empty(), onTime, true) {
			w.emit(c, c.panes.next(timing, true), out)
		}
	}
	w.remove(c)
}

// remove forgets a cell, and its key if that was the last.
func (w *incremental) remove(c *cell) {
	w.detach(c)
	if k := c.key; len(k.cells)+len(k.closed) == 0 {
		delete(w.keys, k.key)
		w.bytes -= keyFootprint(k.key)
	}
}

// detach takes a cell out of its key, its window and the schedules.
func (w *incremental) detach(c *cell) {
	c.withdraw()
	w.bytes -= c.footprint() + c.values.held()
	c.values.drop(w.attic)
	w.events.remove(c)
	w.timers.remove(c)
	w.holds.remove(c)
	c.key.delete(c)
	w.leave(c.extent)
}

func (w *incremental) leave(x *extent) {
	if x.refs--; x.refs == 0 && !w.s.g.Strategy.merging {
		delete(w.extents, x.raw)
	}
}

func (k *keyed) delete(c *cell) {
	if len(k.cells) > 0 && k.cells[0] == c { // as mostly, when windows end
		k.cells[0] = nil
		k.cells = k.cells[1:]
		return
	}
	if i := k.place(c.extent); i < len(k.cells) && k.cells[i] == c {
		k.cells = slices.Delete(k.cells, i, i+1)
		return
	}
	if k.closed[c.raw] == c {
		delete(k.closed, c.raw)
	}
}

// fireProcessingTime fires the cells whose delays have passed.
func (w *incremental) fireProcessingTime(now instant, out *Output) {
	for more := true; more; w.breathe() {
		var until int64
		more, until = w.fetchDue(farTimers, int64(now))
		w.fireTimersUntil(until, now, out)
	}
}

func (w *incremental) fireTimersUntil(last int64, now instant, out *Output) {
	for {
		c, at, ok := w.timers.first()
		if !ok || at > last {
			return
		}
		r := w.run(c)
		next := r.tick(now)
		if r.ready(0) {
			w.fire(c, r, out)
			w.settle(c)
			continue
		}
		w.setTimer(c, next)
	}
}

func (w *incremental) nextEventTime() (beam.EventTime, bool) {
	at, ok := w.first(farEvents, &w.events)
	return beam.EventTime(at), ok
}

func (w *incremental) nextProcessingTime() (instant, bool) {
	at, ok := w.first(farTimers, &w.timers)
	return instant(at), ok
}

func (w *incremental) size() int64 { return w.bytes + w.requests.size() }

func (w *incremental) keyCount() int { return len(w.keys) + w.far.keys }
