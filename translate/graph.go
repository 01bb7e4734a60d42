package translate

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// kind says what becomes of a node.
type kind uint8

const (
	// harnessNode runs in an SDK harness.
	harnessNode kind = iota
	// combineNode is a whole CombinePerKey; the combine pass replaces it.
	combineNode
	// viaNode changes nothing but the way its input goes: Reshuffle, and what
	// turned out to do nothing. It becomes a property of edges.
	viaNode
	// flattenNode joins a stage that has all of its inputs, or else is edges.
	flattenNode
	// decodeNode reads its input in one coder and hands it on in another, by
	// passing it through the SDK: a harness's data source is all there is of it.
	decodeNode
	// The others are stages of the runner's own.
	impulseNode
	groupNode
	sourceNode
	sinkNode
	testStreamNode
	rewindowNode
	// goneNode is about to be removed.
	goneNode
)

var kindNames = [...]string{"harness", "combine", "via", "flatten", "decode",
	"impulse", "group", "source", "sink", "teststream", "rewindow", "gone"}

// runner says whether the node is a stage without a harness.
func (k kind) runner() bool { return k >= impulseNode }

// node is a leaf transform of the pipeline, or one that a pass made. It shares
// only immutable bytes with the proto.
type node struct {
	kind kind
	id   string
	// name is the unique name in the pipeline, for people.
	name        string
	urn         string
	payload     []byte
	env         string
	annotations map[string][]byte
	// inputs and outputs map local names to collections.
	inputs, outputs map[string]string
	// main is the local name of the main input, where there is exactly one.
	main string
	// pardo is the payload of ParDo and the parts of a splittable one.
	pardo *pipepb.ParDoPayload
	// combine is the payload of CombinePerKey and its parts.
	combine *pipepb.CombinePayload
	// routing is how the main input is dealt, and for a viaNode its output.
	routing Routing
	// begins: the node cannot follow another one in a stage.
	begins bool
	// stage is where fusion put it, depth how many nodes follow one another in the
	// stage up to this one.
	stage *stage
	depth int
}

// mainInput is the collection of the main input.
func (n *node) mainInput() string { return n.inputs[n.main] }

// isSide says whether the local input name is a side input.
func (n *node) isSide(local string) bool { return n.pardo.GetSideInputs()[local] != nil }

// sides are the local names of the side inputs.
func (n *node) sides() []string {
	if len(n.pardo.GetSideInputs()) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(n.pardo.GetSideInputs()))
}

func (n *node) stateful() bool {
	return len(n.pardo.GetStateSpecs())+len(n.pardo.GetTimerFamilySpecs()) > 0 ||
		n.pardo.GetOnWindowExpirationTimerFamilySpec() != ""
}

func sortedKeys(m map[string]string) []string   { return slices.Sorted(maps.Keys(m)) }
func sortedValues(m map[string]string) []string { return slices.Sorted(maps.Values(m)) }

// only is the value of a map that has one.
func only(m map[string]string) string {
	for _, v := range m {
		return v
	}
	return ""
}

// output is the one output of a node that has one.
func (n *node) output() string { return only(n.outputs) }

// reader is one input of a node.
type reader struct {
	node  *node
	local string
}

// graph is a pipeline on its way to a plan.
type graph struct {
	opts    Options
	comps   *pipepb.Components
	rootIDs []string
	// colls has the pipeline's collections and those that passes made.
	colls  map[string]*pipepb.PCollection
	coders *coderTable
	// nodes are in topological order once link has run.
	nodes    []*node
	ids      map[string]*node
	producer map[string]*node
	readers  map[string][]reader
	stages   []*stage
	edges    []edge
	// windowings and environments are the plan's own copies of those in use.
	windowings   map[string]*pipepb.WindowingStrategy
	environments map[string]*pipepb.Environment
	// global is the windowing strategy that globally made.
	global string
}

