package translate

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// stage is a stage of the plan while it is being put together.
type stage struct {
	id    beam.StageID
	kind  StageKind
	env   string
	nodes []*node
	// input is the collection that comes in, reads the one that the first nodes
	// read: they differ only where a decodeNode begins the stage.
	input, reads string
	routing      Routing
	keyed        bool
	stable       bool
	sorted       bool
	// above are the stages that must come before.
	above []*stage
	// outputs grow as consumers ask for them.
	outputs []output
	// main and sides are the collections as they arrive; declared is the coder of
	// main in the descriptor, if it is not that of main.
	main     *Collection
	declared string
	sides    []SideInputSpec
	// again is the second input of a group: merged accumulators.
	again *Collection
}

// output is a collection of a stage in the coder that some consumer wants.
type output struct {
	coll            string
	coder, windowed string
}

// rootKey tells which stages that read a boundary may be one.
type rootKey struct {
	coll, env string
}

// fuse puts every node in a stage. A harness node joins the stage of its input
// where it may, or one that reads the same boundary, else it begins a stage.
// Nodes come in topological order, so a stage can only get in a circle through
// a side input; that is asked before every join.
func fuse(g *graph) error {
	f := fusion{graph: g, roots: map[rootKey]*stage{}}
	for _, n := range g.nodes {
		switch {
		case n.kind == viaNode:
		case n.kind == flattenNode:
			f.flatten(n)
		case n.kind.runner():
			f.native(n)
		case n.kind == decodeNode:
			f.decode(n)
		default:
			f.harness(n)
		}
	}
	return g.weigh()
}

type fusion struct {
	*graph
	roots map[rootKey]*stage
}

var stageKinds = map[kind]StageKind{impulseNode: Impulse, groupNode: Group, sourceNode: Source,
	sinkNode: Sink, testStreamNode: TestStream, rewindowNode: Rewindow}

func (f *fusion) begin(s *stage) *stage {
	f.stages = append(f.stages, s)
	return s
}

func (f *fusion) native(n *node) {
	s := f.begin(&stage{kind: stageKinds[n.kind], routing: n.routing, keyed: n.kind == groupNode})
	if n.main != "" {
		s.input = n.mainInput()
		s.above = f.stagesOf(s.input)
	}
	s.put(n)
}

func (f *fusion) decode(n *node) {
	input := n.mainInput()
	s := f.begin(&stage{kind: Harness, env: n.env, input: input, reads: n.output(), above: f.stagesOf(input)})
	n.stage = s
}

func (s *stage) put(n *node) {
	s.nodes = append(s.nodes, n)
	n.stage = s
}

// maxChain is how many nodes may follow one another in a stage. A harness calls one
// from another: Python's ends at its recursion limit, with some ten frames for each
// where it is not compiled, three where it is. A cut costs an element a few
// microseconds, so many nodes more.
const maxChain = 80

// deepen notes how deep in its stage a node is.
func (f *fusion) deepen(n *node) {
	n.depth = 1
	for local, coll := range n.inputs {
		if p := f.producer[coll]; !n.isSide(local) && p.stage == n.stage {
			n.depth = max(n.depth, p.depth+1)
		}
	}
}

// join adds a node to a stage that mayJoin allowed.
func (f *fusion) join(s *stage, n *node) {
	for _, local := range n.sides() {
		s.follow(f.stagesOf(n.inputs[local]))
	}
	s.put(n)
	f.deepen(n)
}

func (s *stage) follow(above []*stage) {
	for _, a := range above {
		if !slices.Contains(s.above, a) {
			s.above = append(s.above, a)
		}
	}
}

func (f *fusion) harness(n *node) {
	if n.begins {
		f.root(n)
		return
	}
	if n.urn != urnPrecombine {
		n.inputs[n.main] = f.base(n.mainInput())
	}
	coll := n.mainInput()
	p := f.producer[coll]
	if p.stage != nil && p.depth < maxChain && f.mayJoin(p.stage, n) {
		f.join(p.stage, n)
		return
	}
	key := rootKey{coll, n.env}
	if s := f.roots[key]; s != nil && f.mayJoin(s, n) {
		f.join(s, n)
		return
	}
	f.roots[key] = f.root(n)
}

func (f *fusion) root(n *node) *stage {
	input := n.mainInput()
	s := f.begin(&stage{
		kind: Harness, env: n.env, input: input, reads: input, routing: n.routing, keyed: n.stateful(),
		stable: n.pardo.GetRequiresStableInput(), sorted: n.stateful() && n.pardo.GetRequiresTimeSortedInput(),
		above: f.stagesOf(input),
	})
	f.join(s, n)
	return s
}

