package translate

import (
	"maps"
	"math"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// StandardWindows says whether the runner stands in for the SDK where windows of a
// function are assigned, merged or mapped: it is one of the standard ones, by whole
// milliseconds, not longer than a time.Duration, and without very many windows for
// an instant. The others are left to the SDK.
func StandardWindows(fn *pipepb.FunctionSpec) bool {
	switch fn.GetUrn() {
	case urnGlobalWindows:
		return true
	case urnFixedWindows:
		var p pipepb.FixedWindowsPayload
		return proto.Unmarshal(fn.GetPayload(), &p) == nil && computable(p.GetSize(), p.GetSize(), p.GetOffset())
	case urnSlidingWindows:
		var p pipepb.SlidingWindowsPayload
		return proto.Unmarshal(fn.GetPayload(), &p) == nil && computable(p.GetSize(), p.GetPeriod(), p.GetOffset())
	case urnSessionWindows:
		var p pipepb.SessionWindowsPayload
		return proto.Unmarshal(fn.GetPayload(), &p) == nil && computable(p.GetGapSize(), p.GetGapSize(), nil)
	}
	return false
}

const (
	// maxSliding bounds the windows that the runner gives for one instant.
	maxSliding = 10_000
	// maxSeconds is half of what a time.Duration can hold.
	maxSeconds = math.MaxInt64 / 1_000_000_000 / 2
)

func computable(size, period *durationpb.Duration, offset *timestamppb.Timestamp) bool {
	return wholeMillis(size) && wholeMillis(period) && wholeMillis(offset) &&
		millis(period) > 0 && millis(size)/millis(period) < maxSliding
}

// span is a duration or an instant.
type span interface {
	GetSeconds() int64
	GetNanos() int32
}

func wholeMillis(s span) bool {
	return -maxSeconds < s.GetSeconds() && s.GetSeconds() < maxSeconds && s.GetNanos()%1_000_000 == 0
}

func millis(s span) int64 { return s.GetSeconds()*1000 + int64(s.GetNanos()/1_000_000) }

// dropWindowing takes out what assigns the global window to elements that are
// in it already. What made its input then makes its output, so that readers see
// the windowing strategy that they declare: an SDK's precombine takes timestamps
// by it. Where others read the input too, the transform becomes another name of
// it, unless a precombine would have to go by that name.
func dropWindowing(g *graph) error {
	for _, n := range g.nodes {
		fn := g.assigned(n)
		if fn.GetUrn() != urnGlobalWindows || g.strategy(n.mainInput()).GetWindowFn().GetUrn() != urnGlobalWindows {
			continue
		}
		in, out := n.mainInput(), n.output()
		p := g.producer[in]
		switch {
		case !p.kind.runner() && len(g.readers[in]) == 1:
			g.rename(p, in, out)
			n.kind = goneNode
		case p.kind.runner() || !g.precombines(out):
			n.kind = viaNode
		}
	}
	g.nodes = slices.DeleteFunc(g.nodes, func(n *node) bool { return n.kind == goneNode })
	return nil
}

// rename has a node make a collection in place of another.
func (g *graph) rename(p *node, from, to string) {
	for local, coll := range p.outputs {
		if coll == from {
			p.outputs[local] = to
		}
	}
	g.producer[to] = p
	delete(g.producer, from)
	delete(g.readers, from)
}

func (g *graph) precombines(coll string) bool {
	return slices.ContainsFunc(g.readers[coll], func(r reader) bool {
		return r.node.urn == urnPrecombine || r.node.kind == viaNode && g.precombines(r.node.output()) ||
			g.assigned(r.node) != nil && g.precombines(r.node.output())
	})
}

// assigned is the window function that a harness is to assign: that of the
// WindowInto's payload, if the output's windowing strategy has the same, else nil. The payload is a
// WindowIntoPayload, or, from Python, a WindowingStrategy: both begin with it.
func (g *graph) assigned(n *node) *pipepb.FunctionSpec {
	if n.kind != harnessNode || n.urn != urnWindowInto {
		return nil
	}
	payload := &pipepb.WindowIntoPayload{}
	if len(n.outputs) != 1 || proto.Unmarshal(n.payload, payload) != nil {
		return nil
	}
	fn := g.strategy(n.output()).GetWindowFn()
	if fn == nil || !proto.Equal(fn, payload.GetWindowFn()) {
		return nil
	}
	return fn
}

// rewindow takes the assignment of windows of a standard function out of stages
// that it begins or ends: there the elements pass by the runner anyway, and
// the harness is slow at it.
func rewindow(g *graph) error {
	for _, s := range slices.Clone(g.stages) {
		if s.kind != Harness {
			continue
		}
		for _, n := range slices.Clone(s.nodes) {
			if !StandardWindows(g.assigned(n)) {
				continue
			}
			if g.endsWith(s, n) {
				g.cutEnd(s, n)
			} else if g.beginsWith(s, n) {
				g.cutBeginning(s, n)
			}
		}
	}
	g.stages = slices.DeleteFunc(g.stages, (*stage).idle)
	return nil
}

// endsWith says whether the output of a stage's node is read, but not there.
func (g *graph) endsWith(s *stage, n *node) bool {
	return len(g.readers[n.output()]) > 0 && !s.uses(n.output(), n)
}

// beginsWith says whether a stage's node is the only one there that reads what
// comes in. Side inputs wait by the windows of what comes in, so these must stay.
func (g *graph) beginsWith(s *stage, n *node) bool {
	if len(s.nodes) == 1 || s.reads != s.input || n.mainInput() != s.input || s.uses(s.input, n) {
		return false
	}
	return !slices.ContainsFunc(s.nodes, func(m *node) bool {
		return len(m.sides()) > 0 && !g.sameWindows(n.output(), m.mainInput())
	})
}

// uses says whether any node of the stage but one reads the collection.
func (s *stage) uses(coll string, but *node) bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool {
		return n != but && slices.Contains(slices.Collect(maps.Values(n.inputs)), coll)
	})
}

