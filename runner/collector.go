package runner

import (
	"errors"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/translate"
)

// collector turns the bytes that a bundle emits into blocks for the consumers'
// shards. Each element is looked at once; where a consumer takes whole blocks,
// the bytes are not copied.
//
//	          ┌─ whole ───▶ runs of the bytes as they came, to the bundle's lane
//	          ├─ spread ──▶ short runs of them, to one shard after the other
//	add ─scan─┼─ keyed ───▶ copies, by the shard of each key
//	          ├─ gated ───▶ copies, by shard and what the element waits for
//	          └─ side ────▶ a delta of a side input
//
// It is used by one goroutine at a time.
type collector struct {
	job *job
	out *engine.Outcome
	fx  *effects
	// lane is the shard that Keep edges start from.
	lane    int
	outputs []*outputCollector
	// elements counts those that have come in.
	elements int
	finished bool
	// rests are those whose tokens are in what is added just now.
	rests []*rest
}

// outputCollector is the collector's part for one output of the stage.
type outputCollector struct {
	c        *collector
	windowed *coder.Windowed
	whole    []*wholeSender
	spread   []*spreadSender
	keyed    []*keySender
	gated    []*gatedSender
	side     []*sideSender
	// tail is the beginning of an element whose rest is still to come, and looked
	// how much of it was there when it was last looked at.
	tail   []byte
	looked int
	seam   seam
}

// newCollector prepares to collect one bundle's output.
func (j *job) newCollector(s *stage, lane int) (*collector, error) {
	c := &collector{job: j, out: &engine.Outcome{}, fx: &effects{}, lane: lane}
	for i, edges := range s.outputs {
		w, err := j.coders.element(s.plan.Outputs[i])
		if err != nil {
			return nil, s.badData(err)
		}
		o := &outputCollector{c: c, windowed: w}
		for _, e := range edges {
			o.serve(e)
		}
		c.outputs = append(c.outputs, o)
	}
	return c, nil
}

// serve makes the sender for an edge.
func (o *outputCollector) serve(e *edge) {
	switch {
	case e.plan.Kind == translate.SideInput:
		o.side = append(o.side, &sideSender{c: o.c, edge: e, delta: e.side.NewDelta()})
	case e.gater != nil && len(e.gater.sides) > 0:
		o.gated = append(o.gated, &gatedSender{c: o.c, edge: e})
	case e.plan.Routing == translate.ByKey:
		o.keyed = append(o.keyed, newKeySender(o.c, e))
	case e.plan.Routing == translate.Spread:
		o.spread = append(o.spread, &spreadSender{c: o.c, edge: e, run: newRun()})
	default:
		o.whole = append(o.whole, &wholeSender{c: o.c, edge: e})
	}
}

// plain tells that nobody looks at single elements, deaf that nobody listens.
func (o *outputCollector) plain() bool {
	return len(o.spread)+len(o.keyed)+len(o.gated)+len(o.side) == 0
}

func (o *outputCollector) deaf() bool { return o.plain() && len(o.whole) == 0 }

// add takes bytes of output i; an element may go on in the next call. The bytes
// are kept.
func (c *collector) add(i int, data []byte) error { return c.outputs[i].add(data) }

// addCounted takes whole elements of output i, of which the number and the least
// timestamp are known.
func (c *collector) addCounted(i int, data []byte, count int, least beam.EventTime) error {
	o := c.outputs[i]
	if !o.plain() || len(o.tail) > 0 || count <= 0 {
		return o.add(data)
	}
	for _, s := range o.whole {
		s.send(data, run{end: len(data), count: count, least: least})
	}
	return nil
}

// addBound is addCounted for elements with the tokens of some rests: they go in
// blocks of their own.
func (c *collector) addBound(i int, data []byte, count int, least beam.EventTime, rests []*rest) error {
	if len(rests) == 0 {
		return c.addCounted(i, data, count, least)
	}
	o := c.outputs[i]
	if err := o.settle(); err != nil {
		return err
	}
	c.rests = rests
	defer func() { c.rests = nil }()
	if err := c.addCounted(i, data, count, least); err != nil {
		return err
	}
	return o.settle()
}

// patientTail is the size from which on the beginning of an element is looked at
// only when it has doubled: an element in many pieces is not to be read from its
// start for each of them (I7).
const patientTail = 1 << 20

func (o *outputCollector) add(data []byte) error {
	if o.deaf() || len(data) == 0 {
		return nil
	}
	if o.tail == nil {
		n, err := o.scan(data)
		if n < len(data) {
			o.keep(append([]byte(nil), data[n:]...))
		}
		return err
	}
	o.tail = append(o.tail, data...)
	if len(o.tail) > patientTail && len(o.tail) < 2*o.looked {
		return nil
	}
	return o.scanTail()
}

func (o *outputCollector) keep(tail []byte) { o.tail, o.looked = tail, len(tail) }

func (o *outputCollector) scanTail() error {
	data := o.tail
	n, err := o.scan(data)
	switch {
	case n == 0:
		o.looked = len(data)
	case n == len(data):
		o.keep(nil)
	default:
		o.keep(append([]byte(nil), data[n:]...)) // what was sent has the rest
	}
	return err
}

