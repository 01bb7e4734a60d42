package jobservice

import (
	"fmt"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// broken returns aPipeline after a change.
func broken(change func(p *pipepb.Pipeline, c *pipepb.Components)) *pipepb.Pipeline {
	p := aPipeline()
	change(p, p.Components)
	return p
}

func stagedAs(name string) *pipepb.ArtifactInformation {
	return &pipepb.ArtifactInformation{TypeUrn: urnFile, RoleUrn: urnStagingTo,
		TypePayload: must(proto.Marshal(&pipepb.ArtifactFilePayload{Path: "/client/" + name})),
		RolePayload: must(proto.Marshal(&pipepb.ArtifactStagingToRolePayload{StagedName: name}))}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, p := range map[string]*pipepb.Pipeline{
		"there is no pipeline": nil,
		`transform "gone"`: broken(func(p *pipepb.Pipeline, _ *pipepb.Components) {
			p.RootTransformIds = append(p.RootTransformIds, "gone")
		}),
		`Create/Impulse: transform "gone"`: broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Transforms["t"].Subtransforms = []string{"gone"}
		}),
		"transforms contain themselves": broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Transforms["t"].Subtransforms = []string{"u"}
			c.Transforms["u"] = &pipepb.PTransform{Subtransforms: []string{"t"}}
		}),
		`Create/Impulse: PCollection "gone"`: broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Transforms["t"].Inputs = map[string]string{"in": "gone"}
		}),
		`Create/Impulse: environment "gone"`: broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Transforms["t"].EnvironmentId = "gone"
		}),
		`Create/Impulse: coder "gone"`: broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Pcollections["p"].CoderId = "gone"
		}),
		`Create/Impulse: coder "lost"`: broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Coders["bytes"].ComponentCoderIds = []string{"lost"}
		}),
		"coders contain themselves": broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Coders["bytes"].ComponentCoderIds = []string{"bytes"}
		}),
		`windowing strategy "gone"`: broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Pcollections["p"].WindowingStrategyId = "gone"
		}),
		"transforms are nested more than 1000 deep": broken(func(p *pipepb.Pipeline, c *pipepb.Components) {
			p.RootTransformIds = nil // the deepest first: each is looked at from the top
			for i := range 1500 {
				p.RootTransformIds = append(p.RootTransformIds, fmt.Sprint(i))
				c.Transforms[fmt.Sprint(i)] = &pipepb.PTransform{}
				if i > 0 {
					c.Transforms[fmt.Sprint(i)].Subtransforms = []string{fmt.Sprint(i - 1)}
				}
			}
		}),
		"coders are nested more than 100 deep": broken(func(_ *pipepb.Pipeline, c *pipepb.Components) { nestCoders(c, 150, 1) }),
		"coders have more than 16384 parts":    broken(func(_ *pipepb.Pipeline, c *pipepb.Components) { nestCoders(c, 50, 2) }),
		"leads out of the worker's directory": broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Environments = map[string]*pipepb.Environment{"e": {Dependencies: []*pipepb.ArtifactInformation{stagedAs(`a/..\../b`)}}}
		}),
	} {
		wantCode(t, text, statusOf(validate(p)), codes.InvalidArgument, text)
	}
	wantCode(t, "nil", statusOf(validate(nil)), codes.InvalidArgument, "there is no pipeline")
}

// nestCoders makes the coder of the pipeline depth coders deep, each with n
// times the next as its components.
func nestCoders(c *pipepb.Components, depth, n int) {
	for i := range depth {
		coder := &pipepb.Coder{}
		for range n {
			coder.ComponentCoderIds = append(coder.ComponentCoderIds, fmt.Sprint(i+1))
		}
		c.Coders[fmt.Sprint(i)] = coder
	}
	c.Coders[fmt.Sprint(depth)] = &pipepb.Coder{}
	c.Pcollections["p"].CoderId = "0"
}

func TestValidateAcceptsWhatIsWhole(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*pipepb.Pipeline{
		"plain": aPipeline(),
		"empty": {},
		"unreachable parts may dangle": broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Transforms["unused"] = &pipepb.PTransform{Subtransforms: []string{"gone"}}
			c.Coders["unused"] = &pipepb.Coder{ComponentCoderIds: []string{"gone"}}
		}),
		"names below the worker's directory": broken(func(_ *pipepb.Pipeline, c *pipepb.Components) {
			c.Environments = map[string]*pipepb.Environment{"e": {Dependencies: []*pipepb.ArtifactInformation{
				stagedAs("a.txt"), stagedAs("dir/a..b"), {TypeUrn: urnPyPI}, nil}}}
		}),
	} {
		if err := validate(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