// add appends a node under an unused id.
func (g *graph) add(n *node) *node {
	n.id = unused(n.id, g.ids)
	g.ids[n.id] = n
	g.nodes = append(g.nodes, n)
	return n
}

// collection adds one like another, in a coder of its own.
func (g *graph) collection(id, like, coderID string) string {
	id = unused(id, g.colls)
	from := g.colls[like]
	g.colls[id] = &pipepb.PCollection{
		UniqueName:          id,
		CoderId:             coderID,
		IsBounded:           from.GetIsBounded(),
		WindowingStrategyId: from.GetWindowingStrategyId(),
	}
	return id
}

func (g *graph) coderOf(coll string) string     { return g.colls[coll].GetCoderId() }
func (g *graph) windowingOf(coll string) string { return g.colls[coll].GetWindowingStrategyId() }

func (g *graph) strategy(coll string) *pipepb.WindowingStrategy {
	return g.comps.GetWindowingStrategies()[g.windowingOf(coll)]
}

// windowCoder is the coder of a collection's windows on the wire.
func (g *graph) windowCoder(coll string) string {
	return g.coders.windowWire(g.strategy(coll).GetWindowCoderId())
}

// link finds producers and readers and sorts the nodes: every node comes after
// those whose outputs it reads, else they keep their order.
func link(g *graph) error {
	g.producer = make(map[string]*node, len(g.colls))
	for _, n := range g.nodes {
		for _, local := range sortedKeys(n.outputs) {
			coll := n.outputs[local]
			if other := g.producer[coll]; other != nil {
				return invalid(n.name, fmt.Sprintf("its output %q is the collection %q, which %s makes too", local, coll, other.name))
			}
			g.producer[coll] = n
		}
	}
	if err := g.sort(); err != nil {
		return err
	}
	g.readers = make(map[string][]reader, len(g.colls))
	for _, n := range g.nodes {
		for _, local := range sortedKeys(n.inputs) {
			coll := n.inputs[local]
			g.readers[coll] = append(g.readers[coll], reader{n, local})
		}
	}
	return nil
}

// sort is a depth-first walk over inputs, with a stack of its own as pipelines
// may be deep.
func (g *graph) sort() error {
	const entered, left = 1, 2
	mark := make(map[*node]int, len(g.nodes))
	sorted := make([]*node, 0, len(g.nodes))
	for _, root := range g.nodes {
		stack := []*node{root}
		for len(stack) > 0 {
			n := stack[len(stack)-1]
			if mark[n] != 0 {
				stack = stack[:len(stack)-1]
				if mark[n] == entered {
					mark[n] = left
					sorted = append(sorted, n)
				}
				continue
			}
			mark[n] = entered
			above, err := g.above(n)
			if err != nil {
				return err
			}
			for _, p := range slices.Backward(above) {
				switch mark[p] {
				case 0:
					stack = append(stack, p)
				case entered:
					return invalid(n.name, "it reads what is made from its own output, through "+p.name)
				}
			}
		}
	}
	g.nodes = sorted
	return nil
}

// above lists the producers of a node's inputs.
func (g *graph) above(n *node) ([]*node, error) {
	var above []*node
	for _, local := range sortedKeys(n.inputs) {
		p := g.producer[n.inputs[local]]
		if p == nil {
			return nil, invalid(n.name, fmt.Sprintf("its input %q is the collection %q, which nothing makes", local, n.inputs[local]))
		}
		above = append(above, p)
	}
	return above, nil
}

// invalid is the error for a malformed pipeline.
func invalid(where, what string) error {
	return &beam.Error{Code: beam.InvalidPipeline, Where: where, What: what,
		Cure: "the pipeline's proto is malformed: check the SDK that made it"}
}

// unsupported is the error for what Fresnel does not run.
func unsupported(where, what, cure string) error {
	return &beam.Error{Code: beam.Unsupported, Where: where, What: what, Cure: cure}
}
