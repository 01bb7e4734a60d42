package translate

import (
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// fold makes an executable stage of each leaf that has an environment, as a
// client does that fuses by itself. It tells how many there are.
func fold(p *pipepb.Pipeline) int {
	n := 0
	for id, t := range p.GetComponents().GetTransforms() {
		if t.GetEnvironmentId() == "" || len(t.GetSubtransforms()) > 0 {
			continue
		}
		p.Components.Transforms[id] = stageOf(p, t)
		n++
	}
	return n
}

// stageOf is an executable stage of one transform.
func stageOf(p *pipepb.Pipeline, t *pipepb.PTransform) *pipepb.PTransform {
	inner := proto.CloneOf(p.GetComponents())
	inner.Transforms = map[string]*pipepb.PTransform{"transform_0": t}
	payload := &pipepb.ExecutableStagePayload{Environment: p.GetComponents().GetEnvironments()[t.GetEnvironmentId()],
		Transforms: []string{"transform_0"}, Components: inner}
	return &pipepb.PTransform{UniqueName: "stage of " + t.GetUniqueName(), Inputs: t.GetInputs(), Outputs: t.GetOutputs(),
		Spec: &pipepb.FunctionSpec{Urn: urnExecutableStage, Payload: marshal(payload)}}
}

// TestStagesOfAClientAreUnfolded: the plan is the same.
func TestStagesOfAClientAreUnfolded(t *testing.T) {
	t.Parallel()
	pipelines := map[string]*pipepb.Pipeline{}
	for _, name := range capturedNames(t) {
		pipelines[name] = captured(t, name)
	}
	for name, build := range byHand {
		p := newPipe()
		build(p)
		pipelines["hand_"+name] = p.Pipeline
	}
	folded := 0
	for name, p := range pipelines {
		want, wantErr := Translate(p, native)
		folded += fold(p)
		before := proto.CloneOf(p)
		got, err := Translate(p, native)
		if wantErr != nil || err != nil {
			t.Errorf("%s: %v, and folded: %v", name, wantErr, err)
			continue
		}
		if got.String() != want.String() {
			t.Errorf("%s: the plan is\n%v\nand folded\n%v", name, want, got)
		}
		if !proto.Equal(p, before) {
			t.Errorf("%s: the client's pipeline was changed", name)
		}
	}
	if folded < 50 {
		t.Errorf("only %d transforms were folded", folded)
	}
}

// TestBadStagesAreRefused, with their names.
func TestBadStagesAreRefused(t *testing.T) {
	t.Parallel()
	payload := func(change func(*pipepb.ExecutableStagePayload)) []byte {
		p := newPipe()
		s := &pipepb.ExecutableStagePayload{Transforms: []string{"x"}, Components: p.Components}
		s.Components.Transforms["x"] = &pipepb.PTransform{UniqueName: "X"}
		change(s)
		return marshal(s)
	}
	for want, bytes := range map[string][]byte{
		"not an ExecutableStagePayload": {1, 2, 3},
		`its transform "y"`:             payload(func(s *pipepb.ExecutableStagePayload) { s.Transforms[0] = "y" }),
		`its coder "mine"`:              payload(func(s *pipepb.ExecutableStagePayload) { s.Components.Coders["mine"].Spec.Urn = "other" }),
	} {
		p := newPipe()
		p.add("impulse", urnImpulse, nil, "out=a:bytes")
		p.add("stage", urnExecutableStage, nil, "in=a", "out=b:bytes").Spec.Payload = bytes
		_, err := Translate(p.Pipeline, Options{})
		if beam.CodeOf(err) != beam.InvalidPipeline || !strings.Contains(err.Error(), "Stage") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
