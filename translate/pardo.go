package translate

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// checkParDo checks side inputs, states and timers, and decides whether the
// node begins a stage.
func (g *graph) checkParDo(n *node) error {
	for _, local := range n.sides() {
		if err := g.checkSide(n, local); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.pardo.GetStateSpecs())) {
		if err := g.checkState(n, name, n.pardo.GetStateSpecs()[name]); err != nil {
			return err
		}
	}
	for _, family := range slices.Sorted(maps.Keys(n.pardo.GetTimerFamilySpecs())) {
		if err := g.checkTimer(n, family, n.pardo.GetTimerFamilySpecs()[family]); err != nil {
			return err
		}
	}
	family := n.pardo.GetOnWindowExpirationTimerFamilySpec()
	if _, ok := n.pardo.GetTimerFamilySpecs()[family]; family != "" && !ok {
		return invalid(n.name, fmt.Sprintf("its timer family for the end of windows, %q, is not declared", family))
	}
	if id := n.pardo.GetRestrictionCoderId(); id != "" {
		if err := g.coders.check(id); err != nil {
			return invalid(n.name, "restrictions: "+err.Error())
		}
	}
	return g.checkBeginning(n)
}

func (g *graph) checkBeginning(n *node) error {
	p := n.pardo
	if n.stateful() {
		if p.GetRestrictionCoderId() != "" {
			return unsupported(n.name, "a splittable DoFn with state or timers", "split it into a splittable DoFn and a stateful one")
		}
		if err := g.needsKeys(n); err != nil {
			return err
		}
		n.begins, n.routing = true, ByKey
	}
	if n.urn == urnProcessSized {
		n.begins, n.routing = true, Spread
	}
	if p.GetRequiresStableInput() || p.GetRequiresTimeSortedInput() {
		n.begins = true
	}
	return nil
}

func (g *graph) checkSide(n *node, local string) error {
	coll, ok := n.inputs[local]
	if !ok {
		return invalid(n.name, fmt.Sprintf("its side input %q is not among its inputs", local))
	}
	switch urn := n.pardo.GetSideInputs()[local].GetAccessPattern().GetUrn(); urn {
	case urnIterableSide:
	case urnMultimapSide:
		if id := g.coderOf(coll); !g.coders.isKV(id) {
			return invalid(n.name, fmt.Sprintf("its side input %q is read by key, but has the coder %s", local, g.coders.describe(id)))
		}
	default:
		return unsupported(n.name, fmt.Sprintf("side input %q with the access pattern %s", local, urn), "read it as an iterable or a multimap")
	}
	return nil
}

func (g *graph) checkState(n *node, name string, spec *pipepb.StateSpec) error {
	ids := stateCoders(spec)
	if ids == nil {
		return unsupported(n.name, fmt.Sprintf("state %q of an unknown kind", name), "use value, bag, combining, set, map or ordered list state")
	}
	for _, id := range ids {
		if err := g.coders.check(*id); err != nil {
			return invalid(n.name, fmt.Sprintf("state %q: %v", name, err))
		}
	}
	return nil
}

// stateCoders points at the coder ids of a state: of the values, after that of
// the keys where it has any. It is nil for an unknown kind.
func stateCoders(spec *pipepb.StateSpec) []*string {
	switch s := spec.GetSpec().(type) {
	case *pipepb.StateSpec_ReadModifyWriteSpec:
		if s.ReadModifyWriteSpec != nil {
			return []*string{&s.ReadModifyWriteSpec.CoderId}
		}
	case *pipepb.StateSpec_BagSpec:
		if s.BagSpec != nil {
			return []*string{&s.BagSpec.ElementCoderId}
		}
	case *pipepb.StateSpec_CombiningSpec:
		if s.CombiningSpec != nil {
			return []*string{&s.CombiningSpec.AccumulatorCoderId}
		}
	case *pipepb.StateSpec_SetSpec:
		if s.SetSpec != nil {
			return []*string{&s.SetSpec.ElementCoderId}
		}
	case *pipepb.StateSpec_OrderedListSpec:
		if s.OrderedListSpec != nil {
			return []*string{&s.OrderedListSpec.ElementCoderId}
		}
	case *pipepb.StateSpec_MapSpec:
		if s.MapSpec != nil {
			return []*string{&s.MapSpec.ValueCoderId, &s.MapSpec.KeyCoderId}
		}
	case *pipepb.StateSpec_MultimapSpec:
		if s.MultimapSpec != nil {
			return []*string{&s.MultimapSpec.ValueCoderId, &s.MultimapSpec.KeyCoderId}
		}
	}
	return nil
}

func (g *graph) checkTimer(n *node, family string, spec *pipepb.TimerFamilySpec) error {
	id := spec.GetTimerFamilyCoderId()
	if err := g.coders.check(id); err != nil {
		return invalid(n.name, fmt.Sprintf("timer family %q: %v", family, err))
	}
	if g.coders.urn(id) != urnTimer {
		return invalid(n.name, fmt.Sprintf("timer family %q has the coder %s, which is not one of timers", family, g.coders.describe(id)))
	}
	switch spec.GetTimeDomain() {
	case pipepb.TimeDomain_EVENT_TIME, pipepb.TimeDomain_PROCESSING_TIME:
		return nil
	}
	return unsupported(n.name, fmt.Sprintf("timer family %q in the time domain %s", family, spec.GetTimeDomain()), "use event or processing time")
}

// restricted says whether the ParDo is splittable and not yet taken apart.
func (n *node) restricted() bool {
	return n.urn == urnParDo && n.pardo.GetRestrictionCoderId() != ""
}

// expandSplittable takes every splittable DoFn apart: pair each element with
// its restriction, split and size these, process them. The last part keeps the
// transform's id, for its metrics are the user's.
//
//	E ─pair─▶ KV<E, R> ─split and size─▶ KV<KV<E, R>, double> ─process─▶ outputs
//
// R is the restriction coder of the payload, which the SDK makes to hold the
// watermark estimator's state as well.
func expandSplittable(g *graph) error {
	nodes := slices.Clone(g.nodes)
	for _, n := range nodes {
		if n.kind == harnessNode && n.pardo != nil && n.restricted() {
			g.expandSDF(n)
		}
	}
	return link(g)
}

func (g *graph) expandSDF(n *node) {
	input := n.mainInput()
	paired := g.coders.kv(g.coders.canonical(g.coderOf(input)), g.coders.canonical(n.pardo.GetRestrictionCoderId()))
	sized := g.coders.kv(paired, g.coders.intern("double", urnDouble, nil))
	pairs := g.collection(n.id+"/Paired", input, paired)
	sizes := g.collection(n.id+"/Sized", input, sized)
	g.part(n, "/PairWithRestriction", urnPairWithRestriction, input, map[string]string{"out": pairs})
	g.part(n, "/SplitAndSizeRestriction", urnSplitAndSize, pairs, map[string]string{"out": sizes})
	n.urn, n.begins, n.routing = urnProcessSized, true, Spread
	n.inputs[n.main] = sizes
}

// part adds a node that has everything of n but URN, main input and outputs.
func (g *graph) part(n *node, suffix, urn, input string, outputs map[string]string) *node {
	p := *n
	p.id += suffix
	p.name += suffix
	p.urn, p.begins, p.routing = urn, false, Keep
	p.inputs = maps.Clone(n.inputs)
	p.inputs[p.main] = input
	p.outputs = outputs
	return g.add(&p)
}