// cutEnd moves a node behind its stage.
func (g *graph) cutEnd(s *stage, n *node) {
	r := g.cut(s, n)
	r.above = []*stage{s}
	if s.idle() {
		r.above, r.routing = s.above, s.routing
	}
	for _, other := range g.stages {
		if i := slices.Index(other.above, s); i >= 0 && other != r {
			other.follow([]*stage{r})
			if s.idle() {
				other.above = slices.Delete(other.above, i, i+1)
			}
		}
	}
}

// idle says that nothing is left in a stage.
func (s *stage) idle() bool { return s.kind == Harness && len(s.nodes) == 0 && s.reads == s.input }

// cutBeginning moves a node before its stage.
func (g *graph) cutBeginning(s *stage, n *node) {
	r := g.cut(s, n)
	r.above, r.routing = g.stagesOf(r.input), s.routing
	s.input, s.reads, s.routing = n.output(), n.output(), Keep
	s.follow([]*stage{r})
}

func (g *graph) cut(s *stage, n *node) *stage {
	s.nodes = slices.DeleteFunc(s.nodes, func(m *node) bool { return m == n })
	n.kind = rewindowNode
	r := &stage{kind: Rewindow, input: n.mainInput()}
	r.put(n)
	g.stages = append(g.stages, r)
	return r
}

// globally is the id of a windowing strategy of the plan's own, for collections
// that only the runner and the SDK talk through.
func (g *graph) globally() string {
	if g.global == "" {
		g.global = unused("global", g.comps.GetWindowingStrategies())
		g.windowings[g.global] = &pipepb.WindowingStrategy{
			WindowFn:         &pipepb.FunctionSpec{Urn: urnGlobalWindows},
			MergeStatus:      pipepb.MergeStatus_NON_MERGING,
			WindowCoderId:    g.coders.intern("global_window", urnGlobalWindow, nil),
			Trigger:          &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
			AccumulationMode: pipepb.AccumulationMode_DISCARDING,
			OutputTime:       pipepb.OutputTime_END_OF_WINDOW,
			ClosingBehavior:  pipepb.ClosingBehavior_EMIT_IF_NONEMPTY,
			OnTimeBehavior:   pipepb.OnTimeBehavior_FIRE_ALWAYS,
		}
	}
	return g.global
}
