package translate

import (
	"slices"

	"fresnel/internal/beam"
)

// edge is an edge of the plan before stages have their ids.
type edge struct {
	from    *stage
	output  int
	to      *stage
	kind    EdgeKind
	input   int
	routing Routing
}

// connect sorts the stages, and gives every input of a stage its edges and its
// coder on the wire. Harnesses write whatever coder the reader wants, so a
// collection that is read in several coders has an output for each; the
// runner's own stages write the one coder that they have.
func connect(g *graph) error {
	g.sortStages()
	for _, s := range slices.Clone(g.stages) {
		if err := g.connectStage(s); err != nil {
			return err
		}
	}
	g.sortStages()
	return nil
}

// sortStages puts every stage after those above it, in the order of their
// beginning else.
func (g *graph) sortStages() {
	seen := make(map[*stage]bool, len(g.stages))
	sorted := make([]*stage, 0, len(g.stages))
	var visit func(s *stage)
	visit = func(s *stage) {
		if seen[s] {
			return
		}
		seen[s] = true
		for _, a := range s.above {
			visit(a)
		}
		sorted = append(sorted, s)
	}
	for _, s := range g.stages {
		visit(s)
	}
	g.stages = sorted
}

func (g *graph) connectStage(s *stage) error {
	if s.input != "" {
		main, err := g.connectInput(s, MainInput, 0, s.input)
		if err != nil {
			return err
		}
		s.main = &main
	}
	for _, n := range s.nodes {
		for _, local := range n.sides() {
			if err := g.connectSide(s, n, local); err != nil {
				return err
			}
		}
	}
	g.ownOutputs(s)
	return nil
}

func (g *graph) connectSide(s *stage, n *node, local string) error {
	coll := n.inputs[local]
	arrives, err := g.connectInput(s, SideInput, len(s.sides), coll)
	if err != nil {
		return err
	}
	main := n.mainInput()
	if g.sameWindows(s.input, main) {
		main = s.input
	}
	spec := n.pardo.GetSideInputs()[local]
	side := SideInputSpec{
		Transform:       beam.TransformID(n.id),
		Name:            local,
		Multimap:        spec.GetAccessPattern().GetUrn() == urnMultimapSide,
		Collection:      arrives,
		MainWindowing:   beam.WindowingID(g.windowingOf(main)),
		StandardMapping: StandardWindows(g.strategy(coll).GetWindowFn()),
	}
	if !side.StandardMapping {
		side.MapWindows = g.windowMapping(s, side, spec.GetWindowMappingFn())
	}
	s.sides = append(s.sides, side)
	return nil
}

// connectInput makes the edges that bring a collection to an input.
func (g *graph) connectInput(s *stage, kind EdgeKind, input int, coll string) (Collection, error) {
	origins := g.origins(coll)
	if len(g.edges)+len(origins) > maxEdges {
		return Collection{}, unsupported(g.producer[coll].name, "more edges between stages than a plan can have", "flatten fewer collections")
	}
	wire, windowed := g.wireOf(s, coll, origins)
	for _, o := range origins {
		from, out := g.emit(o, coll, wire, windowed)
		s.follow([]*stage{from})
		e := edge{from: from, output: out, to: s, kind: kind, input: input, routing: o.routing}
		switch {
		case kind == SideInput:
			e.routing = Keep
		case s.routing != Keep:
			e.routing = s.routing
		}
		g.edges = append(g.edges, e)
	}
	return g.boundary(coll, wire, windowed), nil
}

// wireOf chooses the coders of an input: those of the collection, but where
// everything comes from stages of the runner in one coder and a harness, or a
// stage that does not look inside, reads it, that one.
func (g *graph) wireOf(s *stage, coll string, origins []origin) (wire, windowed string) {
	wire = g.coders.wire(g.coderOf(coll))
	if s.kind == Rewindow {
		// It hands on the bytes: as its own readers declare them.
		wire = g.coders.wire(g.coderOf(s.nodes[0].output()))
	}
	if fixed := fixedCoder(origins); fixed != "" && s.kind != Group {
		wire = fixed
	}
	return wire, g.coders.windowed(wire, g.windowCoder(coll))
}

// fixedCoder is the coder of the origins if all are the runner's own and have
// the same, else empty.
func fixedCoder(origins []origin) string {
	fixed := ""
	for _, o := range origins {
		s := o.node.stage
		if s.kind == Harness {
			return ""
		}
		i := slices.IndexFunc(s.outputs, func(out output) bool { return out.coll == o.coll })
		if i < 0 || fixed != "" && fixed != s.outputs[i].coder {
			return ""
		}
		fixed = s.outputs[i].coder
	}
	return fixed
}

