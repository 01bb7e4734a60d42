package fnapi

import (
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// The transforms through which a bundle's data enters and leaves a harness.
const (
	urnSource = "beam:runner:source:v1"
	urnSink   = "beam:runner:sink:v1"
)

// descriptors are the stages that harnesses may ask for. Ids are unique in the
// server, so that a harness need not say who it is.
type descriptors struct {
	mu   sync.RWMutex
	byID map[string]*fnpb.ProcessBundleDescriptor
}

func newDescriptors() *descriptors {
	return &descriptors{byID: make(map[string]*fnpb.ProcessBundleDescriptor)}
}

func (d *descriptors) get(id string) (*fnpb.ProcessBundleDescriptor, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	desc, ok := d.byID[id]
	return desc, ok
}

// add makes desc known to harnesses that reach the server at endpoint. Only
// stages with timers get a timer endpoint: harnesses wait for the end of what they
// have an endpoint for. All get a state endpoint: Python's harness opens a
// stream to it, needed or not, and fails noisily where there is none.
func (d *descriptors) add(desc *Descriptor, endpoint string) error {
	if _, ok := d.get(desc.ID); ok {
		return nil
	}
	wired, err := wire(desc, endpoint)
	if err != nil {
		return err
	}
	wired.StateApiServiceDescriptor = service(endpoint)
	if desc.Timers {
		wired.TimerApiServiceDescriptor = service(endpoint)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byID[desc.ID] = wired
	return nil
}

func (d *descriptors) remove(ids map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range ids {
		delete(d.byID, id)
	}
}

// wire copies a descriptor and fills in its id and the endpoints.
func wire(desc *Descriptor, endpoint string) (*fnpb.ProcessBundleDescriptor, error) {
	p := desc.Proto
	transforms := make(map[string]*pipepb.PTransform, len(p.GetTransforms()))
	for id, t := range p.GetTransforms() {
		wired, err := wireTransform(id, t, endpoint)
		if err != nil {
			return nil, err
		}
		transforms[id] = wired
	}
	return &fnpb.ProcessBundleDescriptor{
		Id:                  desc.ID,
		Transforms:          transforms,
		Pcollections:        p.GetPcollections(),
		WindowingStrategies: p.GetWindowingStrategies(),
		Coders:              p.GetCoders(),
		Environments:        p.GetEnvironments(),
	}, nil
}

// wireTransform tells a source or sink where the Data service is.
func wireTransform(id string, t *pipepb.PTransform, endpoint string) (*pipepb.PTransform, error) {
	urn := t.GetSpec().GetUrn()
	if urn != urnSource && urn != urnSink {
		return t, nil
	}
	port := &fnpb.RemoteGrpcPort{}
	if err := proto.Unmarshal(t.GetSpec().GetPayload(), port); err != nil {
		return nil, &beam.Error{Code: beam.Internal, Where: id, What: "the payload is not a RemoteGrpcPort", Cause: err}
	}
	port.ApiServiceDescriptor = service(endpoint)
	payload, err := proto.Marshal(port)
	if err != nil {
		return nil, &beam.Error{Code: beam.Internal, Where: id, What: "cannot encode its RemoteGrpcPort", Cause: err}
	}
	return &pipepb.PTransform{
		UniqueName:    t.GetUniqueName(),
		Spec:          &pipepb.FunctionSpec{Urn: urn, Payload: payload},
		Inputs:        t.GetInputs(),
		Outputs:       t.GetOutputs(),
		DisplayData:   t.GetDisplayData(),
		EnvironmentId: t.GetEnvironmentId(),
	}, nil
}

func service(endpoint string) *pipepb.ApiServiceDescriptor {
	return &pipepb.ApiServiceDescriptor{Url: endpoint}
}
