package translate

import (
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

func (g *graph) checkCombine(n *node) error {
	if err := oneOutput(n); err != nil {
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
// trigger that counts elements, or fires at each, would see fewer of them. A
// pane's timestamp that is the earliest or latest of those that were not late
// would be that of some that were combined with late ones, if any can be late.
func (g *graph) liftable(n *node) bool {
	for _, coll := range n.inputs {
		s := g.strategy(coll)
		return (g.bounded(coll) || !byElements(s.GetOutputTime())) && liftableTrigger(s.GetTrigger(), 0)
	}
	return false
}

// byElements tells whether elements decide the timestamp of their pane.
func byElements(t pipepb.OutputTime_Enum) bool {
	return t == pipepb.OutputTime_EARLIEST_IN_PANE || t == pipepb.OutputTime_LATEST_IN_PANE
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
	g.step(n, "/ExtractOutputs", urnExtractOutputs, merged, n.output())
}

func (g *graph) groupAndCombine(n *node) {
	input := n.mainInput()
	key := g.coders.canonical(g.coders.component(g.coderOf(input), 0))
	value := g.coders.canonical(g.coders.component(g.coderOf(input), 1))
	grouped := g.collection(n.id+"/Grouped", input, g.coders.kv(key, g.coders.iterable(value)))
	g.groupStep(n, input, grouped)
	g.step(n, "/Combine", urnCombineGrouped, grouped, n.output())
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

// compact gives every group of accumulators a way to have them merged early: a
// stage with nothing but the merging transform, whose output comes back.
//
//	Group.1 ─KV<K, iter<A>>─▶ merge ─KV<K, A>─feedback─▶ Group input 1
func compact(g *graph) error {
	for _, s := range slices.Clone(g.stages) {
		if s.kind == Group {
			if merge := g.mergerOf(s); merge != nil {
				g.compactBy(s, merge)
			}
		}
	}
	g.sortStages()
	return nil
}

// mergerOf is the node that merges what a group makes, if it is the only one
// that reads it.
func (g *graph) mergerOf(s *stage) *node {
	readers := g.readers[s.nodes[0].output()]
	if len(readers) != 1 || readers[0].node.urn != urnMergeAccumulators || readers[0].node.kind != harnessNode {
		return nil
	}
	return readers[0].node
}

func (g *graph) compactBy(s *stage, merge *node) {
	grouped := s.outputs[0]
	main := g.boundary(grouped.coll, grouped.coder, grouped.windowed)
	n := g.aside(merge, "/Compact", urnMergeAccumulators)
	compacted := g.collection(n.id+"/Compacted", grouped.coll, s.main.Coder)
	n.inputs = map[string]string{merge.main: grouped.coll}
	n.outputs = map[string]string{"out": compacted}
	g.producer[compacted] = n
	t := &stage{kind: Harness, env: merge.env, nodes: []*node{n}, input: grouped.coll, reads: grouped.coll, main: &main, above: []*stage{s}}
	again := g.boundary(compacted, s.main.Coder, s.main.Windowed)
	s.again = &again
	s.outputs = append(s.outputs, grouped)
	g.stages = append(g.stages, t)
	g.edges = append(g.edges,
		edge{from: s, output: len(s.outputs) - 1, to: t},
		edge{from: t, output: t.output(compacted, s.main.Coder, s.main.Windowed), to: s, kind: Feedback, input: 1, routing: ByKey})
}
