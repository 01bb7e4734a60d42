package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

var stageKindNames = [...]string{"impulse", "harness", "group", "source", "sink", "teststream", "rewindow"}

// String names the kind in one lower-case word.
func (k StageKind) String() string { return nameAt(stageKindNames[:], int(k)) }

// String names the routing in one lower-case word.
func (r Routing) String() string { return nameAt([]string{"keep", "by-key", "spread"}, int(r)) }

// String names the protocol in one lower-case word.
func (k StateKind) String() string {
	return nameAt([]string{"bag", "multimap", "ordered-list"}, int(k))
}

func nameAt(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("kind%d", i)
}

// String prints the plan for people and goldens: a paragraph for each stage,
// with what comes in (and from where), what runs and what goes out.
func (p *Plan) String() string {
	w := planWriter{plan: p}
	if p.Streaming {
		w.line(0, "streaming")
	}
	for _, s := range p.Stages {
		w.stage(s)
	}
	return w.b.String()
}

type planWriter struct {
	plan *Plan
	b    strings.Builder
}

func (w *planWriter) line(indent int, format string, args ...any) {
	w.b.WriteString(strings.Repeat("  ", indent))
	fmt.Fprintf(&w.b, format, args...)
	w.b.WriteByte('\n')
}

func (w *planWriter) stage(s *Stage) {
	w.line(0, "%s %s%s", s.ID, s.Kind, flags(s))
	for i, c := range s.Inputs {
		w.line(1, "in   %s%s", w.collection(c), w.from(s, i))
	}
	if s.Harness != nil {
		w.harness(s.Harness)
	} else {
		w.own(s)
	}
	for i, c := range s.Outputs {
		w.line(1, "out%d %s", i, w.collection(c))
	}
}

func flags(s *Stage) string {
	var b strings.Builder
	add := func(on bool, text string) {
		if on {
			b.WriteString(" " + text)
		}
	}
	add(s.Keyed, "keyed")
	add(s.StableInput, "stable-input")
	add(s.Group != nil && s.Group.Accumulators, "accumulators")
	if h := s.Harness; h != nil {
		add(true, "in "+string(h.Environment))
		add(h.TimeSorted, "time-sorted")
		add(h.Finalizes, "finalizes")
		add(h.UnboundedSDF, "unbounded")
	}
	return b.String()
}

func (w *planWriter) collection(c Collection) string {
	bounded := ""
	if !c.Bounded {
		bounded = " unbounded"
	}
	return fmt.Sprintf("%q %s in %s%s", c.Name, describeCoder(w.plan.Coders, c.Coder, 0), w.windowing(c.Windowing), bounded)
}

func (w *planWriter) windowing(id beam.WindowingID) string {
	urn := w.plan.Windowings[id].GetWindowFn().GetUrn()
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(urn, "beam:window_fn:"), ":v1"), "_windows")
}

// from lists the edges into a main input.
func (w *planWriter) from(s *Stage, input int) string {
	var b strings.Builder
	for _, e := range w.plan.Edges {
		if e.To == s.ID && e.Kind != SideInput && e.Input == input {
			fmt.Fprintf(&b, " <- %s.%d %s", e.From, e.Output, e.Routing)
			if e.Kind == Feedback {
				b.WriteString(" feedback")
			}
		}
	}
	return b.String()
}

func (w *planWriter) own(s *Stage) {
	for _, id := range slices.Sorted(maps.Keys(s.Transforms)) {
		w.line(1, "run  %q", s.Transforms[id])
	}
	switch {
	case s.Connector != nil:
		w.line(1, "     %s, %d bytes", s.Connector.URN, len(s.Connector.Payload))
	case s.Group != nil && s.Group.MergeWindows != nil:
		w.aside("merge windows", s.Group.MergeWindows)
	case s.TestStream != nil:
		w.line(1, "     %d events, tags %v, prefix %t", len(s.TestStream.Payload.GetEvents()), s.TestStream.Tags, s.TestStream.Prefix)
	}
}

func (w *planWriter) harness(h *HarnessStage) {
	for _, t := range inOrder(h.Descriptor) {
		w.line(1, "run  %q %s", t.GetUniqueName(), shortURN(t.GetSpec().GetUrn()))
	}
	for i, side := range h.SideInputs {
		w.side(h, i, side)
	}
	for _, s := range h.States {
		coder := describeCoder(w.plan.Coders, s.Coder, 0)
		if s.KeyCoder != "" {
			coder = describeCoder(w.plan.Coders, s.KeyCoder, 0) + " to " + coder
		}
		w.line(1, "state %s %s %s", s.Name, s.Kind, coder)
	}
	for _, t := range h.Timers {
		domain := "event-time"
		if t.ProcessingTime {
			domain = "processing-time"
		}
		if t.WindowExpiration {
			domain += " window-expiration"
		}
		w.line(1, "timer %s %s %s", t.Family, domain, describeCoder(w.plan.Coders, t.Coder, 0))
	}
	if h.Truncate != nil {
		w.aside("truncate", h.Truncate)
	}
}

// inOrder lists a descriptor's transforms, without sources and sinks, so that
// each comes after those whose outputs it reads.
func inOrder(d *fnpb.ProcessBundleDescriptor) []*pipepb.PTransform {
	ids := slices.Sorted(maps.Keys(d.GetTransforms()))
	maker := map[string]string{}
	for _, id := range ids {
		for _, coll := range d.GetTransforms()[id].GetOutputs() {
			maker[coll] = id
		}
	}
	var order []*pipepb.PTransform
	seen := map[string]bool{"": true}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		t := d.GetTransforms()[id]
		for _, local := range sortedKeys(t.GetInputs()) {
			visit(maker[t.GetInputs()[local]])
		}
		if urn := t.GetSpec().GetUrn(); urn != urnDataSource && urn != urnDataSink {
			order = append(order, t)
		}
	}
	for _, id := range ids {
		visit(id)
	}
	return order
}

func shortURN(urn string) string {
	return strings.TrimSuffix(strings.TrimPrefix(urn, "beam:transform:"), ":v1")
}

func (w *planWriter) aside(what string, s *Stage) {
	w.line(1, "aside %s %s to %s", what, describeCoder(w.plan.Coders, s.Inputs[0].Coder, 0), describeCoder(w.plan.Coders, s.Outputs[0].Coder, 0))
}

func (w *planWriter) side(h *HarnessStage, i int, side SideInputSpec) {
	pattern, mapping := "iterable", "standard"
	if side.Multimap {
		pattern = "multimap"
	}
	if !side.StandardMapping {
		mapping = "custom"
	}
	name := h.Descriptor.GetTransforms()[string(side.Transform)].GetUniqueName()
	w.line(1, "side %q %s %s, %s mapping from %s: %s%s", name, side.Name, pattern, mapping, w.windowing(side.MainWindowing),
		w.collection(side.Collection), w.sideFrom(h, i))
	if side.MapWindows != nil {
		w.aside("map windows", side.MapWindows)
	}
}

func (w *planWriter) sideFrom(h *HarnessStage, i int) string {
	var b strings.Builder
	for _, e := range w.plan.Edges {
		if e.Kind == SideInput && e.Input == i && w.harnessOf(e.To) == h {
			fmt.Fprintf(&b, " <- %s.%d", e.From, e.Output)
		}
	}
	return b.String()
}

func (w *planWriter) harnessOf(id beam.StageID) *HarnessStage {
	for _, s := range w.plan.Stages {
		if s.ID == id {
			return s.Harness
		}
	}
	return nil
}
