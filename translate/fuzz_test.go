package translate

import (
	"errors"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// native knows a source and a sink.
var native = Options{
	NativeSources: func(urn string) bool { return urn == "native:source" },
	NativeSinks:   func(urn string) bool { return urn == "native:sink" },
}

func FuzzTranslate(f *testing.F) {
	for _, name := range capturedNames(f) {
		b, err := proto.Marshal(captured(f, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(0))
		f.Add(b, uint64(len(b)))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		p := &pipepb.Pipeline{}
		if proto.Unmarshal(b, p) != nil {
			return
		}
		mutate(p, seed)
		for _, opts := range []Options{{}, native} {
			plan, err := Translate(p, opts)
			if err != nil {
				wantCoded(t, err)
				continue
			}
			checkPlan(t, plan)
			again, err := Translate(p, opts)
			if err != nil || again.String() != plan.String() {
				t.Fatalf("translated again: %v\n%s\nbefore:\n%s", err, again, plan)
			}
		}
	})
}

func wantCoded(t *testing.T, err error) {
	t.Helper()
	var coded *beam.Error
	if !errors.As(err, &coded) {
		t.Fatalf("an error without a code: %v", err)
	}
	if coded.Code != beam.InvalidPipeline && coded.Code != beam.Unsupported || coded.What == "" || coded.Cure == "" {
		t.Fatalf("an error that does not help: %#v", coded)
	}
}

// checkPlan holds a plan to what its types promise.
func checkPlan(t testing.TB, p *Plan) {
	t.Helper()
	_ = p.String()
	order := map[beam.StageID]int{}
	for i, s := range p.Stages {
		order[s.ID] = i
		checkStage(t, p, s)
	}
	for _, e := range p.Edges {
		from, to := p.Stages[order[e.From]], p.Stages[order[e.To]]
		if e.Kind != Feedback && order[e.From] >= order[e.To] {
			t.Fatalf("edge %+v goes back", e)
		}
		out, in := from.Outputs[e.Output], inputOf(to, e)
		if out.Windowed != in.Windowed || out.Coder != in.Coder {
			t.Fatalf("edge %+v: %s goes out, %s comes in", e, describeCoder(p.Coders, out.Windowed, 0), describeCoder(p.Coders, in.Windowed, 0))
		}
		if e.Routing == ByKey && p.Coders[in.Coder].GetSpec().GetUrn() != urnKV {
			t.Fatalf("edge %+v deals %s by key", e, describeCoder(p.Coders, in.Coder, 0))
		}
	}
}

func inputOf(to *Stage, e Edge) Collection {
	if e.Kind == SideInput {
		return to.Harness.SideInputs[e.Input].Collection
	}
	return to.Inputs[e.Input]
}

func checkStage(t testing.TB, p *Plan, s *Stage) {
	t.Helper()
	for _, c := range append(append([]Collection{}, s.Inputs...), s.Outputs...) {
		checkCollection(t, p, c)
	}
	if s.Kind != Harness {
		return
	}
	h := s.Harness
	if len(h.Sinks) != len(s.Outputs) || len(s.Inputs) != 1 {
		t.Fatalf("stage %s has %d sinks for %d outputs, %d inputs", s.ID, len(h.Sinks), len(s.Outputs), len(s.Inputs))
	}
	if _, ok := p.Environments[h.Environment]; !ok {
		t.Fatalf("stage %s runs in %q, which the plan has not", s.ID, h.Environment)
	}
	if _, err := proto.Marshal(h.Descriptor); err != nil {
		t.Fatal(err)
	}
	for _, side := range h.SideInputs {
		checkCollection(t, p, side.Collection)
		if side.MapWindows != nil {
			checkStage(t, p, side.MapWindows)
		}
	}
	if h.Truncate != nil {
		checkStage(t, p, h.Truncate)
	}
	checkDescriptor(t, h)
}

func checkCollection(t testing.TB, p *Plan, c Collection) {
	t.Helper()
	w, err := coder.ParseWindowed(c.Windowed, p.Coders)
	if err != nil {
		t.Fatalf("collection %s: %v", c.ID, err)
	}
	if !w.Known() {
		t.Fatalf("collection %s is in a coder that the runner cannot skip: %v", c.ID, w.Value())
	}
	if _, ok := p.Windowings[c.Windowing]; !ok {
		t.Fatalf("collection %s: no windowing strategy %q", c.ID, c.Windowing)
	}
}

// checkDescriptor finds ids that lead nowhere.
func checkDescriptor(t testing.TB, h *HarnessStage) {
	t.Helper()
	d := h.Descriptor
	has := func(ok bool, what, id string) {
		if !ok {
			t.Fatalf("descriptor %s has no %s %q:\n%s", d.GetId(), what, id, prototext.Format(d))
		}
	}
	for id, tr := range d.GetTransforms() {
		for _, coll := range append(sortedValues(tr.GetInputs()), sortedValues(tr.GetOutputs())...) {
			_, ok := d.GetPcollections()[coll]
			has(ok, "collection of "+id, coll)
		}
	}
	for _, c := range d.GetPcollections() {
		_, ok := d.GetCoders()[c.GetCoderId()]
		has(ok, "coder", c.GetCoderId())
		w, ok := d.GetWindowingStrategies()[c.GetWindowingStrategyId()]
		has(ok, "windowing", c.GetWindowingStrategyId())
		_, ok = d.GetCoders()[w.GetWindowCoderId()]
		has(ok, "window coder", w.GetWindowCoderId())
	}
	for _, c := range d.GetCoders() {
		for _, comp := range c.GetComponentCoderIds() {
			_, ok := d.GetCoders()[comp]
			has(ok, "coder", comp)
		}
	}
	for _, id := range append([]beam.TransformID{h.Source}, h.Sinks...) {
		has(d.GetTransforms()[string(id)] != nil, "transform", string(id))
	}
}