// mayJoin says whether a node can be fused into a stage. Elements wait at the
// stage's beginning for the side inputs of all its nodes, so the windows must be
// the same there, and no side input may hang on the stage's own output.
func (f *fusion) mayJoin(s *stage, n *node) bool {
	if s.kind != Harness || s.env != n.env {
		return false
	}
	sides := n.sides()
	if len(sides) > 0 && !f.sameWindows(s.input, n.mainInput()) {
		return false
	}
	for _, local := range sides {
		if after(f.stagesOf(n.inputs[local]), s) {
			return false
		}
	}
	return true
}

// after says whether one of the stages is s or comes after it.
func after(stages []*stage, s *stage) bool {
	seen := map[*stage]bool{}
	for todo := slices.Clone(stages); len(todo) > 0; {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if next == s {
			return true
		}
		if !seen[next] {
			seen[next] = true
			todo = append(todo, next.above...)
		}
	}
	return false
}

func (g *graph) sameWindows(a, b string) bool {
	return g.windowingOf(a) == g.windowingOf(b) ||
		proto.Equal(g.strategy(a).GetWindowFn(), g.strategy(b).GetWindowFn())
}

// flatten puts a Flatten in the stage that makes all of its inputs, if someone
// reads its output there. Else it becomes edges. A collection that is flattened
// with itself does too: not every SDK delivers it twice.
func (f *fusion) flatten(n *node) {
	var s *stage
	inputs, twice := map[string]string{}, map[string]bool{}
	for _, local := range sortedKeys(n.inputs) {
		coll := f.base(n.inputs[local])
		p := f.producer[coll]
		if p.stage == nil || p.stage.kind != Harness || s != nil && p.stage != s || twice[coll] || p.depth >= maxChain {
			return
		}
		s, inputs[local], twice[coll] = p.stage, coll, true
	}
	if len(inputs) > 1 && f.readOn(n.output(), s.env) {
		n.inputs = inputs
		s.put(n)
		f.deepen(n)
	}
}

// readOn says whether some node could go on reading the collection in the stage
// that makes it.
func (g *graph) readOn(coll, env string) bool {
	seen := map[*node]bool{}
	for todo := []string{coll}; len(todo) > 0; {
		coll, todo = todo[0], todo[1:]
		for _, r := range g.readers[coll] {
			switch {
			case seen[r.node]:
			case r.node.kind == viaNode && r.node.routing == Keep, r.node.kind == flattenNode:
				seen[r.node] = true
				todo = append(todo, r.node.output())
			case r.node.kind == harnessNode && !r.node.begins && r.node.env == env && !r.node.isSide(r.local):
				return true
			}
		}
	}
	return false
}

// base is the collection that coll is another name for.
func (g *graph) base(coll string) string {
	for {
		n := g.producer[coll]
		switch {
		case n.kind == viaNode && n.routing == Keep:
			coll = n.mainInput()
		case n.kind == flattenNode && n.stage == nil && len(n.inputs) == 1:
			coll = only(n.inputs)
		default:
			return coll
		}
	}
}

// stagesOf lists the stages that make a collection.
func (g *graph) stagesOf(coll string) []*stage {
	var stages []*stage
	seen := map[string]bool{}
	for todo := []string{coll}; len(todo) > 0; {
		coll, todo = todo[0], todo[1:]
		if seen[coll] {
			continue
		}
		seen[coll] = true
		n := g.producer[coll]
		if n.stage != nil {
			if !slices.Contains(stages, n.stage) {
				stages = append(stages, n.stage)
			}
			continue
		}
		for _, local := range sortedKeys(n.inputs) {
			todo = append(todo, n.inputs[local])
		}
	}
	return stages
}

// origin is where elements of a collection come from: an output of a node in a
// stage, and how they are dealt on the way.
type origin struct {
	node    *node
	coll    string
	routing Routing
}

// maxEdges bounds the edges of a plan: Flattens of the same collections, one
// after another, multiply them.
const maxEdges = 1 << 18

// weigh counts the origins of every collection and refuses pipelines whose
// Flattens multiply out of bounds.
func (g *graph) weigh() error {
	weights := make(map[string]int, len(g.colls))
	for _, n := range g.nodes {
		weight := 1
		if n.stage == nil {
			weight = 0
			for _, coll := range n.inputs {
				weight = min(weight+weights[coll], maxEdges+1)
			}
		}
		if weight > maxEdges {
			return unsupported(n.name, "Flattens that multiply their inputs beyond measure", "flatten each collection once")
		}
		for _, coll := range n.outputs {
			weights[coll] = weight
		}
	}
	return nil
}

// origins follows a collection up through what is only edges.
func (g *graph) origins(coll string) []origin {
	n := g.producer[coll]
	if n.stage != nil {
		return []origin{{node: n, coll: coll}}
	}
	var all []origin
	for _, local := range sortedKeys(n.inputs) {
		for _, o := range g.origins(n.inputs[local]) {
			if n.kind == viaNode && n.routing != Keep {
				o.routing = n.routing
			}
			all = append(all, o)
		}
	}
	return all
}
