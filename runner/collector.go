package runner

import (
	"errors"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
)

// collector turns the bytes that a bundle emits into blocks for the consumers'
// shards. Each element is looked at once; where a consumer takes whole blocks,
// the bytes are not copied.
type collector struct {
	job *job
	out *engine.Outcome
	fx  *effects
	// lane is the shard that Keep edges start from.
	lane    int
	outputs []*outputCollector
	// spreadCount is how many elements of a Spread edge go to one shard before the
	// next one's turn.
	spreadCount int
}

// outputCollector is the collector's part for one output of the stage.
type outputCollector struct {
	c        *collector
	windowed *coder.Windowed
	senders  []*sender
	// whole are senders that take runs, single those that look at each element.
	whole, single []*sender
	// tail is the beginning of an element whose rest is still to come.
	tail []byte
}

// newCollector prepares to collect one bundle's output.
func (j *job) newCollector(s *stage, lane int) (*collector, error) {
	c := &collector{job: j, out: &engine.Outcome{}, fx: &effects{}, lane: lane, spreadCount: 256}
	for i, edges := range s.outputs {
		w, err := j.coders.element(s.plan.Outputs[i])
		if err != nil {
			return nil, s.badData(err)
		}
		o := &outputCollector{c: c, windowed: w}
		for _, e := range edges {
			o.addSender(&sender{edge: e, c: c})
		}
		c.outputs = append(c.outputs, o)
	}
	return c, nil
}

func (o *outputCollector) addSender(s *sender) {
	o.senders = append(o.senders, s)
	if s.edge.whole() {
		o.whole = append(o.whole, s)
	} else {
		o.single = append(o.single, s)
	}
}

// add takes bytes of output i; an element may go on in the next call.
func (c *collector) add(i int, data []byte) error { return c.outputs[i].add(data) }

func (o *outputCollector) add(data []byte) error {
	if len(o.senders) == 0 || len(data) == 0 {
		return nil
	}
	if len(o.tail) > 0 {
		data = append(o.tail, data...)
		o.tail = nil
	}
	var el coder.Element
	run := runOf{min: beam.MaxEventTime}
	for run.end < len(data) {
		n, err := o.windowed.Scan(data[run.end:], &el)
		if errors.Is(err, coder.ErrShort) {
			o.tail = append([]byte(nil), data[run.end:]...)
			break
		}
		if err != nil {
			return err
		}
		for _, s := range o.single {
			if err := s.element(o.windowed, &el); err != nil {
				return err
			}
		}
		run.grow(n, el.Timestamp)
		if run.size() >= maxBlock {
			o.sendRun(data, &run)
		}
	}
	o.sendRun(data, &run)
	return nil
}

// runOf is a run of whole elements within data.
type runOf struct {
	start, end, count int
	min               beam.EventTime
}

func (r *runOf) grow(n int, t beam.EventTime) {
	r.end += n
	r.count++
	r.min = min(r.min, t)
}

func (r *runOf) size() int { return r.end - r.start }

func (o *outputCollector) sendRun(data []byte, r *runOf) {
	if r.count > 0 {
		for _, s := range o.whole {
			s.run(data[r.start:r.end:r.end], r.count, r.min)
		}
	}
	*r = runOf{start: r.end, end: r.end, min: beam.MaxEventTime}
}

// finish emits what is open and checks that no element was left unfinished.
func (c *collector) finish() error {
	for _, o := range c.outputs {
		if len(o.tail) > 0 {
			return coder.ErrShort
		}
		for _, s := range o.single {
			s.finish()
		}
	}
	return nil
}

// emit adds a block to the outcome.
func (c *collector) emit(e *edge, shard int, data []byte, count int, minTime beam.EventTime, gates []engine.Gate) {
	b := c.block(data, count, minTime)
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
