package translate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// describer makes the bundle descriptor of one harness stage: the transforms,
// collections, coders, windowings and environments that it reaches, no others.
type describer struct {
	*graph
	s    *stage
	desc *fnpb.ProcessBundleDescriptor
	spec *HarnessStage
}

func (g *graph) describe(s *stage) *HarnessStage {
	d := describer{graph: g, s: s, spec: &HarnessStage{
		Environment: beam.EnvironmentID(s.env), SideInputs: s.sides, TimeSorted: s.sorted,
	}, desc: &fnpb.ProcessBundleDescriptor{
		Id:                  string(s.id),
		Transforms:          map[string]*pipepb.PTransform{},
		Pcollections:        map[string]*pipepb.PCollection{},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{},
		Coders:              map[string]*pipepb.Coder{},
		Environments:        map[string]*pipepb.Environment{},
	}}
	d.spec.Descriptor = d.desc
	d.environment(s.env)
	for _, n := range s.nodes {
		d.node(n)
	}
	// The collections that come in are declared in the coder that they come in:
	// state keys, residuals and side inputs are written with it.
	if s.reads == s.input {
		coder := s.main.Coder
		if s.declared != "" {
			coder = s.declared
		}
		d.collection(s.input, coder)
	}
	for _, side := range s.sides {
		d.collection(string(side.Collection.ID), side.Collection.Coder)
	}
	d.source()
	for i := range s.outputs {
		d.sink(i)
	}
	return d.spec
}

// collection declares a collection, in a coder other than its own if that is
// not empty.
func (d *describer) collection(id, coder string) {
	from := d.colls[id]
	if coder == "" {
		if _, ok := d.desc.Pcollections[id]; ok {
			return
		}
		coder = d.coders.declared(from.GetCoderId())
	}
	d.desc.Pcollections[id] = &pipepb.PCollection{
		UniqueName:          from.GetUniqueName(),
		CoderId:             coder,
		IsBounded:           from.GetIsBounded(),
		WindowingStrategyId: from.GetWindowingStrategyId(),
	}
	d.coder(coder)
	d.windowing(from.GetWindowingStrategyId())
}

func (d *describer) coder(id string) { d.coders.closure(id, d.desc.Coders) }

func (d *describer) windowing(id string) {
	if _, ok := d.desc.WindowingStrategies[id]; ok {
		return
	}
	w := d.wireWindowing(id)
	d.desc.WindowingStrategies[id] = w
	d.coder(w.GetWindowCoderId())
	d.environment(w.GetEnvironmentId())
}

// wireWindowing is a windowing strategy with the window coder of the wire.
func (g *graph) wireWindowing(id string) *pipepb.WindowingStrategy {
	if w, ok := g.windowings[id]; ok {
		return w
	}
	w := proto.CloneOf(g.comps.GetWindowingStrategies()[id])
	w.WindowCoderId = g.coders.windowWire(w.GetWindowCoderId())
	g.windowings[id] = w
	return w
}

func (d *describer) environment(id string) {
	if env, ok := d.comps.GetEnvironments()[id]; ok {
		d.desc.Environments[id] = d.ownEnvironment(id, env)
	}
}

// ownEnvironment is the plan's copy of an environment.
func (g *graph) ownEnvironment(id string, env *pipepb.Environment) *pipepb.Environment {
	if own, ok := g.environments[id]; ok {
		return own
	}
	own := proto.CloneOf(env)
	g.environments[id] = own
	return own
}

func (d *describer) node(n *node) {
	for _, coll := range sortedValues(n.inputs) {
		d.collection(coll, "")
	}
	for _, coll := range sortedValues(n.outputs) {
		d.collection(coll, "")
	}
	payload := n.payload
	switch {
	case n.pardo != nil:
		payload = d.parDo(n)
	case n.combine != nil:
		if id := n.combine.GetAccumulatorCoderId(); id != "" {
			d.coder(id)
		}
	}
	d.desc.Transforms[n.id] = &pipepb.PTransform{
		UniqueName:    n.name,
		Spec:          &pipepb.FunctionSpec{Urn: n.urn, Payload: payload},
		Inputs:        maps.Clone(n.inputs),
		Outputs:       maps.Clone(n.outputs),
		Annotations:   n.annotations,
		EnvironmentId: d.s.env,
	}
}

