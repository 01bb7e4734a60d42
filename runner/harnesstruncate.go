package runner

import (
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
}

func (x *harnessExecutor) newTruncation(s *translate.Stage) *truncation {
	if s == nil {
		return nil
	}
	return &truncation{stage: s, descriptor: &fnapi.Descriptor{
		ID: string(x.job.sub.ID) + "/" + string(s.ID), Proto: s.Harness.Descriptor}}
}

// truncate replaces the bundle's input by its truncated restrictions; the
// bundle runs on if there are any, and is done if there are none.
func (hb *harnessBundle) truncate() {
	data, err := hb.truncated()
	if err != nil {
		hb.fail(err)
		return
	}
	hb.inputs, err = hb.asInput(data)
	if err != nil {
		hb.fail(err)
		return
	}
	hb.begin()
	hb.wait()
}

// truncated runs the truncating stage.
func (hb *harnessBundle) truncated() ([]byte, error) {
	t := hb.x.truncation
	req := &fnapi.Bundle{ID: hb.x.instruction(hb.b) + "/truncate", Descriptor: t.descriptor, Source: t.stage.Harness.Source,
		Sinks: t.stage.Harness.Sinks, State: truncatingState{hb}, Input: hb.inputData()}
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
		return nil, hb.x.job.ctx.Err()
	}
	_, err := run.Result()
	return out, err
}

// asInput makes one block of the truncated restrictions. It lives as long as
// the drain.
func (hb *harnessBundle) asInput(data []byte) ([]engine.InputBlock, error) {
	var el coder.Element
	count, minTime := 0, beam.MaxEventTime
	for pos := 0; pos < len(data); count++ {
		n, err := hb.x.input.Scan(data[pos:], &el)
		if err != nil {
			return nil, err
		}
		minTime = min(minTime, el.Timestamp)
		pos += n
	}
	if count == 0 {
		return nil, nil
	}
	return []engine.InputBlock{{Block: hb.collector.block(data, count, minTime)}}, nil
}

// truncatingState answers the truncating stage's reads of side inputs, which
// are the processing stage's by name.
type truncatingState struct{ hb *harnessBundle }

func (s truncatingState) Get(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	for _, side := range s.hb.x.stage.plan.Harness.SideInputs {
		if side.Name == k.Name {
			k.Transform = side.Transform
		}
	}
	return s.hb.Get(k, token)
}

func (s truncatingState) Append(k fnapi.StateKey, data []byte) error { return s.hb.Append(k, data) }
func (s truncatingState) Clear(k fnapi.StateKey) error               { return s.hb.Clear(k) }
