package expansion

import (
	"crypto/rand"
	"fmt"
	"strconv"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/coder"
)

// A response is built under the namespace that the client asked for: it keeps
// what is named so and drops, or compares with its own, what is not.
type response struct {
	namespace  string
	components *pipepb.Components
	root       *pipepb.PTransform
	coders     map[string]string // encoded proto → id
}

// respond turns an expansion into protos. A read is a primitive root, or, where
// other transforms belong to it, a composite. A write is a composite
// without outputs around a leaf that has one which nobody reads: Python deletes
// leaves without outputs.
func respond(req *jobpb.ExpansionRequest, e *Expansion) *jobpb.ExpansionResponse {
	b := &response{
		namespace: req.GetNamespace(),
		components: &pipepb.Components{
			Transforms:          map[string]*pipepb.PTransform{},
			Pcollections:        map[string]*pipepb.PCollection{},
			WindowingStrategies: map[string]*pipepb.WindowingStrategy{},
			Coders:              map[string]*pipepb.Coder{},
		},
		root: &pipepb.PTransform{
			UniqueName: req.GetTransform().GetUniqueName(),
			Inputs:     req.GetTransform().GetInputs(),
			Outputs:    map[string]string{},
		},
		coders: map[string]string{},
	}
	if len(b.root.Inputs) > 0 {
		b.write(req, e)
	} else {
		b.read(req, e)
	}
	for _, o := range e.Empty {
		b.empty(o)
	}
	return &jobpb.ExpansionResponse{Components: b.components, Transform: b.root}
}

func (b *response) read(req *jobpb.ExpansionRequest, e *Expansion) {
	spec := &pipepb.FunctionSpec{Urn: e.URN, Payload: e.Payload}
	if !e.Redistribute && len(e.Empty) == 0 {
		b.root.Spec = spec
		for _, o := range e.Outputs {
			b.root.Outputs[o.Tag] = b.pcollection(o.Tag, o.Coder, e.Bounded)
		}
		return
	}
	b.root.Spec = &pipepb.FunctionSpec{Urn: req.GetTransform().GetSpec().GetUrn()}
	out := e.Outputs[0]
	b.root.Outputs[out.Tag] = b.pcollection(out.Tag, out.Coder, e.Bounded)
	read := b.root.Outputs[out.Tag]
	if e.Redistribute {
		read = b.pcollection("read", out.Coder, e.Bounded)
	}
	b.child("Read", spec, nil, map[string]string{out.Tag: read})
	if !e.Redistribute {
		return
	}
	b.child("Redistribute", &pipepb.FunctionSpec{Urn: "beam:transform:redistribute_arbitrarily:v1"},
		map[string]string{"input": read}, map[string]string{"output": b.root.Outputs[out.Tag]})
}

func (b *response) write(req *jobpb.ExpansionRequest, e *Expansion) {
	b.root.Spec = &pipepb.FunctionSpec{Urn: req.GetTransform().GetSpec().GetUrn()}
	outputs := map[string]string{}
	for _, o := range e.Outputs {
		outputs[o.Tag] = b.pcollection(o.Tag, o.Coder, true)
		b.root.Outputs[o.Tag] = outputs[o.Tag]
	}
	if len(outputs) == 0 {
		outputs["written"] = b.pcollection("written", coder.Bytes, true)
	}
	b.child("Write", &pipepb.FunctionSpec{Urn: e.URN, Payload: e.Payload}, b.root.Inputs, outputs)
}

// empty adds an output that is a Flatten of nothing.
func (b *response) empty(o Output) {
	b.root.Outputs[o.Tag] = b.pcollection(o.Tag, o.Coder, true)
	b.child("No "+o.Tag, &pipepb.FunctionSpec{Urn: "beam:transform:flatten:v1"}, nil, map[string]string{"output": b.root.Outputs[o.Tag]})
}

// id puts a name in the client's namespace.
func (b *response) id(name string) string { return b.namespace + "_" + name }

func (b *response) child(name string, spec *pipepb.FunctionSpec, in, out map[string]string) {
	id := b.id(name)
	b.root.Subtransforms = append(b.root.Subtransforms, id)
	b.components.Transforms[id] = &pipepb.PTransform{
		UniqueName: b.root.UniqueName + "/" + name, Spec: spec, Inputs: in, Outputs: out}
}

func (b *response) pcollection(name string, c *coder.Coder, bounded bool) string {
	id := b.id("pcollection_" + name)
	pc := &pipepb.PCollection{UniqueName: b.root.UniqueName + "." + name, CoderId: b.coder(c.Proto(b.coder)),
		IsBounded: pipepb.IsBounded_UNBOUNDED, WindowingStrategyId: b.globalWindows()}
	if bounded {
		pc.IsBounded = pipepb.IsBounded_BOUNDED
	}
	b.components.Pcollections[id] = pc
	return id
}

// coder adds a coder, once, and returns its id.
func (b *response) coder(c *pipepb.Coder) string {
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		key = []byte(c.String())
	}
	id, ok := b.coders[string(key)]
	if !ok {
		id = b.id("coder_" + strconv.Itoa(len(b.coders)))
		b.coders[string(key)] = id
		b.components.Coders[id] = c
	}
	return id
}

func (b *response) globalWindows() string {
	id := b.id("windowing")
	b.components.WindowingStrategies[id] = &pipepb.WindowingStrategy{
		WindowFn:         &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"},
		MergeStatus:      pipepb.MergeStatus_NON_MERGING,
		WindowCoderId:    b.coder(coder.GlobalWindow.Proto(b.coder)),
		Trigger:          &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
		AccumulationMode: pipepb.AccumulationMode_DISCARDING,
		OutputTime:       pipepb.OutputTime_END_OF_WINDOW,
		ClosingBehavior:  pipepb.ClosingBehavior_EMIT_IF_NONEMPTY,
		OnTimeBehavior:   pipepb.OnTimeBehavior_FIRE_IF_NONEMPTY,
	}
	return id
}

// NewSchema makes a schema with an id of its own: clients take two schemas with
// the same id, also with none, for one.
func NewSchema(fields ...coder.Field) *coder.Schema {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails (crypto/rand)
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return &coder.Schema{ID: fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), Fields: fields}
}
