package main

import (
	"context"
	"fmt"
	"time"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/state"
	"fresnel/runner/store"
	"fresnel/runner/window"
	"fresnel/translate"
)

// measurement is one job on its way through the stages.
type measurement struct {
	id      string
	plan    *translate.Plan
	workers map[beam.EnvironmentID]fnapi.Worker
	stages  []*stage
	shelf   *store.Shelf
	bundle  int           // elements
	bundles int           // so far
	harness time.Duration // while bundles were under way
}

// stage is what has come for a stage.
type stage struct {
	plan  *translate.Stage
	input pile
	sides []*state.SideInput
}

func newMeasurement(id string, plan *translate.Plan, bundle int, workers map[beam.EnvironmentID]fnapi.Worker) (*measurement, error) {
	m := &measurement{id: id, plan: plan, workers: workers, bundle: bundle, shelf: store.NewShelf(nil, store.NewSpill(""), nil)}
	for _, p := range plan.Stages {
		st := &stage{plan: p}
		if len(p.Inputs) > 0 {
			w, err := coder.ParseWindowed(p.Inputs[0].Windowed, plan.Coders)
			if err != nil {
				return nil, err
			}
			st.input.coder = w
		}
		if p.Kind == translate.Harness {
			for _, side := range p.Harness.SideInputs {
				st.sides = append(st.sides, state.NewSideInput(side.Multimap, m.shelf))
			}
		}
		m.stages = append(m.stages, st)
	}
	return m, nil
}

func (m *measurement) close() { m.shelf.Close() }

// run runs a stage on all that came for it, and hands on what it puts out.
func (m *measurement) run(ctx context.Context, st *stage) error {
	switch st.plan.Kind {
	case translate.Impulse:
		el := coder.AppendHeader(nil, beam.MinEventTime, 1, nil, beam.NoFiring)
		return m.deliver(st, 0, [][]byte{append(el, 0)})
	case translate.Group:
		return m.group(st)
	case translate.Rewindow:
		return m.rewindow(st)
	case translate.Harness:
		return m.process(ctx, st)
	}
	return fmt.Errorf("a stage of kind %d", st.plan.Kind)
}

func (m *measurement) strategy(id beam.WindowingID) (*window.Strategy, error) {
	ws := m.plan.Windowings[id]
	c, err := coder.Parse(ws.GetWindowCoderId(), m.plan.Coders)
	if err != nil {
		return nil, err
	}
	return window.ParseStrategy(ws, c)
}

// group groups all at once.
func (m *measurement) group(st *stage) error {
	strategy, err := m.strategy(st.plan.Inputs[0].Windowing)
	if err != nil {
		return err
	}
	g, err := window.NewGrouping(window.Config{Strategy: strategy, Input: st.input.coder, Bounded: true,
		Accumulators: st.plan.Group.Accumulators, CompactAbove: -1})
	if err != nil {
		return err
	}
	var panes [][]byte
	shard, now := g.NewShard(), time.Now()
	out := &window.Output{Panes: func(b window.Block) { panes = append(panes, b.Data) }}
	for _, b := range st.input.take() {
		if err := shard.Add(b.data, beam.MinEventTime, now, out); err != nil {
			return err
		}
	}
	if err := shard.Advance(beam.MaxEventTime, now, out); err != nil {
		return err
	}
	out.Flush()
	return m.deliver(st, 0, panes)
}

// rewindow assigns windows.
func (m *measurement) rewindow(st *stage) error {
	strategy, err := m.strategy(st.plan.Rewindow.Windowing)
	if err != nil {
		return err
	}
	var all [][]byte
	for _, b := range st.input.take() {
		out, _, _, err := strategy.Fn().Rewindow(nil, st.input.coder, b.data)
		if err != nil {
			return err
		}
		all = append(all, out)
	}
	return m.deliver(st, 0, all)
}

// deliver hands the output of a stage to all that read it.
func (m *measurement) deliver(from *stage, output int, data [][]byte) error {
	for _, e := range m.plan.Edges {
		if e.From != from.plan.ID || e.Output != output {
			continue
		}
		to := m.stageOf(e.To)
		var err error
		switch e.Kind {
		case translate.MainInput:
			err = to.input.add(data)
		case translate.SideInput:
			err = m.addSide(to, e.Input, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *measurement) stageOf(id beam.StageID) *stage {
	for _, st := range m.stages {
		if st.plan.ID == id {
			return st
		}
	}
	return nil
}

// addSide puts elements into a side input.
func (m *measurement) addSide(to *stage, input int, data [][]byte) error {
	spec := to.plan.Harness.SideInputs[input]
	w, err := coder.ParseWindowed(spec.Collection.Windowed, m.plan.Coders)
	if err != nil {
		return err
	}
	var pairs *coder.Coder
	if spec.Multimap {
		pairs = w.Value()
	}
	delta := to.sides[input].NewDelta()
	p := pile{coder: w, each: func(el *coder.Element) error {
		return w.EachWindow(el, func(raw []byte) error { return delta.Add(raw, el.Value, pairs) })
	}}
	if err := p.add(data); err != nil {
		return err
	}
	delta.Seal()
	to.sides[input].Apply(delta)
	return nil
}
