package runner

import (
	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
)

// split asks the worker to split a bundle; false if it is not here. The engine
// is told the answer in any case.
func (x *harnessExecutor) split(s engine.SplitRequest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	hb := x.running[s.Bundle]
	if hb == nil {
		return false
	}
	if hb.process == nil || hb.ended || hb.splitting != nil {
		x.job.spawn(func() { x.job.splitDone(engine.SplitDone{Bundle: s.Bundle}, nil) })
		return true
	}
	done := make(chan struct{})
	hb.splitting = done
	run := hb.process
	x.job.spawn(func() {
		defer close(done)
		hb.split(run, s.Fraction)
		x.mu.Lock()
		hb.splitting = nil
		x.mu.Unlock()
	})
	return true
}

// settleSplit waits until the engine knows of a split that the harness may have
// accepted: were the bundle's end told first, its residuals would be lost (I6).
func (hb *harnessBundle) settleSplit() {
	hb.x.mu.Lock()
	hb.ended = true
	splitting := hb.splitting
	hb.x.mu.Unlock()
	if splitting != nil {
		<-splitting
	}
}

// split asks for a split of the running bundle, and turns the answer into
// blocks: the primaries that remain the bundle's, the residuals that go back.
//
//	input     e0 e1 e2 e3 e4 e5
//	answer    last primary 2, first residual 4, primary p3, residual r3
//	primary   e0 e1 e2 p3          residual   r3 e4 e5
//
// Elements keep their numbers over any number of splits: what is left of the
// input always begins with e0. It waits as long as the bundle does: an answer is
// part of the bundle's result.
func (hb *harnessBundle) split(run fnapi.Running, fraction float64) {
	answer, err := run.Split(hb.x.job.ctx, fnapi.SplitRequest{Source: hb.x.stage.plan.Harness.Source,
		FractionOfRemaining: fraction, EstimatedInput: int64(hb.count())})
	if err != nil || answer == nil {
		hb.x.job.splitDone(engine.SplitDone{Bundle: hb.b.ID}, nil)
		return
	}
	c := &cut{hb: hb, done: engine.SplitDone{Bundle: hb.b.ID, Accepted: true}}
	if err := c.make(answer, fraction == 0); err != nil {
		hb.x.job.freeBlocks(c.made)
		hb.x.job.send(report{event: engine.Event{Fail: hb.x.placed(err)}})
		return
	}
	hb.x.job.splitDone(c.done, c.made)
}

// count is the number of elements that the bundle reads.
func (hb *harnessBundle) count() int {
	n := 0
	for _, in := range hb.inputs {
		n += in.Block.Count
	}
	return n
}

// cut makes the blocks of an accepted split.
type cut struct {
	hb   *harnessBundle
	done engine.SplitDone
	// kept is what the bundle reads from now on.
	kept []input
	// made are the blocks that are new.
	made []engine.BlockID
}

// make fills in the shards that the split touches. The roots, what it made of
// the one element that it was within, stand in that element's shard.
func (c *cut) make(s *fnapi.Split, checkpoint bool) error {
	end, start := int(s.LastPrimary+1), int(s.FirstResidual)
	if c.nothing(s) {
		c.done.Accepted = false
		return nil
	}
	if end < 0 || start < end || start > c.hb.count() {
		return c.bad("a split answer keeps the elements before %d of %d and gives back those from %d on", end, c.hb.count(), start)
	}
	primaryRoots := make([]fnapi.Residual, len(s.Primaries))
	for i, p := range s.Primaries {
		primaryRoots[i] = fnapi.Residual{Application: p}
	}
	primary, err := c.hb.roots(primaryRoots, c.block)
	if err != nil {
		return err
	}
	residual, err := c.hb.roots(s.Residuals, c.block)
	if err != nil {
		return err
	}
	if end == start && len(primary)+len(residual) > 0 {
		return c.bad("a split answer has roots but no element that they are of, at %d of %d", end, c.hb.count())
	}
	for i := range primary {
		primary[i].Block.Hold = max(primary[i].Block.Hold, c.hold(end))
	}
	if err := c.shards(end, start, primary, residual, checkpoint); err != nil {
		return err
	}
	c.hb.inputs = c.kept
	return nil
}

// nothing tells whether an answer leaves the bundle as it is. Beam's Go SDK counts
// on beyond the input once it is through with it.
func (c *cut) nothing(s *fnapi.Split) bool {
	return s.FirstResidual >= int64(c.hb.count()) && s.LastPrimary == s.FirstResidual-1 && len(s.Primaries)+len(s.Residuals) == 0
}

