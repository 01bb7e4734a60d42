package runner

import (
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/window"
	"fresnel/translate"
)

// gates numbers what elements may wait for: a side input of a stage and one of
// its windows.
type gates struct {
	mu   sync.Mutex
	last engine.GateID
	// whole are the gates of side inputs as a whole, byWindow those of their
	// encoded windows.
	whole    map[sideKey]engine.Gate
	byWindow map[sideKey]*btree.Map[string, engine.Gate]
	// noted are the changes that a durable job has not written yet, nil in memory.
	noted []gateNote
	notes bool
}

// sideKey names a side input.
type sideKey struct{ stage, input int }

func newGates() *gates {
	return &gates{whole: map[sideKey]engine.Gate{}, byWindow: map[sideKey]*btree.Map[string, engine.Gate]{}}
}

// of returns the gate of a side input as a whole.
func (g *gates) of(k sideKey, end beam.EventTime) engine.Gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate, ok := g.whole[k]
	if !ok {
		gate = g.next(k, end)
		g.whole[k] = gate
		g.note(gate, "")
	}
	return gate
}

// ofWindow returns the gate of a window, which is waited for until the time given.
func (g *gates) ofWindow(k sideKey, raw string, end beam.EventTime) engine.Gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.byWindow[k]
	if all == nil {
		all = btree.NewMap[string, engine.Gate](16)
		g.byWindow[k] = all
	}
	gate, ok := all.Get(raw)
	if !ok {
		gate = g.next(k, end)
		all.Set(raw, gate)
		g.note(gate, raw)
	}
	return gate
}

func (g *gates) next(k sideKey, end beam.EventTime) engine.Gate {
	g.last++
	return engine.Gate{ID: g.last, Stage: k.stage, SideInput: k.input, End: end}
}

// forget forgets the gates of windows that are encoded below bound: no element
// in them is to come.
func (g *gates) forget(k sideKey, bound string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.byWindow[k]
	for all != nil {
		raw, gate, ok := all.Min()
		if !ok || raw >= bound {
			return
		}
		all.Delete(raw)
		g.unnote(gate)
	}
}

// gater finds the gates of the elements that arrive at a stage with side
// inputs.
type gater struct {
	gates *gates
	stage int
	main  *coder.Coder // the main input's window coder
	sides []sideGate
	// static are the gates of all elements, where they do not depend on the
	// window.
	static []engine.Gate
}

// sideGate maps main windows to gates of one side input: by the standard mapping
// to windows of fn, or by what the SDK says.
type sideGate struct {
	input   int
	fn      window.Fn
	awaited func(end beam.EventTime) (until beam.EventTime) // Strategy.AwaitedUntil
	mapping *windowMapping
}

// newGater returns nil for a stage without side inputs.
func (j *job) newGater(index int, s *translate.Stage) (*gater, error) {
	if s.Kind != translate.Harness || len(s.Harness.SideInputs) == 0 {
		return nil, nil
	}
	main, err := j.windowCoder(s.Inputs[0].Windowing)
	if err != nil {
		return nil, err
	}
	mapped, err := j.mappedSides(s)
	if err != nil {
		return nil, err
	}
	g := &gater{gates: j.gates, stage: index, main: main}
	for i, side := range s.Harness.SideInputs {
		strategy, err := j.strategy(side.Collection.Windowing)
		if err != nil {
			return nil, err
		}
		if slices.Contains(mapped, i) {
			g.sides = append(g.sides, sideGate{input: i, awaited: strategy.AwaitedUntil, fn: strategy.Fn()})
			continue
		}
		mapping, err := j.sideMapping(sideKey{index, i}, s, main)
		if err != nil {
			return nil, err
		}
		if mapping != nil {
			g.sides = append(g.sides, sideGate{input: i, awaited: strategy.AwaitedUntil, mapping: mapping})
			continue
		}
		g.static = append(g.static, g.gates.of(sideKey{index, i}, wholeEnd(strategy)))
	}
	return g, nil
}

// mappedSides are the side inputs of a stage whose windows the runner finds for
// each main window.
func (j *job) mappedSides(s *translate.Stage) ([]int, error) {
	var mapped []int
	for i, side := range s.Harness.SideInputs {
		strategy, err := j.strategy(side.Collection.Windowing)
		if err != nil {
			return nil, err
		}
		if dynamicMapping(side, strategy) && side.MainWindowing == s.Inputs[0].Windowing {
			mapped = append(mapped, i)
		}
	}
	return mapped, nil
}

