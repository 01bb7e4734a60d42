package translate

import (
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

func (g *graph) checkCombine(n *node) error {
	if err := one(n, "outputs", n.outputs); err != nil {
		return err
	}
	if err := g.mainOf(n); err != nil {
		return err
	}
	if err := g.readCombine(n); err != nil {
		return err
	}
	if err := g.coders.check(n.combine.GetAccumulatorCoderId()); err != nil {
		return invalid(n.name, "accumulators: "+err.Error())
	}
	return g.needsKeys(n)
}

// liftable says whether values may be combined before they are grouped. A
// trigger that counts elements, or fires at each, would see fewer of them.
func (g *graph) liftable(n *node) bool {
	for _, coll := range n.inputs {
		return liftableTrigger(g.strategy(coll).GetTrigger(), 0)
	}
	return false
}

func liftableTrigger(t *pipepb.Trigger, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for _, sub := range subTriggers(t) {
		if !liftableTrigger(sub, depth+1) {
			return false
		}
	}
	switch t.GetTrigger().(type) {
	case *pipepb.Trigger_ElementCount_, *pipepb.Trigger_Always_:
		return false
	}
	return true
}

func subTriggers(t *pipepb.Trigger) []*pipepb.Trigger {
	switch s := t.GetTrigger().(type) {
	case *pipepb.Trigger_AfterAll_:
		return s.AfterAll.GetSubtriggers()
	case *pipepb.Trigger_AfterAny_:
		return s.AfterAny.GetSubtriggers()
	case *pipepb.Trigger_AfterEach_:
		return s.AfterEach.GetSubtriggers()
	case *pipepb.Trigger_AfterEndOfWindow_:
		return []*pipepb.Trigger{s.AfterEndOfWindow.GetEarlyFirings(), s.AfterEndOfWindow.GetLateFirings()}
	case *pipepb.Trigger_OrFinally_:
		return []*pipepb.Trigger{s.OrFinally.GetMain(), s.OrFinally.GetFinally()}
	case *pipepb.Trigger_Repeat_:
		return []*pipepb.Trigger{s.Repeat.GetSubtrigger()}
	}
	return nil
}

// liftCombiners takes every CombinePerKey apart that the client has not. Those
// that cannot be lifted are here only if the client did not say what they are
// made of.
//
//	KV<K, V> ─precombine─▶ KV<K, A> ─group─▶ KV<K, iter<A>> ─merge─▶ KV<K, A> ─extract─▶ KV<K, O>
//	KV<K, V> ─group─▶ KV<K, iter<V>> ─combine grouped values─▶ KV<K, O>
func liftCombiners(g *graph) error {
	nodes := slices.Clone(g.nodes)
	for i, n := range nodes {
		if n.kind != combineNode {
			continue
		}
		if g.liftable(n) {
			g.lift(n)
		} else {
			g.groupAndCombine(n)
		}
		nodes[i] = nil
	}
	g.nodes = slices.DeleteFunc(g.nodes, func(n *node) bool { return n.kind == combineNode })
	return link(g)
}

func (g *graph) lift(n *node) {
	input := n.mainInput()
	key := g.coders.canonical(g.coders.component(g.coderOf(input), 0))
	accum := g.coders.canonical(n.combine.GetAccumulatorCoderId())
	keyed := g.coders.kv(key, accum)
	lifted := g.collection(n.id+"/Precombined", input, keyed)
	grouped := g.collection(n.id+"/Grouped", input, g.coders.kv(key, g.coders.iterable(accum)))
	merged := g.collection(n.id+"/Merged", input, keyed)
	g.step(n, "/Precombine", urnPrecombine, input, lifted)
	g.groupStep(n, lifted, grouped)
	g.step(n, "/Merge", urnMergeAccumulators, grouped, merged)
	g.step(n, "/ExtractOutputs", urnExtractOutputs, merged, g.output(n))
}

func (g *graph) groupAndCombine(n *node) {
	input := n.mainInput()
	key := g.coders.canonical(g.coders.component(g.coderOf(input), 0))
	value := g.coders.canonical(g.coders.component(g.coderOf(input), 1))
	grouped := g.collection(n.id+"/Grouped", input, g.coders.kv(key, g.coders.iterable(value)))
	g.groupStep(n, input, grouped)
	g.step(n, "/Combine", urnCombineGrouped, grouped, g.output(n))
}

// output is the one output of a node that has one.
func (g *graph) output(n *node) string {
	for _, coll := range n.outputs {
		return coll
	}
	return ""
}

func (g *graph) step(n *node, suffix, urn, input, output string) {
	p := g.part(n, suffix, urn, input, map[string]string{"out": output})
	p.kind = harnessNode
}

func (g *graph) groupStep(n *node, input, output string) {
	p := g.part(n, "/Group", urnGroupByKey, input, map[string]string{"out": output})
	p.kind, p.payload, p.env, p.combine = groupNode, nil, "", nil
	p.begins, p.routing = true, ByKey
}
