package runner

import (
	"context"
	"errors"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
)

// split asks for a split of the running bundle, and turns the answer into
// blocks: the primaries that remain the bundle's, the residuals that go back.
//
//	input     e0 e1 e2 e3 e4 e5
//	answer    last primary 2, first residual 4, primary p3, residual r3
//	primary   e0 e1 e2 p3          residual   r3 e4 e5
func (hb *harnessBundle) split(run fnapi.Running, fraction float64) {
	refused := engine.SplitDone{Bundle: hb.b.ID}
	ctx, cancel := context.WithTimeout(hb.x.job.ctx, splitTimeout)
	defer cancel()
	count := 0
	for _, in := range hb.inputs {
		count += in.Block.Count
	}
	answer, err := run.Split(ctx, fnapi.SplitRequest{Source: hb.x.stage.plan.Harness.Source,
		FractionOfRemaining: fraction, EstimatedInput: int64(count)})
	if err != nil || answer == nil {
		hb.x.splitDone(refused)
		return
	}
	done, err := hb.cut(answer)
	if err != nil {
		hb.x.job.send(report{event: engine.Event{Fail: hb.x.placed(err)}})
		return
	}
	hb.x.splitDone(*done)
}

// cut makes the blocks of an accepted split.
func (hb *harnessBundle) cut(s *fnapi.Split) (*engine.SplitDone, error) {
	before, after, err := hb.cutInput(int(s.LastPrimary+1), int(s.FirstResidual))
	if err != nil {
		return nil, err
	}
	primaryRoots := make([]fnapi.Residual, len(s.Primaries))
	for i, p := range s.Primaries {
		primaryRoots[i] = fnapi.Residual{Application: p}
	}
	shard := hb.b.Work[0].Shard
	roots, err := hb.applicationBlocks(primaryRoots, nil, hb.x.job.block)
	if err != nil {
		return nil, err
	}
	primary := []engine.ShardBlocks{{Shard: shard, Blocks: append(before, flatten(roots)...)}}
	residual, err := hb.applicationBlocks(s.Residuals, after, hb.x.job.block)
	if err != nil {
		return nil, err
	}
	return &engine.SplitDone{Bundle: hb.b.ID, Accepted: true, Primary: primary, Residual: residual}, nil
}

func flatten(shards []engine.ShardBlocks) []engine.InputBlock {
	var all []engine.InputBlock
	for _, s := range shards {
		all = append(all, s.Blocks...)
	}
	return all
}

// cutInput returns the input before element index end, and from index start on;
// a block that is cut becomes new blocks.
func (hb *harnessBundle) cutInput(end, start int) (before, after []engine.InputBlock, err error) {
	if end < 0 || start < end {
		return nil, nil, &beam.Error{Code: beam.BadData, What: "a split answer has its residual before its primary"}
	}
	at := 0
	for _, in := range hb.inputs {
		n := in.Block.Count
		head, err := hb.slice(in, 0, end-at)
		if err != nil {
			return nil, nil, err
		}
		tail, err := hb.slice(in, start-at, n)
		if err != nil {
			return nil, nil, err
		}
		before, after = append(before, head...), append(after, tail...)
		at += n
	}
	return before, after, nil
}

// slice returns elements [from, to) of a block as at most one block.
func (hb *harnessBundle) slice(in engine.InputBlock, from, to int) ([]engine.InputBlock, error) {
	from, to = max(from, 0), min(to, in.Block.Count)
	switch {
	case from >= to:
		return nil, nil
	case from == 0 && to == in.Block.Count:
		return []engine.InputBlock{in}, nil
	}
	data := hb.x.job.store.Block(uint64(in.Block.ID))
	var el coder.Element
	begin, pos, minTime := 0, 0, beam.MaxEventTime
	for i := 0; i < to; i++ {
		n, err := hb.x.input.Scan(data[pos:], &el)
		if err != nil {
			return nil, errors.Join(err)
		}
		if i == from {
			begin = pos
		}
		if i >= from {
			minTime = min(minTime, el.Timestamp)
		}
		pos += n
	}
	b := hb.x.job.block(append([]byte(nil), data[begin:pos]...), to-from, minTime)
	b.Gates = in.Block.Gates
	return []engine.InputBlock{{Input: in.Input, Block: b}}, nil
}
