package translate

import (
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// prepare checks what a node refers to, and reads its payload.
func (g *graph) prepare(n *node) error {
	for _, coll := range sortedValues(n.inputs) {
		if err := g.checkCollection(n, coll); err != nil {
			return err
		}
	}
	for _, coll := range sortedValues(n.outputs) {
		if err := g.checkCollection(n, coll); err != nil {
			return err
		}
	}
	if n.kind == harnessNode || n.kind == combineNode {
		if err := g.checkEnvironment(n); err != nil {
			return err
		}
	}
	return g.checkForm(n)
}

func (g *graph) checkCollection(n *node, id string) error {
	coll, ok := g.colls[id]
	if !ok {
		return invalid(n.name, fmt.Sprintf("the collection %q is not in the pipeline", id))
	}
	if err := g.coders.check(coll.GetCoderId()); err != nil {
		return invalid(n.name, fmt.Sprintf("collection %q: %v", id, err))
	}
	strategy, ok := g.comps.GetWindowingStrategies()[coll.GetWindowingStrategyId()]
	if !ok {
		return invalid(n.name, fmt.Sprintf("the windowing strategy %q of collection %q is not in the pipeline", coll.GetWindowingStrategyId(), id))
	}
	if err := g.coders.check(strategy.GetWindowCoderId()); err != nil {
		return invalid(n.name, fmt.Sprintf("windows of collection %q: %v", id, err))
	}
	return nil
}

// checkEnvironment gives a node without an environment the pipeline's only one.
func (g *graph) checkEnvironment(n *node) error {
	envs := g.comps.GetEnvironments()
	if n.env == "" && len(envs) == 1 {
		for id := range envs {
			n.env = id
		}
	}
	env, ok := envs[n.env]
	if !ok {
		return invalid(n.name, fmt.Sprintf("its environment %q is not in the pipeline", n.env))
	}
	if known := g.opts.Environments; known != nil && !known(env) {
		return unsupported(n.name, fmt.Sprintf("its environment %q is of the type %q, which Fresnel cannot start", n.env, env.GetUrn()),
			"use --environment_type=LOOPBACK, EXTERNAL, PROCESS or DOCKER")
	}
	return nil
}

// checkForm checks numbers of inputs and outputs, the coders of keyed
// transforms and the payload.
func (g *graph) checkForm(n *node) error {
	switch n.kind {
	case impulseNode, sourceNode, testStreamNode:
		if len(n.inputs) > 0 {
			return invalid(n.name, "a source has inputs")
		}
		if n.kind != testStreamNode && len(n.outputs) != 1 {
			return invalid(n.name, fmt.Sprintf("a source has %d outputs, not one", len(n.outputs)))
		}
		return nil
	case flattenNode:
		return oneOutput(n)
	case viaNode:
		return g.checkVia(n)
	case groupNode:
		return g.checkGroup(n)
	case sinkNode:
		return g.mainOf(n)
	case combineNode:
		return g.checkCombine(n)
	}
	return g.checkHarness(n)
}

func oneOutput(n *node) error {
	if len(n.outputs) != 1 {
		return invalid(n.name, fmt.Sprintf("it has %d outputs, not one", len(n.outputs)))
	}
	return nil
}

func (g *graph) checkVia(n *node) error {
	if err := oneOutput(n); err != nil {
		return err
	}
	if err := g.mainOf(n); err != nil {
		return err
	}
	switch n.urn {
	case urnReshuffle, urnRedistribute:
		n.routing = Spread
	case urnRedistributeBy:
		n.routing = ByKey
		return g.needsKeys(n)
	}
	return nil
}

func (g *graph) checkGroup(n *node) error {
	if err := oneOutput(n); err != nil {
		return err
	}
	if err := g.mainOf(n); err != nil {
		return err
	}
	n.routing, n.begins = ByKey, true
	return g.needsKeys(n)
}

func (g *graph) needsKeys(n *node) error {
	if id := g.coderOf(n.mainInput()); !g.coders.isKV(id) {
		return invalid(n.name, fmt.Sprintf("it works by key, but its input has the coder %s, not one of key and value", g.coders.describe(id)))
	}
	return nil
}

// mainOf finds the main input: the one that is not a side input.
func (g *graph) mainOf(n *node) error {
	found := 0
	for local := range n.inputs {
		if !n.isSide(local) {
			n.main = local
			found++
		}
	}
	if found != 1 {
		return invalid(n.name, fmt.Sprintf("it has %d main inputs, not one", found))
	}
	return nil
}

func (g *graph) checkHarness(n *node) error {
	switch n.urn {
	case urnParDo, urnPairWithRestriction, urnSplitAndSize, urnProcessSized, urnTruncateSized:
		n.pardo = &pipepb.ParDoPayload{}
		if err := proto.Unmarshal(n.payload, n.pardo); err != nil {
			return invalid(n.name, "its ParDo payload cannot be read: "+err.Error())
		}
	case urnPrecombine, urnMergeAccumulators, urnExtractOutputs, urnConvertToAccum, urnCombineGrouped:
		if err := g.readCombine(n); err != nil {
			return err
		}
	}
	if err := g.mainOf(n); err != nil {
		return err
	}
	if n.pardo != nil {
		return g.checkParDo(n)
	}
	return nil
}

func (g *graph) readCombine(n *node) error {
	n.combine = &pipepb.CombinePayload{}
	if err := proto.Unmarshal(n.payload, n.combine); err != nil {
		return invalid(n.name, "its combine payload cannot be read: "+err.Error())
	}
	if id := n.combine.GetAccumulatorCoderId(); id != "" {
		if err := g.coders.check(id); err != nil {
			return invalid(n.name, "accumulators: "+err.Error())
		}
	}
	return nil
}

// checkRequirements refuses what the client says the runner must be able to do
// and Fresnel is not.
func checkRequirements(p *pipepb.Pipeline) error {
	for _, urn := range p.GetRequirements() {
		if !requirements[urn] {
			return &beam.Error{Code: beam.Unsupported, What: "the pipeline requires " + urn + ", which Fresnel does not know",
				Cure: "remove what needs it, or use a newer Fresnel"}
		}
	}
	return nil
}
