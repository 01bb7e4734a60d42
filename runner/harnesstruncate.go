package runner

import (
	"sync"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/translate"
)

// A drain ends unbounded reads: what waits for a splittable DoFn is truncated
// first, by a small stage of its own, and only the truncated restrictions are
// processed (beam_runner_api.proto, TRUNCATE_SIZED_RESTRICTION).

// truncation runs a stage's truncating beside.
type truncation struct {
	stage      *translate.Stage
	descriptor *fnapi.Descriptor

	mu sync.Mutex
	// blocks are those that bundles of the drain gave back: what is in them was
	// truncated. It is gone with the job.
	blocks map[engine.BlockID]bool
}

func (x *harnessExecutor) newTruncation(s *translate.Stage) *truncation {
	if s == nil {
		return nil
	}
	return &truncation{stage: s, blocks: map[engine.BlockID]bool{}, descriptor: &fnapi.Descriptor{
		ID: string(x.job.sub.ID) + "/" + string(s.ID), Proto: s.Harness.Descriptor}}
}

// truncate replaces the bundle's input by its truncated restrictions, if any
// are left, but for what was truncated before. They live as long as the bundle;
// a split makes blocks of them.
func (hb *harnessBundle) truncate() error {
	var whole, kept []input
	for _, in := range hb.inputs {
		if hb.x.truncation.done(in.Block.ID) {
			kept = append(kept, in)
		} else {
			whole = append(whole, in)
		}
	}
	hb.inputs = kept
	if len(whole) == 0 {
		return nil
	}
	data, err := hb.askTruncated(whole)
	if err != nil {
		return err
	}
	in := input{shard: hb.b.Work[0].Shard, data: data, own: true}
	var el coder.Element
	for pos := 0; pos < len(data); in.Block.Count++ {
		n, err := hb.x.input.Scan(data[pos:], &el)
		if err != nil {
			return hb.x.stage.badOutput(err)
		}
		pos += n
	}
	in.Block.Hold = beam.MinEventTime
	if in.Block.Count > 0 {
		hb.inputs = append([]input{in}, kept...)
	}
	return nil
}

// done tells whether a block holds what is left of truncated restrictions.
func (t *truncation) done(id engine.BlockID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.blocks[id]
}

// mark notes that a block does.
func (t *truncation) mark(id engine.BlockID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocks[id] = true
}

// askTruncated runs the truncating stage.
func (hb *harnessBundle) askTruncated(inputs []input) ([]byte, error) {
	t := hb.x.truncation
	req := &fnapi.Bundle{ID: hb.x.instruction(hb.b) + "/truncate", Descriptor: t.descriptor, Source: t.stage.Harness.Source,
		Sinks: t.stage.Harness.Sinks, State: truncatingState{stateOf{hb}}}
	for _, in := range inputs {
		req.Input = append(req.Input, in.data)
	}
	var out []byte
	req.Output = func(_ beam.TransformID, _ string, data []byte) error {
		out = append(out, data...)
		return nil
	}
	run := hb.worker.Start(req)
	select {
	case <-run.Done():
	case <-hb.x.job.ctx.Done():
		run.Abandon()
		<-run.Done()
	}
	_, err := run.Result()
	return out, err
}

// truncatingState answers the truncating stage's reads of side inputs, which
// are the processing stage's by name.
type truncatingState struct{ stateOf }

// Get reads a side input of the processing stage.
func (s truncatingState) Get(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	for _, side := range s.hb.x.stage.plan.Harness.SideInputs {
		if side.Name == k.Name {
			k.Transform = side.Transform
		}
	}
	return s.stateOf.Get(k, token)
}