// sideMapping is the mapping of a side input's windows that only the SDK knows,
// nil if there is none, or none from the windows that the stage's input is in.
func (j *job) sideMapping(k sideKey, s *translate.Stage, main *coder.Coder) (m *windowMapping, err error) {
	side := s.Harness.SideInputs[k.input]
	if !asksMapping(side, s) || j.mappings[k] != nil {
		return j.mappings[k], nil
	}
	m, err = j.newWindowMapping(side, main)
	j.mappings[k] = m
	return m, err
}

func asksMapping(side translate.SideInputSpec, s *translate.Stage) bool {
	return !side.StandardMapping && side.MainWindowing == s.Inputs[0].Windowing && side.MapWindows != nil
}

// dynamicMapping tells that the side window depends on the main window in a way
// that the runner can compute.
func dynamicMapping(side translate.SideInputSpec, s *window.Strategy) bool {
	if !side.StandardMapping {
		return false
	}
	switch s.Fn().Kind {
	case window.Fixed, window.Sliding:
		return true
	}
	return false
}

// wholeEnd is when a side input is complete as a whole: with the global window,
// or with its watermark.
func wholeEnd(s *window.Strategy) beam.EventTime {
	if s.Fn().Kind == window.Global {
		return beam.EndOfGlobalWindow
	}
	return beam.MaxEventTime - 1
}

// of appends the gates of an element.
func (g *gater) of(dst []engine.Gate, w *coder.Windowed, e *coder.Element) ([]engine.Gate, error) {
	dst = append(dst, g.static...)
	if len(g.sides) == 0 {
		return dst, nil
	}
	err := w.EachWindow(e, func(raw []byte) error {
		end, err := g.main.MaxTimestamp(raw)
		if err != nil {
			return err
		}
		for i := range g.sides {
			s := &g.sides[i]
			to, err := s.mapped(raw, end)
			if err != nil {
				return err
			}
			dst = appendGate(dst, g.gates.ofWindow(sideKey{g.stage, s.input}, to.raw, s.awaited(to.end)))
		}
		return nil
	})
	return dst, err
}

// asks tells that finding gates may have to wait for an SDK.
func (g *gater) asks() bool {
	return slices.ContainsFunc(g.sides, func(s sideGate) bool { return s.mapping != nil })
}

// learn asks SDKs for what gates of these main windows depend on, so that of
// finds it known.
func (g *gater) learn(windows []string) error {
	for _, s := range g.sides {
		if s.mapping == nil {
			continue
		}
		if err := s.mapping.learn(windows); err != nil {
			return err
		}
	}
	return nil
}

// mapped is the side window of an encoded main window that ends with the time
// given.
func (s *sideGate) mapped(main []byte, end beam.EventTime) (mappedWindow, error) {
	if s.mapping != nil {
		return s.mapping.of(main)
	}
	w := s.standard(end)
	return mappedWindow{string(coder.AppendIntervalWindow(nil, w)), w.MaxTimestamp()}, nil
}

// standard is the standard mapping: of the side windows that hold the main window's
// maximum timestamp the earliest, as the SDKs have it.
func (s *sideGate) standard(end beam.EventTime) beam.Window {
	windows := s.fn.Assign(nil, end)
	if len(windows) == 0 {
		return beam.GlobalWindow
	}
	first := windows[0]
	for _, w := range windows[1:] {
		if w.Start < first.Start {
			first = w
		}
	}
	return first
}

func appendGate(dst []engine.Gate, g engine.Gate) []engine.Gate {
	for _, have := range dst {
		if have.ID == g.ID {
			return dst
		}
	}
	return append(dst, g)
}

func (j *job) strategy(id beam.WindowingID) (*window.Strategy, error) {
	ws := j.plan.Windowings[id]
	wc, err := j.windowCoder(id)
	if err != nil {
		return nil, err
	}
	s, err := window.ParseStrategy(ws, wc)
	if err == nil && j.fromPython(ws.GetEnvironmentId()) {
		s = s.OnlyNonEmptyClosing()
	}
	return s, err
}

// fromPython tells that a windowing strategy is the Python SDK's, which writes
// EMIT_ALWAYS into each, means nothing by it, and expects no empty panes.
func (j *job) fromPython(env string) bool {
	capabilities := j.sub.Pipeline.GetComponents().GetEnvironments()[env].GetCapabilities()
	return slices.ContainsFunc(capabilities, func(c string) bool {
		return strings.HasPrefix(c, "beam:version:sdk_base:") && strings.Contains(c, "beam_python")
	})
}

func (j *job) windowCoder(id beam.WindowingID) (*coder.Coder, error) {
	ws := j.plan.Windowings[id]
	if ws == nil {
		return nil, &beam.Error{Code: beam.InvalidPipeline, What: "windowing strategy " + string(id) + " is missing"}
	}
	return j.coders.coder(ws.GetWindowCoderId())
}