// hold is that of the block that element i is in.
func (c *cut) hold(i int) beam.EventTime {
	for _, in := range c.hb.inputs {
		if i < in.Block.Count {
			return in.Block.Hold
		}
		i -= in.Block.Count
	}
	return beam.MinEventTime
}

func (c *cut) bad(format string, args ...any) error {
	return badHarness(c.hb.x.stage, format, args...)
}

func (c *cut) shards(end, start int, primary, residual []engine.InputBlock, checkpoint bool) error {
	at := 0
	for from := 0; from < len(c.hb.inputs); {
		shard, n := c.hb.inputs[from].shard, 0
		to := from
		for to < len(c.hb.inputs) && c.hb.inputs[to].shard == shard {
			n += c.hb.inputs[to].Block.Count
			to++
		}
		if at+n <= end { // the shard is left as it is
			c.kept = append(c.kept, c.hb.inputs[from:to]...)
		} else {
			before, err := c.slices(from, to, 0, end-at)
			if err != nil {
				return err
			}
			after, err := c.slices(from, to, start-at, n)
			if err != nil {
				return err
			}
			c.keep(shard, before)
			if at <= end && end < start {
				before, after = append(before, primary...), withRoots(residual, after, checkpoint)
				c.keepRoots(shard, start-end, primary)
			}
			c.done.Primary = append(c.done.Primary, engine.ShardBlocks{Shard: shard, Blocks: before})
			c.done.Residual = append(c.done.Residual, engine.ShardBlocks{Shard: shard, Blocks: after})
		}
		from, at = to, at+n
	}
	return nil
}

// keep notes blocks that the bundle goes on reading.
func (c *cut) keep(shard int, blocks []engine.InputBlock) {
	for _, b := range blocks {
		c.kept = append(c.kept, input{InputBlock: b, shard: shard, data: c.hb.x.job.store.Block(uint64(b.Block.ID))})
	}
}

// keepRoots notes what stands for the elements that were cut.
func (c *cut) keepRoots(shard, elements int, roots []engine.InputBlock) {
	in := input{shard: shard, roots: roots}
	in.Block.Count, in.Block.Hold = elements, beam.LastHold
	for _, r := range roots {
		in.Block.Hold = min(in.Block.Hold, r.Block.Hold)
	}
	c.kept = append(c.kept, in)
}

// withRoots puts what is left of the element that was cut in its place; at a
// checkpoint behind the others, so that they have their turn.
func withRoots(roots, rest []engine.InputBlock, checkpoint bool) []engine.InputBlock {
	if checkpoint {
		return append(rest, roots...)
	}
	return append(roots, rest...)
}

// slices returns elements [first, last) of inputs [from, to), which are blocks
// of one shard.
func (c *cut) slices(from, to, first, last int) ([]engine.InputBlock, error) {
	var all []engine.InputBlock
	for _, in := range c.hb.inputs[from:to] {
		n := in.Block.Count
		part, err := c.slice(in, max(first, 0), min(last, n))
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
		first, last = first-n, last-n
	}
	return all, nil
}

// slice returns elements [from, to) of a block as at most one block.
func (c *cut) slice(in input, from, to int) ([]engine.InputBlock, error) {
	switch {
	case from >= to:
		return nil, nil
	case in.data == nil: // roots are cut no further: their own split replaces them
		return in.roots, nil
	case from == 0 && to == in.Block.Count && !in.own:
		return []engine.InputBlock{in.InputBlock}, nil
	}
	var el coder.Element
	begin, pos, minTime := 0, 0, beam.MaxEventTime
	for i := range to {
		n, err := c.hb.x.input.Scan(in.data[pos:], &el)
		if err != nil {
			return nil, c.hb.x.stage.badData(err)
		}
		if i == from {
			begin = pos
		}
		if i >= from {
			minTime = min(minTime, el.Hold)
		}
		pos += n
	}
	b := c.block(append([]byte(nil), in.data[begin:pos]...), to-from, minTime)
	c.hb.x.job.rests.bind(b.ID, c.hb.x.job.rests.of(in.Block.ID))
	b.Gates, b.Hold = in.Block.Gates, min(max(minTime, in.Block.Hold), beam.LastHold)
	return []engine.InputBlock{{Input: in.Input, Block: b}}, nil
}

// block makes a block that is the engine's once it knows of the split.
func (c *cut) block(data []byte, count int, minTime beam.EventTime) engine.Block {
	b := c.hb.x.job.block(data, count, minTime)
	c.made = append(c.made, b.ID)
	c.hb.truncated(b.ID)
	return b
}
