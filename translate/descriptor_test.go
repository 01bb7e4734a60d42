package translate

import (
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

func planOf(t *testing.T, p *pipepb.Pipeline) *Plan {
	t.Helper()
	plan, err := Translate(p, native)
	if err != nil {
		t.Fatal(err)
	}
	checkPlan(t, plan)
	return plan
}

// stageWith finds the harness stage that runs a transform of a URN.
func stageWith(t *testing.T, p *Plan, urn string) (*Stage, *pipepb.PTransform) {
	t.Helper()
	for _, s := range p.Stages {
		if s.Harness == nil {
			continue
		}
		for _, tr := range inOrder(s.Harness.Descriptor) {
			if tr.GetSpec().GetUrn() == urn {
				return s, tr
			}
		}
	}
	t.Fatalf("no stage runs %s:\n%s", urn, p)
	return nil, nil
}

// The SDK's precombine takes its timestamps by the windowing strategy of the
// collection that it reads: not by that of one before a WindowInto that was
// taken out, which may have another timestamp combiner.
func TestPrecombineReadsItsOwnWindowing(t *testing.T) {
	t.Parallel()
	for _, others := range []bool{false, true} {
		p := newPipe()
		p.windows("latest", urnGlobalWindows, "global_window", pipepb.MergeStatus_NON_MERGING)
		p.Components.WindowingStrategies["latest"].OutputTime = pipepb.OutputTime_LATEST_IN_PANE
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("make", urnParDo, pardo(), "in=a", "out=b:kv")
		p.add("window", urnWindowInto, windowInto(urnGlobalWindows), "in=b", "out=c:kv/latest")
		p.add("sum", urnCombinePerKey, &pipepb.CombinePayload{AccumulatorCoderId: "mine"}, "in=c", "out=d:kv/latest")
		if others {
			p.add("print", urnParDo, pardo(), "in=b")
		}
		s, tr := stageWith(t, planOf(t, p.Pipeline), urnPrecombine)
		d := s.Harness.Descriptor
		for _, coll := range tr.GetInputs() {
			w := d.GetWindowingStrategies()[d.GetPcollections()[coll].GetWindowingStrategyId()]
			if w.GetOutputTime() != pipepb.OutputTime_LATEST_IN_PANE {
				t.Errorf("with other readers %t: precombine reads %q, whose output time is %v", others, coll, w.GetOutputTime())
			}
		}
		if _, ok := d.GetPcollections()["b"]; ok != others {
			t.Errorf("with other readers %t: the WindowInto's input is there: %t", others, ok)
		}
	}
}

// State keys, timers and residuals are made by the SDK from the coder of the
// collection that comes in: it is declared as it is on the wire.
func TestInputIsDeclaredAsOnTheWire(t *testing.T) {
	t.Parallel()
	p := newPipe()
	byHand["keys_declared_twice"](p)
	plan := planOf(t, p.Pipeline)
	var s *Stage
	for _, stage := range plan.Stages {
		if stage.Harness != nil && stage.Keyed {
			s = stage
		}
	}
	d := s.Harness.Descriptor
	declared := describeCoder(d.Coders, d.GetPcollections()["c"].GetCoderId(), 0)
	if declared != "kv<lp<my:deterministic>,iter<varint>>" {
		t.Errorf("the input is declared as %s", declared)
	}
	payload := &pipepb.ParDoPayload{}
	if err := proto.Unmarshal(d.GetTransforms()["state"].GetSpec().GetPayload(), payload); err != nil {
		t.Fatal(err)
	}
	if got := describeCoder(d.Coders, payload.GetTimerFamilySpecs()["t"].GetTimerFamilyCoderId(), 0); got != "timer<lp<my:deterministic>,global>" {
		t.Errorf("the timer's coder is %s", got)
	}
	if got := describeCoder(d.Coders, payload.GetStateSpecs()["bag"].GetBagSpec().GetElementCoderId(), 0); got != "lp<my:coder>" {
		t.Errorf("the bag's coder is %s", got)
	}
}

// Java's Create.windowedValues makes such a collection.
func TestCollectionsOfWindowedValuesAreLengthPrefixed(t *testing.T) {
	t.Parallel()
	p := newPipe()
	p.coder("reified", urnWindowedValue, "bytes", "global_window")
	p.add("impulse", urnImpulse, nil, "out=i:bytes")
	p.add("reify", urnParDo, pardo(), "in=i", "out=r:reified")
	p.add("use", urnParDo, pardo(), "in=r", "out=u:bytes")
	p.add("shuffle", urnReshuffle, nil, "in=r", "out=s:reified")
	p.add("later", urnParDo, pardo(), "in=s", "out=l:bytes")
	for _, s := range planOf(t, p.Pipeline).Stages {
		if s.Harness == nil {
			continue
		}
		for id, coll := range s.Harness.Descriptor.GetPcollections() {
			if urn := s.Harness.Descriptor.GetCoders()[coll.GetCoderId()].GetSpec().GetUrn(); urn == urnWindowedValue {
				t.Errorf("stage %s declares the collection %s with the coder %s", s.ID, id, urn)
			}
		}
	}
}

// A source and a sink are ports without an endpoint.
func TestPorts(t *testing.T) {
	t.Parallel()
	s, _ := stageWith(t, planOf(t, captured(t, "wordcount")), urnPrecombine)
	h := s.Harness
	for _, id := range append(h.Sinks, h.Source) {
		tr, port := h.Descriptor.GetTransforms()[string(id)], &fnpb.RemoteGrpcPort{}
		if err := proto.Unmarshal(tr.GetSpec().GetPayload(), port); err != nil {
			t.Fatal(err)
		}
		if port.GetApiServiceDescriptor() != nil || h.Descriptor.GetCoders()[port.GetCoderId()].GetSpec().GetUrn() != urnWindowedValue {
			t.Errorf("%s: %v", id, port)
		}
	}
}

// A descriptor holds what its stage reaches and no more.
func TestDescriptorIsMinimal(t *testing.T) {
	t.Parallel()
	p := newPipe()
	byHand["two_languages"](p)
	for _, s := range planOf(t, p.Pipeline).Stages {
		if s.Harness != nil && s.Harness.Environment == "java" {
			d := s.Harness.Descriptor
			if _, ok := d.GetCoders()["mine"]; ok || len(d.GetTransforms()) > 3 || len(d.GetPcollections()) > 2 {
				t.Errorf("%v", d)
			}
		}
	}
}