// emit finds or makes the output by which an origin reaches an input that wants
// a coder. Where the runner's own stage has another, a harness between them
// changes it.
func (g *graph) emit(o origin, coll, wire, windowed string) (*stage, int) {
	s := o.node.stage
	if s.kind == Harness {
		return s, s.output(o.coll, wire, windowed)
	}
	i := slices.IndexFunc(s.outputs, func(out output) bool { return out.coll == o.coll })
	if s.outputs[i].windowed == windowed {
		return s, i
	}
	t := g.transcode(s, i, coll)
	return t, t.output(o.coll, wire, windowed)
}

// output is the number of the output with that collection and coder.
func (s *stage) output(coll, coder, windowed string) int {
	out := output{coll: coll, coder: coder, windowed: windowed}
	for i, have := range s.outputs {
		if have.coll == coll && have.windowed == windowed {
			return i
		}
	}
	s.outputs = append(s.outputs, out)
	return len(s.outputs) - 1
}

// transcode is the harness stage that reads an output of one of the runner's
// own stages in order to write it in other coders.
func (g *graph) transcode(from *stage, i int, coll string) *stage {
	out := from.outputs[i]
	for _, s := range g.stages {
		if s.kind == Harness && len(s.nodes) == 0 && s.input == out.coll && s.reads == out.coll {
			return s
		}
	}
	main := g.boundary(out.coll, out.coder, out.windowed)
	t := &stage{kind: Harness, env: g.environmentNear(coll), input: out.coll, reads: out.coll, above: []*stage{from}, main: &main}
	g.stages = append(g.stages, t)
	g.edges = append(g.edges, edge{from: from, output: i, to: t})
	return t
}

// environmentNear is that of the first transform downstream of a collection
// that has one, else of the first upstream: both sides share the coder.
func (g *graph) environmentNear(coll string) string {
	if env := g.search(coll, func(coll string) (near []*node) {
		for _, r := range g.readers[coll] {
			near = append(near, r.node)
		}
		return near
	}, func(n *node) map[string]string { return n.outputs }); env != "" {
		return env
	}
	return g.search(coll, func(coll string) []*node { return []*node{g.producer[coll]} },
		func(n *node) map[string]string { return n.inputs })
}

func (g *graph) search(coll string, near func(string) []*node, next func(*node) map[string]string) string {
	seen := map[string]bool{}
	for todo := []string{coll}; len(todo) > 0; {
		coll, todo = todo[0], todo[1:]
		if seen[coll] {
			continue
		}
		seen[coll] = true
		for _, n := range near(coll) {
			if _, ok := g.comps.GetEnvironments()[n.env]; ok {
				return n.env
			}
			todo = append(todo, sortedValues(next(n))...)
		}
	}
	return ""
}

// ownOutputs sets what the runner's own stages write.
func (g *graph) ownOutputs(s *stage) {
	if s.kind == Harness {
		return
	}
	n := s.nodes[0]
	for _, coll := range sortedValues(n.outputs) {
		coder := g.ownCoder(s, coll)
		s.output(coll, coder, g.coders.windowed(coder, g.windowCoder(coll)))
	}
}

func (g *graph) ownCoder(s *stage, coll string) string {
	c := g.coders
	switch s.kind {
	case Impulse:
		return c.intern("bytes", urnBytes, nil)
	case Group:
		// From the input: the SDK may declare another coder for the keys that come
		// out than for those that go in, though their bytes are the same.
		in := s.main.Coder
		return c.kv(c.component(in, 0), c.iterable(c.component(in, 1)))
	case TestStream:
		// The payload's coder as it is, made so by the pass for TestStream.
		return c.canonical(g.coderOf(coll))
	case Rewindow:
		return s.main.Coder
	}
	return c.wire(g.coderOf(coll))
}

// boundary describes a collection as it crosses between stages.
func (g *graph) boundary(coll, coder, windowed string) Collection {
	return Collection{
		ID:        beam.PCollectionID(coll),
		Name:      g.collectionName(coll),
		Coder:     coder,
		Windowed:  windowed,
		Windowing: beam.WindowingID(g.windowingOf(coll)),
		Bounded:   g.bounded(coll),
	}
}

func (g *graph) collectionName(coll string) string {
	n := g.producer[coll]
	if n == nil {
		return coll
	}
	for _, local := range sortedKeys(n.outputs) {
		if n.outputs[local] == coll {
			return n.name + "." + local
		}
	}
	return n.name
}
