package runner

import (
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
		Bounded: !j.plan.Streaming, Accumulators: s.plan.Group.Accumulators})
	if err != nil {
		return nil, err
	}
	x := &groupExecutor{native: native{job: j, stage: s, once: true}}
	for range s.spec.Shards {
		x.shards = append(x.shards, grouping.NewShard())
	}
	x.work = x.group
	return x, nil
}

// group is the work of a bundle.
func (x *groupExecutor) group(b engine.Bundle, c *collector) error {
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
	}
	for _, in := range work.Blocks {
		data := x.job.store.Block(uint64(in.Block.ID))
		add := func() error { return sh.Add(data, b.Watermark, b.Now, out) }
		if in.Input == compactedInput {
			add = func() error { return sh.AddCompacted(data, out) }
		}
		if err := add(); err != nil {
			return err
		}
	}
	if work.EventDue || work.ProcessingDue {
		if err := sh.Advance(b.Watermark, b.Now, out); err != nil {
			return err
		}
	}
	out.Flush()
	c.out.Shards = append(c.out.Shards, groupTimes(work.Shard, sh))
	return err
}

// emit passes a block of panes on: as it is where the consumers allow it.
func (x *groupExecutor) emit(c *collector, output int, b window.Block) error {
	if output >= len(c.outputs) {
		return nil
	}
	return c.addCounted(output, b.Data, b.Count, b.MinTimestamp)
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