// parDo fills in what the stage is to know of a ParDo, and returns its payload
// with the coders of the wire in it.
func (d *describer) parDo(n *node) []byte {
	if n.urn == urnParDo || n.urn == urnProcessSized {
		d.spec.Finalizes = d.spec.Finalizes || n.pardo.GetRequestsFinalization()
	}
	if id := n.pardo.GetRestrictionCoderId(); id != "" {
		d.coder(id)
	}
	if n.urn == urnProcessSized {
		d.spec.ProcessSized = beam.TransformID(n.id)
		d.spec.UnboundedSDF = d.unbounded(n)
		d.spec.Truncate = d.truncation(d.s, n)
	}
	if !n.stateful() {
		return n.payload
	}
	p := proto.CloneOf(n.pardo)
	for _, name := range slices.Sorted(maps.Keys(p.GetStateSpecs())) {
		d.state(n, name, p.GetStateSpecs()[name])
	}
	for _, family := range slices.Sorted(maps.Keys(p.GetTimerFamilySpecs())) {
		d.timer(n, family, p.GetTimerFamilySpecs()[family])
	}
	return marshal(p)
}

// marshal writes a message that was read, or made, by this package: it cannot
// fail, as its strings are those of the pipeline.
func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}

func (d *describer) state(n *node, name string, spec *pipepb.StateSpec) {
	s := StateSpec{Transform: beam.TransformID(n.id), Name: name, Kind: stateKind(spec)}
	ids := stateCoders(spec)
	for _, id := range ids {
		*id = d.coders.wire(*id)
		d.coder(*id)
	}
	s.Coder = *ids[0]
	if len(ids) > 1 {
		s.KeyCoder = *ids[1]
	}
	d.spec.States = append(d.spec.States, s)
}

// stateKind is the protocol that the spec names, or the one its kind of state
// has by default.
func stateKind(spec *pipepb.StateSpec) StateKind {
	switch spec.GetProtocol().GetUrn() {
	case urnBagState:
		return BagState
	case urnMultimapState:
		return MultimapState
	case urnOrderedListState:
		return OrderedListState
	}
	switch spec.GetSpec().(type) {
	case *pipepb.StateSpec_MapSpec, *pipepb.StateSpec_MultimapSpec:
		return MultimapState
	case *pipepb.StateSpec_OrderedListSpec:
		return OrderedListState
	}
	return BagState
}

func (d *describer) timer(n *node, family string, spec *pipepb.TimerFamilySpec) {
	// Keys of timers are written like those of the elements.
	key := d.coders.component(d.s.main.Coder, 0)
	spec.TimerFamilyCoderId = d.coders.timer(key, d.windowCoder(n.mainInput()))
	d.coder(spec.TimerFamilyCoderId)
	d.spec.Timers = append(d.spec.Timers, TimerSpec{
		Transform:        beam.TransformID(n.id),
		Family:           family,
		ProcessingTime:   spec.GetTimeDomain() == pipepb.TimeDomain_PROCESSING_TIME,
		Coder:            spec.TimerFamilyCoderId,
		WindowExpiration: family == n.pardo.GetOnWindowExpirationTimerFamilySpec(),
	})
}

func (d *describer) source() {
	id := unused(string(d.s.id)+"/source", d.ids)
	d.collection(d.s.reads, "")
	d.desc.Transforms[id] = d.port(id, urnDataSource, d.s.main.Windowed)
	d.desc.Transforms[id].Outputs = map[string]string{"out": d.s.reads}
	d.spec.Source = beam.TransformID(id)
}

func (d *describer) sink(i int) {
	out := &d.s.outputs[i]
	id := unused(string(d.s.id)+"/sink"+strconv.Itoa(i), d.ids)
	d.collection(out.coll, "")
	d.desc.Transforms[id] = d.port(id, urnDataSink, out.windowed)
	d.desc.Transforms[id].Inputs = map[string]string{"in": out.coll}
	d.spec.Sinks = append(d.spec.Sinks, beam.TransformID(id))
}

func (d *describer) port(id, urn, coder string) *pipepb.PTransform {
	d.coder(coder)
	return &pipepb.PTransform{
		UniqueName: id,
		Spec:       &pipepb.FunctionSpec{Urn: urn, Payload: marshal(&fnpb.RemoteGrpcPort{CoderId: coder})},
	}
}

// stageName joins the names of what runs in a stage.
func stageName(nodes []*node) string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.name
	}
	return strings.Join(names, " + ")
}
