package translate

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Bounds of a pipeline, far above what people write.
const (
	maxDepth      = 1000    // how deep composites and triggers are nested
	maxTransforms = 1 << 16 // leaves and composites
)

// leafKinds are the transforms that are taken whole, even where the client says
// what they are made of.
var leafKinds = map[string]kind{
	urnParDo:               harnessNode,
	urnWindowInto:          harnessNode,
	urnMapWindows:          harnessNode,
	urnMergeWindows:        harnessNode,
	urnToString:            harnessNode,
	urnIdentityDoFn:        harnessNode,
	urnPrecombine:          harnessNode,
	urnMergeAccumulators:   harnessNode,
	urnExtractOutputs:      harnessNode,
	urnConvertToAccum:      harnessNode,
	urnCombineGrouped:      harnessNode,
	urnPairWithRestriction: harnessNode,
	urnSplitAndSize:        harnessNode,
	urnProcessSized:        harnessNode,
	urnTruncateSized:       harnessNode,
	urnCombinePerKey:       combineNode,
	urnReshuffle:           viaNode,
	urnRedistribute:        viaNode,
	urnRedistributeBy:      viaNode,
	urnCreateView:          viaNode,
	urnFlatten:             flattenNode,
	urnGroupByKey:          groupNode,
	urnImpulse:             impulseNode,
	urnTestStream:          testStreamNode,
}

// leaves makes nodes of the pipeline's leaf transforms. Composites that are not
// known give way to what they are made of, and those that hand on their inputs
// as outputs vanish.
func leaves(g *graph) error {
	w := walk{graph: g, seen: map[string]bool{}}
	for _, id := range g.roots() {
		if err := w.visit(id, 0); err != nil {
			return err
		}
	}
	return nil
}

// roots are the pipeline's, or all transforms that no other contains.
func (g *graph) roots() []string {
	if len(g.rootIDs) > 0 {
		return g.rootIDs
	}
	inner := map[string]bool{}
	for _, t := range g.comps.GetTransforms() {
		for _, sub := range t.GetSubtransforms() {
			inner[sub] = true
		}
	}
	var roots []string
	for _, id := range slices.Sorted(maps.Keys(g.comps.GetTransforms())) {
		if !inner[id] {
			roots = append(roots, id)
		}
	}
	return roots
}

type walk struct {
	graph *graph
	seen  map[string]bool
}

func (w *walk) visit(id string, depth int) error {
	t, ok := w.graph.comps.GetTransforms()[id]
	switch {
	case !ok:
		return invalid(id, "the transform is not in the pipeline")
	case w.seen[id]:
		return invalid(nameOf(id, t), "the transform is part of two others, or of itself")
	case depth > maxDepth:
		return invalid(nameOf(id, t), fmt.Sprintf("transforms are nested more than %d deep", maxDepth))
	case len(w.seen) >= maxTransforms:
		return invalid(nameOf(id, t), fmt.Sprintf("the pipeline has more than %d transforms", maxTransforms))
	}
	w.seen[id] = true
	n, err := w.graph.leaf(id, t)
	if err != nil {
		return err
	}
	if n != nil {
		w.graph.add(n)
		return nil
	}
	for _, sub := range t.GetSubtransforms() {
		if err := w.visit(sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func nameOf(id string, t *pipepb.PTransform) string {
	if t.GetUniqueName() != "" {
		return t.GetUniqueName()
	}
	return id
}

// leaf makes a node of a transform that is to be taken whole, and nil of one
// that is not.
func (g *graph) leaf(id string, t *pipepb.PTransform) (*node, error) {
	k, known := g.kindOf(t)
	composite := len(t.GetSubtransforms()) > 0
	switch {
	case known && composite && !takenWhole(k, t):
		return nil, nil
	case known:
	case composite, passesOn(t):
		return nil, nil
	default:
		return nil, unknownTransform(id, t)
	}
	n := &node{
		kind: k, id: id, name: nameOf(id, t),
		urn: t.GetSpec().GetUrn(), payload: t.GetSpec().GetPayload(), env: t.GetEnvironmentId(),
		annotations: maps.Clone(t.GetAnnotations()),
		inputs:      maps.Clone(t.GetInputs()), outputs: maps.Clone(t.GetOutputs()),
	}
	if k == combineNode && composite && !g.liftable(n) {
		return nil, nil
	}
	if k == combineNode && n.env == "" {
		n.env = g.environmentBelow(t, 0)
	}
	if err := g.prepare(n); err != nil {
		return nil, err
	}
	return n, nil
}

// environmentBelow is that of the first part of a composite that has one.
func (g *graph) environmentBelow(t *pipepb.PTransform, depth int) string {
	if t.GetEnvironmentId() != "" || depth > 10 {
		return t.GetEnvironmentId()
	}
	for _, sub := range t.GetSubtransforms() {
		if env := g.environmentBelow(g.comps.GetTransforms()[sub], depth+1); env != "" {
			return env
		}
	}
	return ""
}

func (g *graph) kindOf(t *pipepb.PTransform) (kind, bool) {
	urn := t.GetSpec().GetUrn()
	if k, ok := leafKinds[urn]; ok {
		return k, true
	}
	switch {
	case g.opts.NativeSources != nil && g.opts.NativeSources(urn):
		return sourceNode, true
	case g.opts.NativeSinks != nil && g.opts.NativeSinks(urn):
		return sinkNode, true
	}
	return 0, false
}

// takenWhole says whether a composite of a known URN has the form of it; one
// with side inputs, say, can only be run by its parts.
func takenWhole(k kind, t *pipepb.PTransform) bool {
	switch {
	case k == combineNode, k == viaNode, k == groupNode, t.GetSpec().GetUrn() == urnCombineGrouped:
		return len(t.GetInputs()) == 1 && len(t.GetOutputs()) == 1
	case k == sourceNode:
		return len(t.GetInputs()) == 0 && len(t.GetOutputs()) == 1
	case k == sinkNode:
		return len(t.GetInputs()) == 1
	}
	return true
}

// passesOn says whether the transform's outputs are among its inputs: it does
// nothing.
func passesOn(t *pipepb.PTransform) bool {
	in := map[string]bool{}
	for _, coll := range t.GetInputs() {
		in[coll] = true
	}
	for _, coll := range t.GetOutputs() {
		if !in[coll] {
			return false
		}
	}
	return true
}

func unknownTransform(id string, t *pipepb.PTransform) error {
	urn := t.GetSpec().GetUrn()
	if urn == "" {
		return invalid(nameOf(id, t), "the transform has neither parts nor a URN that says what it does")
	}
	return unsupported(nameOf(id, t), "the transform "+urn+" is not one that Fresnel runs",
		"use another transform, or one that expands to ParDo, or, for a connector, the expansion service of this server")
}
