package runner

import (
	"encoding/binary"
	"sync"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/store"
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
	// truncated. A durable job has them in its notes too.
	blocks map[engine.BlockID]bool
}

func (x *harnessExecutor) newTruncation(s *translate.Stage) *truncation {
	if s == nil {
		return nil
	}
	return &truncation{stage: s, blocks: map[engine.BlockID]bool{}, descriptor: x.job.descriptor(s)}
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

// forget tells whether a block that was consumed was marked, and is no more.
func (t *truncation) forget(id engine.BlockID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	marked := t.blocks[id]
	delete(t.blocks, id)
	return marked
}

func truncatedKey(stage int, id engine.BlockID) string {
	key := binary.BigEndian.AppendUint16([]byte(noteDrain), uint16(stage))
	return string(binary.BigEndian.AppendUint64(key, uint64(id)))
}

// markTruncated writes a mark: ahead of the commit that refers to the block, as the
// block itself.
func (l *journal) markTruncated(stage int, id engine.BlockID) {
	var b store.Batch
	b.Note(truncatedKey(stage, id), nil)
	_ = l.disk.Apply(&b) // a store that fails will fail the next commit
}

// unmark removes the mark of a block that was consumed, if it has one.
func (l *journal) unmark(b *store.Batch, stage int, id engine.BlockID) {
	if x, ok := l.job.stages[stage].executor.(*harnessExecutor); ok && x.truncation != nil && x.truncation.forget(id) {
		b.Unnote(truncatedKey(stage, id))
	}
}

// recoverMarks reads the marks of the blocks that are pending, and removes the
// others.
func (l *journal) recoverMarks(pending map[engine.BlockID]bool) error {
	var b store.Batch
	err := l.disk.Notes(noteDrain, noteDrain+"\xff", func(key string, _ []byte) error {
		if len(key) != len(noteDrain)+2+8 {
			return badNote("the mark of a truncated block")
		}
		stage := int(binary.BigEndian.Uint16([]byte(key[1:])))
		id := engine.BlockID(binary.BigEndian.Uint64([]byte(key[3:])))
		if stage >= len(l.job.stages) {
			return badNote("the stage of a truncated block")
		}
		x, ok := l.job.stages[stage].executor.(*harnessExecutor)
		if pending[id] && ok && x.truncation != nil {
			x.truncation.mark(id)
			return nil
		}
		b.Unnote(key)
		return nil
	})
	if err != nil || l.job.runner.readOnly {
		return err
	}
	return l.disk.Apply(&b)
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
	req.Output = func(_ beam.TransformID, _ string, data fnapi.Payload) error {
		out = append(out, data.Joined()...)
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