// scan sends the whole elements at the start of data, and returns their size.
func (o *outputCollector) scan(data []byte) (int, error) {
	var el coder.Element
	all := newRun()
	for all.end < len(data) {
		n, err := o.windowed.Scan(data[all.end:], &el)
		if errors.Is(err, coder.ErrShort) {
			break
		}
		if err == nil {
			o.c.elements++
			all.grow(n, el.Hold)
			err = o.element(data, all.end, &el)
		}
		if err != nil {
			return all.end, err
		}
		if all.size() >= maxBlock {
			o.send(data, &all)
		}
	}
	o.send(data, &all)
	for _, s := range o.spread {
		s.cut(data)
	}
	for _, s := range o.keyed {
		s.deal(data[:all.end])
	}
	return all.end, nil
}

// element shows an element, which ends at data[end], to those who look at each.
func (o *outputCollector) element(data []byte, end int, el *coder.Element) error {
	for _, s := range o.spread {
		s.element(data, end, el)
	}
	for _, s := range o.keyed {
		if err := s.element(el); err != nil {
			return err
		}
	}
	for _, s := range o.gated {
		if err := s.element(o.windowed, el); err != nil {
			return err
		}
	}
	for _, s := range o.side {
		if err := s.element(o.windowed, el); err != nil {
			return err
		}
	}
	return nil
}

// send sends a run to those who take runs, and begins the next.
func (o *outputCollector) send(data []byte, r *run) {
	if r.count > 0 {
		for _, s := range o.whole {
			s.send(data, *r)
		}
	}
	r.next()
}

// run is a run of whole elements within some bytes.
type run struct {
	start, end, count int
	least             beam.EventTime
}

func newRun() run { return run{least: beam.MaxEventTime} }

func (r *run) grow(n int, t beam.EventTime) {
	r.end += n
	r.count++
	r.least = min(r.least, t)
}

func (r *run) size() int { return r.end - r.start }

// next begins a run where this one ends.
func (r *run) next() { *r = run{start: r.end, end: r.end, least: beam.MaxEventTime} }

func (r *run) of(data []byte) []byte { return data[r.start:r.end:r.end] }

// finish emits what is open and checks that no element was left unfinished. It
// may have to ask an SDK something, so that no callback of a harness calls it. Once
// it has returned nil, calling it again does nothing.
func (c *collector) finish() error {
	if c.finished {
		return nil
	}
	for _, o := range c.outputs {
		if len(o.tail) > 0 {
			if err := o.scanTail(); err != nil {
				return err
			}
		}
		if len(o.tail) > 0 {
			return coder.ErrShort
		}
		if err := o.finish(); err != nil {
			return err
		}
	}
	c.finished = true
	return nil
}

// settle emits what main inputs have open.
func (o *outputCollector) settle() error {
	for _, s := range o.keyed {
		s.finish()
	}
	for _, s := range o.gated {
		if err := s.finish(); err != nil {
			return err
		}
	}
	return nil
}

func (o *outputCollector) finish() error {
	if err := o.settle(); err != nil {
		return err
	}
	for _, s := range o.side {
		s.finish()
	}
	return nil
}

// discard frees what the bundle has made: its result does not count (I6).
func (c *collector) discard() {
	ids := c.fx.blocks
	for _, o := range c.outputs {
		for _, s := range o.side {
			ids = appendBlockIDs(ids, s.delta.Discard())
		}
	}
	c.job.freeBlocks(ids)
}

func appendBlockIDs(dst []engine.BlockID, ids []uint64) []engine.BlockID {
	for _, id := range ids {
		dst = append(dst, engine.BlockID(id))
	}
	return dst
}

// emit adds a block to the outcome.
func (c *collector) emit(e *edge, shard int, data []byte, count int, least beam.EventTime, gates []engine.Gate) {
	b := c.block(data, count, least)
	for _, g := range gates {
		b.Gates = append(b.Gates, g.ID)
		c.out.NewGates = append(c.out.NewGates, g)
	}
	c.out.Outputs = append(c.out.Outputs, engine.Output{Edge: e.index, Shard: shard, Block: b})
}

// block stores data as a block that belongs to the bundle until it is committed.
func (c *collector) block(data []byte, count int, minTime beam.EventTime) engine.Block {
	b := c.job.block(data, count, minTime)
	c.fx.blocks = append(c.fx.blocks, b.ID)
	c.job.rests.bind(b.ID, c.rests)
	return b
}

// block stores data as a block that nobody but the caller knows yet.
func (j *job) block(data []byte, count int, minTime beam.EventTime) engine.Block {
	id := engine.BlockID(j.store.AddBlock(data))
	return engine.Block{ID: id, Count: count, Bytes: len(data), MinTime: minTime, Hold: minTime}
}

// open tells that a pane has arrived behind a gate.
func (c *collector) open(g engine.Gate) {
	c.out.NewGates = append(c.out.NewGates, g)
	c.out.Opened = append(c.out.Opened, g.ID)
}
