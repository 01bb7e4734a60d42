package translate

import (
	"maps"
	"slices"
	"strconv"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// Options say what the runner brings along beside the model.
type Options struct {
	// NativeSources and NativeSinks say whether the runner has a connector for
	// transforms of a URN; nil functions know none.
	NativeSources, NativeSinks func(urn string) bool
	// Environments says whether the runner can start workers of a kind of
	// environment; a nil function knows all.
	Environments func(*pipepb.Environment) bool
	// Streaming makes the plan a streaming one even if all collections are
	// bounded.
	Streaming bool
}

// pass is one step from the pipeline to the plan.
type pass struct {
	name string
	run  func(*graph) error
}

var passes = []pass{
	{"unfold", unfold},
	{"leaves", leaves},
	{"link", link},
	{"combine", liftCombiners},
	{"splittable", expandSplittable},
	{"teststream", decodeTestStreams},
	{"windowing", dropWindowing},
	{"fuse", fuse},
	{"rewindow", rewindow},
	{"connect", connect},
	{"compact", compact},
	{"iterables", backIterables},
}

// Translate makes the plan of a pipeline. Every error is a *beam.Error that
// names the transform, by the name that the user knows, and says what to do.
func Translate(p *pipepb.Pipeline, opts Options) (*Plan, error) {
	if err := checkRequirements(p); err != nil {
		return nil, err
	}
	g := newGraph(p, opts)
	for _, pass := range passes {
		if err := pass.run(g); err != nil {
			return nil, err
		}
	}
	return g.plan(), nil
}

func newGraph(p *pipepb.Pipeline, opts Options) *graph {
	comps := p.GetComponents()
	g := &graph{
		opts:         opts,
		comps:        comps,
		rootIDs:      p.GetRootTransformIds(),
		colls:        maps.Clone(comps.GetPcollections()),
		coders:       newCoderTable(comps.GetCoders()),
		ids:          map[string]*node{},
		windowings:   map[string]*pipepb.WindowingStrategy{},
		environments: map[string]*pipepb.Environment{},
	}
	if g.colls == nil {
		g.colls = map[string]*pipepb.PCollection{}
	}
	return g
}

func (g *graph) bounded(coll string) bool {
	return g.colls[coll].GetIsBounded() != pipepb.IsBounded_UNBOUNDED
}

// plan writes down what the passes found.
func (g *graph) plan() *Plan {
	p := &Plan{Streaming: g.opts.Streaming}
	for i, s := range g.stages {
		s.id = beam.StageID("s" + strconv.Itoa(i+1))
	}
	for _, s := range g.stages {
		p.Stages = append(p.Stages, g.planStage(s))
	}
	for _, e := range g.edges {
		p.Edges = append(p.Edges, Edge{From: e.from.id, Output: e.output, To: e.to.id, Kind: e.kind, Input: e.input, Routing: e.routing})
	}
	g.sortEdges(p)
	for _, n := range g.nodes {
		p.Streaming = p.Streaming || g.unbounded(n)
	}
	p.Coders = make(map[string]*pipepb.Coder, len(g.coders.protos))
	maps.Copy(p.Coders, g.coders.protos)
	p.Windowings = make(map[beam.WindowingID]*pipepb.WindowingStrategy, len(g.windowings))
	for id, w := range g.windowings {
		p.Windowings[beam.WindowingID(id)] = w
	}
	p.Environments = make(map[beam.EnvironmentID]*pipepb.Environment, len(g.environments))
	for id, e := range g.environments {
		p.Environments[beam.EnvironmentID(id)] = e
	}
	return p
}

func (g *graph) unbounded(n *node) bool {
	for _, coll := range n.outputs {
		if !g.bounded(coll) {
			return true
		}
	}
	return false
}

// sortEdges puts edges in the order of their consumers.
func (g *graph) sortEdges(p *Plan) {
	order := make(map[beam.StageID]int, len(p.Stages))
	for i, s := range p.Stages {
		order[s.ID] = i
	}
	slices.SortStableFunc(p.Edges, func(a, b Edge) int {
		if d := order[a.To] - order[b.To]; d != 0 {
			return d
		}
		if d := int(a.Kind) - int(b.Kind); d != 0 {
			return d
		}
		return a.Input - b.Input
	})
}

func (g *graph) planStage(s *stage) *Stage {
	st := &Stage{ID: s.id, Kind: s.kind, Name: stageName(s.nodes), Keyed: s.keyed, StableInput: s.stable,
		Transforms: make(map[beam.TransformID]string, len(s.nodes))}
	for _, n := range s.nodes {
		st.Transforms[beam.TransformID(n.id)] = n.name
	}
	if s.main != nil {
		st.Inputs = append(st.Inputs, *s.main)
	}
	if s.again != nil {
		st.Inputs = append(st.Inputs, *s.again)
	}
	for _, out := range s.outputs {
		st.Outputs = append(st.Outputs, g.boundary(out.coll, out.coder, out.windowed))
	}
	for _, coll := range slices.Concat(st.Inputs, st.Outputs) {
		g.wireWindowing(string(coll.Windowing))
	}
	switch s.kind {
	case Harness:
		st.Harness = g.describe(s)
	case Group:
		st.Group = &GroupStage{Accumulators: s.again != nil, MergeWindows: g.windowMerging(s)}
	case Source, Sink:
		n := s.nodes[0]
		st.Connector = &ConnectorStage{URN: n.urn, Payload: slices.Clone(n.payload), Transform: n.name}
	case TestStream:
		st.TestStream = g.describeTestStream(s)
	case Rewindow:
		st.Rewindow = &RewindowStage{Windowing: st.Outputs[0].Windowing}
	}
	if st.Name == "" {
		st.Name = "Transcode " + st.Inputs[0].Name
	}
	return st
}
