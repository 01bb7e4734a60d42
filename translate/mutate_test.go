package translate

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// mutate changes a pipeline in a few places: what no fuzzer of bytes would find,
// as it keeps most of the references whole. Seed 0 changes nothing.
func mutate(p *pipepb.Pipeline, seed uint64) {
	if seed == 0 {
		return
	}
	m := mutator{p: p, r: rand.New(rand.NewPCG(seed, 1))}
	for range 1 + m.r.IntN(4) {
		mutations[m.r.IntN(len(mutations))](&m)
	}
}

type mutator struct {
	p *pipepb.Pipeline
	r *rand.Rand
}

func pick[V any](m *mutator, from map[string]V) string {
	if len(from) == 0 {
		return ""
	}
	return slices.Sorted(maps.Keys(from))[m.r.IntN(len(from))]
}

func (m *mutator) transform() *pipepb.PTransform {
	return m.p.GetComponents().GetTransforms()[pick(m, m.p.GetComponents().GetTransforms())]
}

func (m *mutator) collection() string { return pick(m, m.p.GetComponents().GetPcollections()) }

func (m *mutator) urn() string {
	switch m.r.IntN(6) {
	case 0, 1:
		return pick(m, leafKinds)
	case 2:
		return "native:source"
	case 3:
		return "native:sink"
	}
	return m.transform().GetSpec().GetUrn()
}

var coderURNs = slices.Sorted(maps.Keys(runnerCoders))

var mutations = []func(*mutator){
	func(m *mutator) { // another input
		if t := m.transform(); len(t.GetInputs()) > 0 {
			t.Inputs[pick(m, t.Inputs)] = m.collection()
		}
	},
	func(m *mutator) { // another output
		if t := m.transform(); len(t.GetOutputs()) > 0 {
			t.Outputs[pick(m, t.Outputs)] = m.collection()
		}
	},
	func(m *mutator) { // one more input
		if t := m.transform(); t != nil {
			if t.Inputs == nil {
				t.Inputs = map[string]string{}
			}
			t.Inputs["more"] = m.collection()
		}
	},
	func(m *mutator) { // one less
		if t := m.transform(); t != nil {
			delete(t.Inputs, pick(m, t.Inputs))
		}
	},
	func(m *mutator) { // another URN
		if t := m.transform(); t.GetSpec() != nil {
			t.Spec.Urn = m.urn()
		}
	},
	func(m *mutator) { // another's payload
		if t := m.transform(); t.GetSpec() != nil {
			t.Spec.Payload = m.transform().GetSpec().GetPayload()
		}
	},
	func(m *mutator) { // no parts
		if t := m.transform(); t != nil {
			t.Subtransforms = nil
		}
	},
	func(m *mutator) { // parts of another
		if t := m.transform(); t != nil {
			t.Subtransforms = append(t.Subtransforms, pick(m, m.p.GetComponents().GetTransforms()))
		}
	},
	func(m *mutator) { // a collection in another coder
		comps := m.p.GetComponents()
		if c := comps.GetPcollections()[m.collection()]; c != nil {
			c.CoderId = pick(m, comps.GetCoders())
		}
	},
	func(m *mutator) { // a collection in other windows
		comps := m.p.GetComponents()
		if c := comps.GetPcollections()[m.collection()]; c != nil {
			c.WindowingStrategyId = pick(m, comps.GetWindowingStrategies())
		}
	},
	func(m *mutator) { // another coder
		comps := m.p.GetComponents()
		if c := comps.GetCoders()[pick(m, comps.GetCoders())]; c.GetSpec() != nil {
			c.Spec.Urn = coderURNs[m.r.IntN(len(coderURNs))]
		}
	},
	func(m *mutator) { // a coder of others
		comps := m.p.GetComponents()
		if c := comps.GetCoders()[pick(m, comps.GetCoders())]; c != nil {
			c.ComponentCoderIds = nil
			for range m.r.IntN(3) {
				c.ComponentCoderIds = append(c.ComponentCoderIds, pick(m, comps.GetCoders()))
			}
		}
	},
	func(m *mutator) { // another window function
		comps := m.p.GetComponents()
		if w := comps.GetWindowingStrategies()[pick(m, comps.GetWindowingStrategies())]; w != nil {
			w.WindowFn = &pipepb.FunctionSpec{Urn: "custom"}
			w.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
			w.WindowCoderId = pick(m, comps.GetCoders())
		}
	},
	func(m *mutator) { // something is gone
		comps := m.p.GetComponents()
		switch m.r.IntN(5) {
		case 0:
			delete(comps.GetTransforms(), pick(m, comps.GetTransforms()))
		case 1:
			delete(comps.GetPcollections(), m.collection())
		case 2:
			delete(comps.GetCoders(), pick(m, comps.GetCoders()))
		case 3:
			delete(comps.GetWindowingStrategies(), pick(m, comps.GetWindowingStrategies()))
		case 4:
			delete(comps.GetEnvironments(), pick(m, comps.GetEnvironments()))
		}
	},
	func(m *mutator) { // another environment
		comps := m.p.GetComponents()
		if env := comps.GetEnvironments()[pick(m, comps.GetEnvironments())]; env != nil {
			other := proto.CloneOf(env)
			other.Capabilities = nil
			comps.Environments["other"] = other
			m.transform().EnvironmentId = "other"
		}
	},
	func(m *mutator) { // a ParDo with more to it
		t := m.transform()
		p := &pipepb.ParDoPayload{}
		if t.GetSpec().GetUrn() != urnParDo || proto.Unmarshal(t.GetSpec().GetPayload(), p) != nil {
			return
		}
		coder := pick(m, m.p.GetComponents().GetCoders())
		switch m.r.IntN(5) {
		case 0:
			p.RestrictionCoderId = coder
		case 1:
			p.StateSpecs = map[string]*pipepb.StateSpec{"s": {Spec: &pipepb.StateSpec_MapSpec{MapSpec: &pipepb.MapStateSpec{KeyCoderId: coder, ValueCoderId: coder}}}}
		case 2:
			p.SideInputs = map[string]*pipepb.SideInput{"more": {AccessPattern: &pipepb.FunctionSpec{Urn: urnMultimapSide}}}
		case 3:
			p.TimerFamilySpecs = map[string]*pipepb.TimerFamilySpec{"t": {TimeDomain: pipepb.TimeDomain_EVENT_TIME, TimerFamilyCoderId: coder}}
		case 4:
			p.RequiresStableInput = true
		}
		t.Spec.Payload = marshal(p)
	},
	func(m *mutator) { // an SDF or a state of nothing
		if t := m.transform(); t.GetSpec() != nil {
			t.Spec.Payload = nil
		}
	},
}

// Every captured pipeline, changed at random in many ways, is refused or has a
// plan that keeps its promises.
func TestMutatedPipelinesNeverPanic(t *testing.T) {
	t.Parallel()
	rounds := uint64(100)
	if testing.Short() {
		rounds = 20
	}
	refused, planned := 0, 0
	for _, name := range capturedNames(t) {
		original := captured(t, name)
		for seed := range rounds {
			p := proto.CloneOf(original)
			mutate(p, seed)
			plan, err := Translate(p, native)
			if err != nil {
				wantCoded(t, err)
				refused++
				continue
			}
			checkPlan(t, plan)
			planned++
		}
	}
	t.Logf("%d refused, %d planned", refused, planned)
}
