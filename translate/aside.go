package translate

import (
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// Some stages stand aside of the plan's flow: the runner asks them something
// and takes the answer. They are harness stages like others, without edges.

// truncation is the stage that truncates what the stage of a splittable DoFn is
// yet to process, nil if its SDK cannot.
func (g *graph) truncation(s *stage, process *node) *Stage {
	if !slices.Contains(g.comps.GetEnvironments()[s.env].GetCapabilities(), urnTruncateSized) {
		return nil
	}
	n := g.aside(process, "/Truncate", urnTruncateSized)
	out := g.collection(process.id+"/Truncated", s.input, g.coderOf(s.input))
	n.outputs = map[string]string{"out": out}
	g.producer[out] = n
	t := &stage{
		id: s.id + "-truncate", kind: Harness, env: s.env, nodes: []*node{n},
		input: s.input, reads: s.input, main: s.main,
		outputs: []output{{coll: out, coder: s.main.Coder, windowed: s.main.Windowed}},
	}
	for _, side := range s.sides {
		if string(side.Transform) == process.id {
			side.Transform = beam.TransformID(n.id)
			t.sides = append(t.sides, side)
		}
	}
	return g.planStage(t)
}

// aside is a node like another that is not in the graph.
func (g *graph) aside(n *node, suffix, urn string) *node {
	a := *n
	a.id = unused(n.id+suffix, g.ids)
	g.ids[a.id] = &a
	a.name += suffix
	a.urn = urn
	return &a
}

// windowMapping is the stage that maps the main windows of a side input.
func (g *graph) windowMapping(s *stage, side SideInputSpec, spec *pipepb.FunctionSpec) *Stage {
	key := g.coders.intern("bytes", urnBytes, nil)
	main := g.coders.windowWire(g.comps.GetWindowingStrategies()[string(side.MainWindowing)].GetWindowCoderId())
	to := g.coders.windowWire(g.comps.GetWindowingStrategies()[string(side.Collection.Windowing)].GetWindowCoderId())
	id := string(side.Transform) + "/" + side.Name + "/MapWindows"
	return g.question(id, urnMapWindows, spec, s.env, g.coders.kv(key, main), g.coders.kv(key, to))
}

// windowMerging is the stage that merges windows of a group, nil if the runner
// can.
func (g *graph) windowMerging(s *stage) *Stage {
	strategy := g.strategy(s.input)
	if StandardWindows(strategy.GetWindowFn()) || strategy.GetMergeStatus() != pipepb.MergeStatus_NEEDS_MERGE {
		return nil
	}
	env := strategy.GetEnvironmentId()
	if _, ok := g.comps.GetEnvironments()[env]; !ok {
		env = g.environmentNear(s.input)
	}
	c := g.coders
	key := c.intern("bytes", urnBytes, nil)
	window := c.windowWire(strategy.GetWindowCoderId())
	windows := c.iterable(window)
	merged := c.kv(windows, c.iterable(c.kv(window, windows)))
	return g.question(s.nodes[0].id+"/MergeWindows", urnMergeWindows, strategy.GetWindowFn(), env, c.kv(key, windows), c.kv(key, merged))
}

// question is a stage of one primitive of the SDK, from one coder to another in
// the global window.
func (g *graph) question(id, urn string, fn *pipepb.FunctionSpec, env, from, to string) *Stage {
	id = unused(id, g.ids)
	global := g.globally()
	coll := func(suffix, coder string) (string, output) {
		coll := unused(id+suffix, g.colls)
		g.colls[coll] = &pipepb.PCollection{UniqueName: coll, CoderId: coder,
			IsBounded: pipepb.IsBounded_BOUNDED, WindowingStrategyId: global}
		windowed := g.coders.windowed(coder, g.windowings[global].GetWindowCoderId())
		return coll, output{coll: coll, coder: coder, windowed: windowed}
	}
	in, asked := coll("/In", from)
	out, answer := coll("/Out", to)
	n := &node{id: id, name: id, urn: urn, payload: marshal(fn), env: env, main: "in",
		inputs: map[string]string{"in": in}, outputs: map[string]string{"out": out}}
	g.ids[id] = n
	main := g.boundary(in, from, asked.windowed)
	return g.planStage(&stage{
		id: beam.StageID(id), kind: Harness, env: env, nodes: []*node{n},
		input: in, reads: in, main: &main, outputs: []output{answer},
	})
}
