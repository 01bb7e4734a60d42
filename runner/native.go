package runner

import (
	"errors"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/internal/cores"
	"fresnel/runner/engine"
)

// native runs bundles in a goroutine of the runner: work fills the collector
// and the rest of the outcome.
type native struct {
	job   *job
	stage *stage
	work  func(b engine.Bundle, c *collector) error
	end   func()
	// once: work changes what the next bundle goes on from, so that one that
	// fails cannot be tried again, whatever the error.
	once bool
}

// burst is from how much input on a bundle is work for a core of its own: some
// milliseconds.
const burst = 128 << 10 // bytes

func (x *native) start(b engine.Bundle) {
	if inputBytes(b) >= burst {
		cores.Burst()
	}
	x.job.spawn(func() { x.run(b) })
}

func (x *native) run(b engine.Bundle) {
	start := x.job.clock.now()
	c, err := x.job.newCollector(x.stage, b.Work[0].Shard)
	if err != nil {
		x.job.failed(b.ID, err, nil)
		return
	}
	if err = x.work(b, c); err == nil {
		err = c.finish()
	}
	switch {
	case err != nil && x.once:
		x.job.send(report{event: engine.Event{Fail: x.stage.placed(err)}})
		return
	case err != nil:
		x.job.failed(b.ID, x.stage.placed(err), c)
		return
	}
	c.out.Elapsed = x.job.clock.now().Sub(start)
	x.job.done(b.ID, *c.out, c.fx)
}

func (x *native) close() {
	if x.end != nil {
		x.end()
	}
}

// newImpulse emits the one element of an Impulse.
func (j *job) newImpulse(s *stage) *native {
	return &native{job: j, stage: s, work: func(_ engine.Bundle, c *collector) error {
		c.out.Sources = []engine.SourceProgress{{Output: -1, Watermark: beam.MaxEventTime, Done: true}}
		el := coder.AppendHeader(nil, beam.MinEventTime, 1, nil, beam.NoFiring)
		return c.add(0, append(el, 0))
	}}
}

// newRewindow assigns windows in Go.
func (j *job) newRewindow(s *stage) (executor, error) {
	strategy, err := j.strategy(s.plan.Rewindow.Windowing)
	if err != nil {
		return nil, err
	}
	elements, err := j.coders.element(s.plan.Inputs[0])
	if err != nil {
		return nil, err
	}
	fn := strategy.Fn()
	return &native{job: j, stage: s, work: func(b engine.Bundle, c *collector) error {
		return j.eachBlock(b, func(in engine.InputBlock, data []byte) error {
			room := make([]byte, 0, fn.RewindowedSize(len(data), in.Block.Count))
			out, count, least, err := fn.Rewindow(room, elements, data)
			if err != nil {
				return err
			}
			return c.addBound(0, out, count, least, j.rests.of(in.Block.ID))
		})
	}}, nil
}

func inputBytes(b engine.Bundle) (n int) {
	for _, work := range b.Work {
		for _, in := range work.Blocks {
			n += in.Block.Bytes
		}
	}
	return n
}

// eachBlock calls f with the blocks of a bundle in order.
func (j *job) eachBlock(b engine.Bundle, f func(in engine.InputBlock, data []byte) error) error {
	for _, work := range b.Work {
		for _, in := range work.Blocks {
			if err := f(in, j.store.Block(uint64(in.Block.ID))); err != nil {
				return err
			}
		}
	}
	return nil
}

// placed gives an error without a place the stage as its place.
func (s *stage) placed(err error) error {
	if be, ok := errors.AsType[*beam.Error](err); ok {
		if be.Where != "" {
			return err
		}
		named := *be
		named.Where = s.where()
		return &named
	}
	return internal(s.where(), err)
}
