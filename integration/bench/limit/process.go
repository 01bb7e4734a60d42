package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/state"
	"fresnel/runner/store"
)

// inFlight is how many bundles a worker has at once: the next is there when one
// ends.
const inFlight = 2

// process has the harness run a stage, and counts the time that it takes.
func (m *measurement) process(ctx context.Context, st *stage) error {
	work, err := m.work(st)
	if err != nil {
		return err
	}
	s, err := m.newSession(st)
	if err != nil {
		return err
	}
	defer s.close()
	var done []*result
	for len(work) > 0 {
		began := time.Now()
		results, err := s.feed(ctx, work)
		m.harness += time.Since(began)
		if err != nil {
			return err
		}
		done, work = append(done, results...), s.rest(results)
	}
	for i := range st.plan.Outputs {
		for _, r := range done {
			if err := m.deliver(st, i, r.outputs[st.plan.Harness.Sinks[i]]); err != nil {
				return err
			}
		}
	}
	return nil
}

// input is what one bundle gets.
type input struct {
	elements [][]byte
	timers   []fnapi.TimerData
}

// work are the bundles of a stage: of one with state, whose elements of a key
// belong together, it is one.
func (m *measurement) work(st *stage) ([]input, error) {
	blocks, elements := st.input.blocks, m.bundle
	if st.plan.Keyed {
		var err error
		if blocks, err = st.input.byKey(); err != nil {
			return nil, err
		}
		elements = math.MaxInt
	}
	st.input.take()
	var all []input
	for _, b := range bundles(blocks, elements) {
		all = append(all, input{elements: b})
	}
	return all, nil
}

// result is what came of a bundle.
type result struct {
	outputs   map[beam.TransformID][][]byte
	residuals []fnapi.Residual
}

// session is a stage on its worker.
type session struct {
	m          *measurement
	st         *stage
	worker     fnapi.Worker
	descriptor *fnapi.Descriptor
	timers     map[fnapi.TimerFamily]family
	views      []*state.SideView

	mu    sync.Mutex // state and timers come on different streams
	shard *state.Shard
}

// family is a family of timers that the stage declares.
type family struct {
	processing bool
	coder      *coder.Coder
}

func (m *measurement) newSession(st *stage) (*session, error) {
	h := st.plan.Harness
	s := &session{m: m, st: st, worker: m.workers[h.Environment], timers: map[fnapi.TimerFamily]family{},
		descriptor: &fnapi.Descriptor{ID: m.id + "/" + string(st.plan.ID), Proto: h.Descriptor, Timers: len(h.Timers) > 0}}
	if st.plan.Keyed {
		s.shard = state.NewShard(store.NewTxn(store.NewMemory().Entries()), 0, 0, 1)
	}
	for _, t := range h.Timers {
		c, err := coder.Parse(t.Coder, m.plan.Coders)
		if err != nil {
			return nil, err
		}
		s.timers[fnapi.TimerFamily{Transform: t.Transform, Family: t.Family}] = family{t.ProcessingTime, c}
	}
	for _, side := range st.sides {
		s.views = append(s.views, side.View())
	}
	return s, nil
}

func (s *session) close() {
	for _, v := range s.views {
		v.Close()
	}
}

