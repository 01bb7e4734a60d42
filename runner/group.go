package runner

import (
	"sync/atomic"
	"time"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/window"
)

// The outputs of a group stage, as translate.GroupStage numbers them.
const (
	paneOutput = iota
	compactOutput
)

// compactedInput is the input by which merged accumulators come back.
const compactedInput = 1

// groupExecutor runs a GroupByKey in Go. A shard's grouping is used by one
// bundle at a time (I4). It changes within a bundle: where it fails, on bytes
// that do not decode or in a window function of the user's, the job does.
type groupExecutor struct {
	native
	shards []*window.Shard
	// held is what each shard was last counted to hold.
	held []int64
	// sizes are what is in the shards, for who looks at the job.
	sizes []groupSize
	// logs are what the shards of a durable job keep on disk; snapshots tells that
	// what a bundle does cannot be done again, since the user's window function is
	// asked.
	logs      []*groupLog
	snapshots bool
	// rest begins what a hot key's values go to beyond so many bytes.
	rest      func() window.Rest
	restAbove int
}

// groupSize is what is in a shard, about.
type groupSize struct{ keys, bytes atomic.Int64 }

func (s *groupSize) measure(sh *window.Shard) {
	s.keys.Store(int64(sh.Keys()))
	s.bytes.Store(sh.Size())
}

func (j *job) newGroup(s *stage) (executor, error) {
	strategy, err := j.strategyOf(s.plan.Inputs[0])
	if err != nil {
		return nil, err
	}
	in, err := j.coders.element(s.plan.Inputs[0])
	if err != nil {
		return nil, err
	}
	merge, err := j.customMerge(s.plan.Group.MergeWindows)
	if err != nil {
		return nil, err
	}
	grouping, err := window.NewGrouping(window.Config{CustomMerge: merge, Strategy: strategy, Input: in,
		Bounded: !j.plan.Streaming, Accumulators: s.plan.Group.Accumulators, Spill: j.memory.spill, Temp: j.memory.temp, Crowded: j.memory.budget.Over})
	if err != nil {
		return nil, err
	}
	x := &groupExecutor{native: native{job: j, stage: s, once: true}, snapshots: merge != nil}
	x.work, x.end = x.group, x.letGo
	if x.rest, err = j.restsOf(s); err != nil {
		return nil, err
	}
	x.restAbove = j.memory.restAbove()
	x.held, x.sizes = make([]int64, s.spec.Shards), make([]groupSize, s.spec.Shards)
	if err := x.makeShards(grouping); err != nil {
		x.letGo()
		return nil, err
	}
	return x, nil
}

func (x *groupExecutor) makeShards(g *window.Grouping) error {
	for i := range x.stage.spec.Shards {
		if x.job.journal == nil {
			x.shards = append(x.shards, g.NewShard())
			continue
		}
		sh, log, err := x.recoverShard(g, i)
		if err != nil {
			return err
		}
		x.sizes[i].measure(sh)
		x.shards, x.logs = append(x.shards, sh), append(x.logs, log)
	}
	return nil
}

// group is the work of a bundle.
func (x *groupExecutor) group(b engine.Bundle, c *collector) error {
	if b.Watermark >= beam.MaxEventTime && x.job.draining.Load() {
		b.Now = endOfClock
	}
	for _, work := range b.Work {
		if err := x.groupShard(b, work, c); err != nil {
			return err
		}
	}
	return nil
}

func (x *groupExecutor) groupShard(b engine.Bundle, work engine.ShardWork, c *collector) (err error) {
	sh := x.shards[work.Shard]
	out := &window.Output{
		Panes:   func(bl window.Block) { err = firstError(err, x.emit(c, paneOutput, bl)) },
		Compact: func(bl window.Block) { err = firstError(err, x.emit(c, compactOutput, bl)) },
		Rest:    x.rest, RestAbove: x.restAbove,
	}
	for _, in := range work.Blocks {
		data := x.job.store.Block(uint64(in.Block.ID))
		if err := takeInBlock(sh, in, data, b, out); err != nil {
			return err
		}
		x.job.memory.hold(sh, &x.held[work.Shard])
	}
	if work.EventDue || work.ProcessingDue {
		if err := sh.Advance(b.Watermark, b.Now, out); err != nil {
			return err
		}
	}
	out.Flush()
	x.job.memory.hold(sh, &x.held[work.Shard])
	x.sizes[work.Shard].measure(sh)
	c.out.Shards = append(c.out.Shards, groupTimes(work.Shard, sh))
	if x.logs != nil {
		note, failed := x.logs[work.Shard].logged(x.stage.index, b, work, sh, x.snapshots)
		c.fx.groups, err = append(c.fx.groups, note), firstError(err, failed)
	}
	return err
}

// letGo gives back what the shards held, at the end of the job.
func (x *groupExecutor) letGo() {
	for _, held := range x.held {
		x.job.memory.budget.Add(-held)
	}
}

// takeInBlock is takeIn of a block of a bundle.
func takeInBlock(sh *window.Shard, in engine.InputBlock, data []byte, b engine.Bundle, out *window.Output) error {
	if in.Input == compactedInput {
		return sh.AddCompacted(data, out)
	}
	return sh.AddCounted(data, in.Block.Count, in.Block.MinTime, b.Watermark, b.Now, out)
}

// takeIn adds a block that came by an input.
func takeIn(sh *window.Shard, input int, data []byte, wm beam.EventTime, now time.Time, out *window.Output) error {
	if input == compactedInput {
		return sh.AddCompacted(data, out)
	}
	return sh.Add(data, wm, now, out)
}

// emit passes a block of panes on: as it is where the consumers allow it.
func (x *groupExecutor) emit(c *collector, output int, b window.Block) error {
	if output >= len(c.outputs) {
		return nil
	}
	var rests []*rest
	if r, ok := b.Rest.(*rest); ok {
		rests = []*rest{r}
	}
	return c.addBound(output, b.Data, b.Count, b.MinTimestamp, rests)
}

func groupTimes(n int, sh *window.Shard) engine.ShardTimes {
	times := engine.ShardTimes{Shard: n, NextEvent: engine.NoEvent, Hold: sh.Hold()}
	if t, ok := sh.NextEventTime(); ok {
		times.NextEvent = t
	}
	if t, ok := sh.NextProcessingTime(); ok {
		times.NextProcessing = t
	}
	return times
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
