package translate

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// unfold puts in the place of each executable stage the transforms that it is made
// of. Clients make such stages where they fuse a pipeline themselves, as Beam's Python
// SDK does for --experiments=pre_optimize=all; the runner's own fusion decides anew
// (ExecutableStagePayload in beam_runner_api.proto).
func unfold(g *graph) error {
	var u *unfolding
	for _, id := range slices.Sorted(maps.Keys(g.comps.GetTransforms())) {
		t := g.comps.GetTransforms()[id]
		if t.GetSpec().GetUrn() != urnExecutableStage {
			continue
		}
		if u == nil {
			u = g.beginUnfolding()
		}
		if err := u.stage(id, t); err != nil {
			return err
		}
	}
	return nil
}

// unfolding adds to a copy of the pipeline's components.
type unfolding struct{ to *pipepb.Components }

// beginUnfolding gives the graph components that are not the client's.
func (g *graph) beginUnfolding() *unfolding {
	c := g.comps
	g.comps = &pipepb.Components{
		Transforms:          maps.Clone(c.GetTransforms()),
		Pcollections:        g.colls,
		WindowingStrategies: orEmpty(maps.Clone(c.GetWindowingStrategies())),
		Coders:              orEmpty(maps.Clone(c.GetCoders())),
		Environments:        orEmpty(maps.Clone(c.GetEnvironments())),
	}
	g.coders = newCoderTable(g.comps.GetCoders())
	return &unfolding{g.comps}
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// stage makes a composite of an executable stage.
func (u *unfolding) stage(id string, t *pipepb.PTransform) error {
	payload := &pipepb.ExecutableStagePayload{}
	if err := proto.Unmarshal(t.GetSpec().GetPayload(), payload); err != nil {
		return invalid(nameOf(id, t), "its payload is not an ExecutableStagePayload: "+err.Error())
	}
	if err := u.join(payload.GetComponents()); err != nil {
		return invalid(nameOf(id, t), err.Error())
	}
	composite := &pipepb.PTransform{UniqueName: t.GetUniqueName(), Inputs: t.GetInputs(), Outputs: t.GetOutputs()}
	for _, inner := range slices.Sorted(slices.Values(payload.GetTransforms())) {
		part := payload.GetComponents().GetTransforms()[inner]
		if part == nil {
			return invalid(nameOf(id, t), fmt.Sprintf("its transform %q is not among its components", inner))
		}
		key := unused(id+"/"+inner, u.to.Transforms)
		u.to.Transforms[key] = part
		composite.Subtransforms = append(composite.Subtransforms, key)
	}
	u.to.Transforms[id] = composite
	return nil
}

// join takes in what the parts of a stage refer to.
func (u *unfolding) join(c *pipepb.Components) error {
	for _, err := range []error{
		joinMap("collection", u.to.Pcollections, c.GetPcollections()),
		joinMap("windowing strategy", u.to.WindowingStrategies, c.GetWindowingStrategies()),
		joinMap("coder", u.to.Coders, c.GetCoders()),
		joinMap("environment", u.to.Environments, c.GetEnvironments()),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// joinMap adds what is missing; what is there must be the same.
func joinMap[V proto.Message](what string, to, from map[string]V) error {
	for _, id := range slices.Sorted(maps.Keys(from)) {
		have, ok := to[id]
		switch {
		case !ok:
			to[id] = from[id]
		case !proto.Equal(have, from[id]):
			return fmt.Errorf("its %s %q is not that of the pipeline", what, id)
		}
	}
	return nil
}