// feed has the worker process bundles, and returns when the last has ended.
func (s *session) feed(ctx context.Context, work []input) ([]*result, error) {
	results, running := make([]*result, len(work)), make([]fnapi.Running, len(work))
	for i, in := range work {
		if i >= inFlight {
			if err := await(ctx, running[i-inFlight], results[i-inFlight]); err != nil {
				return nil, err
			}
		}
		results[i] = &result{outputs: map[beam.TransformID][][]byte{}}
		running[i] = s.worker.Start(s.request(in, results[i]))
	}
	for i := max(0, len(work)-inFlight); i < len(work); i++ {
		if err := await(ctx, running[i], results[i]); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func await(ctx context.Context, run fnapi.Running, r *result) error {
	select {
	case <-run.Done():
	case <-ctx.Done():
		run.Abandon()
		return ctx.Err()
	}
	res, err := run.Result()
	if err == nil {
		r.residuals = res.Residuals
	}
	return err
}

func (s *session) request(in input, r *result) *fnapi.Bundle {
	h := s.st.plan.Harness
	s.m.bundles++
	b := &fnapi.Bundle{
		ID: fmt.Sprintf("%s/%d", s.m.id, s.m.bundles), Descriptor: s.descriptor, Source: h.Source, Sinks: h.Sinks,
		Input: in.elements, Timers: in.timers, State: s,
		Output: func(from beam.TransformID, name string, payload fnapi.Payload) error {
			data := payload.Joined()
			if f, ok := s.timers[fnapi.TimerFamily{Transform: from, Family: name}]; ok {
				return s.setTimers(fnapi.TimerFamily{Transform: from, Family: name}, f, data)
			}
			r.outputs[from] = append(r.outputs[from], data)
			return nil
		},
	}
	if s.shard != nil {
		b.UserStateToken = []byte(s.m.id)
	}
	for f := range s.timers {
		b.TimerFamilies = append(b.TimerFamilies, f)
	}
	for _, side := range h.SideInputs {
		b.SideInputTokens = append(b.SideInputTokens, fnapi.SideInputToken{Transform: side.Transform, Name: side.Name, Token: []byte(s.m.id)})
	}
	return b
}

// rest is what there is still to do: what bundles gave back, and timers.
func (s *session) rest(results []*result) []input {
	var back input
	for _, r := range results {
		for _, residual := range r.residuals {
			back.elements = append(back.elements, residual.Element)
		}
	}
	if s.shard != nil {
		s.takeTimers(&back)
	}
	if len(back.elements)+len(back.timers) == 0 {
		return nil
	}
	return []input{back}
}

// endOfClock is when processing-time timers are all due.
var endOfClock = time.UnixMilli(math.MaxInt64)

func (s *session) takeTimers(in *input) {
	s.shard.Flush()
	for _, t := range s.shard.TakeDue(state.Due{Event: true, Watermark: beam.MaxEventTime, Processing: true, Now: endOfClock, Limit: math.MaxInt}) {
		f := fnapi.TimerFamily{Transform: t.Transform, Family: t.Family}
		if n := len(in.timers); n == 0 || in.timers[n-1].TimerFamily != f {
			in.timers = append(in.timers, fnapi.TimerData{TimerFamily: f})
		}
		run := &in.timers[len(in.timers)-1]
		run.Data = coder.AppendTimer(run.Data, &coder.Timer{Key: t.User, Tag: t.Tag, Windows: t.Window, WindowCount: 1,
			Fire: t.Fire, Hold: t.Hold, Pane: t.Pane})
	}
}

// setTimers takes whole timers: that is how Python sends them.
func (s *session) setTimers(name fnapi.TimerFamily, f family, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t coder.Timer
	for len(data) > 0 {
		n, err := f.coder.ScanTimer(data, &t)
		if err != nil {
			return err
		}
		data = data[n:]
		err = f.coder.EachTimerWindow(&t, func(w []byte) error {
			id := state.TimerID{Transform: name.Transform, Family: name.Family, Tag: t.Tag, Window: w, User: t.Key, ProcessingTime: f.processing}
			if t.Clear {
				s.shard.ClearTimer(id)
			} else {
				s.shard.SetTimer(state.Timer{TimerID: id, Fire: t.Fire, Hold: t.Hold, Pane: t.Pane})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Get reads state or a side input.
func (s *session) Get(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch k.Kind {
	case fnapi.StateBag:
		return s.shard.Bag(cell(k), token)
	case fnapi.StateMultimap:
		return s.shard.Multimap(cell(k), token)
	case fnapi.StateMultimapKeys:
		return s.shard.MultimapKeys(cell(k), token)
	case fnapi.StateOrderedList:
		return s.shard.OrderedList(cell(k), listRange(k), token)
	}
	view, err := s.view(k)
	if err != nil {
		return nil, nil, err
	}
	switch k.Kind {
	case fnapi.StateIterableSideInput:
		return view.Iterable(k.Window, token)
	case fnapi.StateMultimapSideInput:
		return view.Multimap(k.Window, k.Key, token)
	case fnapi.StateMultimapKeysSideInput:
		return view.MultimapKeys(k.Window, token)
	case fnapi.StateMultimapKeysValuesSideInput:
		return view.MultimapKeysValues(k.Window, token)
	}
	return nil, nil, unknown(k)
}

func (s *session) view(k fnapi.StateKey) (*state.SideView, error) {
	for i, side := range s.st.plan.Harness.SideInputs {
		if side.Transform == k.Transform && side.Name == k.Name {
			return s.views[i], nil
		}
	}
	return nil, unknown(k)
}

func unknown(k fnapi.StateKey) error {
	return &beam.Error{Code: beam.Unsupported, What: "a state request of " + string(k.Transform) + " for " + k.Name}
}

// Append adds to user state.
func (s *session) Append(k fnapi.StateKey, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch k.Kind {
	case fnapi.StateBag:
		s.shard.AppendBag(cell(k), data)
	case fnapi.StateMultimap:
		s.shard.AppendMultimap(cell(k), data)
	case fnapi.StateOrderedList:
		return s.shard.AppendOrderedList(cell(k), data)
	default:
		return unknown(k)
	}
	return nil
}

// Clear empties user state.
func (s *session) Clear(k fnapi.StateKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch k.Kind {
	case fnapi.StateBag:
		s.shard.ClearBag(cell(k))
	case fnapi.StateMultimap:
		s.shard.ClearMultimap(cell(k))
	case fnapi.StateMultimapKeys:
		s.shard.ClearMultimapKeys(cell(k))
	case fnapi.StateOrderedList:
		s.shard.ClearOrderedList(cell(k), listRange(k))
	default:
		return unknown(k)
	}
	return nil
}

func cell(k fnapi.StateKey) state.Key {
	return state.Key{Transform: k.Transform, Name: k.Name, Window: k.Window, User: k.Key, Map: k.MapKey}
}

func listRange(k fnapi.StateKey) state.Range {
	return state.Range{Start: k.Start, End: k.End, Set: k.HasRange}
}

var _ fnapi.StateHandler = (*session)(nil)
