package expansion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Service is Beam's ExpansionService over a set of expanders. It keeps no
// state, so it is safe for concurrent use.
type Service struct {
	jobpb.UnimplementedExpansionServiceServer
	classic map[string]*Transform
	schema  map[string]*Transform
	managed map[string]*Transform
}

// New returns a service that answers for the transforms of the expanders; of
// two with the same URN the first wins.
func New(expanders ...Expander) *Service {
	s := &Service{classic: map[string]*Transform{}, schema: map[string]*Transform{}, managed: map[string]*Transform{}}
	for _, e := range expanders {
		for _, t := range e.Transforms() {
			s.add(t)
		}
	}
	return s
}

func (s *Service) add(t Transform) {
	byURN := s.classic
	if t.Schema != nil {
		byURN = s.schema
	}
	if byURN[t.URN] == nil {
		byURN[t.URN] = &t
	}
	for _, m := range t.Managed {
		if s.managed[m] == nil {
			s.managed[m] = &t
		}
	}
}

const (
	schemaTransformURN = "beam:expansion:payload:schematransform:v1"
	managedURN         = "beam:transform:managed:v1"
)

// Expand answers one request. What is wrong with it goes into the response's
// error field, which the client raises; an RPC error would lose the text.
func (s *Service) Expand(ctx context.Context, req *jobpb.ExpansionRequest) (*jobpb.ExpansionResponse, error) {
	res, err := s.expand(ctx, req)
	if err != nil {
		return &jobpb.ExpansionResponse{Error: connectors.At(err, req.GetTransform().GetUniqueName()).Error()}, nil
	}
	return res, nil
}

func (s *Service) expand(ctx context.Context, req *jobpb.ExpansionRequest) (*jobpb.ExpansionResponse, error) {
	t, config, err := s.find(req.GetTransform().GetSpec())
	if err != nil {
		return nil, err
	}
	inputs, err := inputsOf(req)
	if err != nil {
		return nil, err
	}
	e, err := t.Expand(ctx, &Request{Name: req.GetTransform().GetUniqueName(), Config: config, Inputs: inputs})
	if err != nil {
		return nil, err
	}
	return respond(req, e), nil
}

// find returns the transform that a spec asks for, with its configuration.
func (s *Service) find(spec *pipepb.FunctionSpec) (*Transform, *Config, error) {
	if spec.GetUrn() == schemaTransformURN {
		return s.findSchema(spec.GetPayload())
	}
	t := s.classic[spec.GetUrn()]
	if t == nil {
		return nil, nil, s.unknown(spec.GetUrn(), s.classic)
	}
	var p pipepb.ExternalConfigurationPayload
	if err := proto.Unmarshal(spec.GetPayload(), &p); err != nil {
		return nil, nil, badPayload(err)
	}
	config, err := decodeConfig(p.GetSchema(), p.GetPayload())
	return t, config, err
}

func (s *Service) findSchema(payload []byte) (*Transform, *Config, error) {
	var p pipepb.SchemaTransformPayload
	if err := proto.Unmarshal(payload, &p); err != nil {
		return nil, nil, badPayload(err)
	}
	config, err := decodeConfig(p.GetConfigurationSchema(), p.GetConfigurationRow())
	if err != nil {
		return nil, nil, err
	}
	if p.GetIdentifier() == managedURN {
		return s.findManaged(config)
	}
	t := s.schema[p.GetIdentifier()]
	if t == nil {
		return nil, nil, s.unknown(p.GetIdentifier(), s.schema)
	}
	return t, config, nil
}

func (s *Service) unknown(urn string, known map[string]*Transform) error {
	return &beam.Error{Code: beam.Unsupported, What: fmt.Sprintf("Fresnel has no external transform %q", urn),
		Cure: "it has " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")}
}

func badPayload(cause error) error {
	return &beam.Error{Code: beam.InvalidPipeline, What: "the configuration of the transform cannot be decoded", Cause: cause}
}

// decodeConfig decodes a row by the schema that came with it.
func decodeConfig(p *pipepb.Schema, row []byte) (*Config, error) {
	if len(p.GetFields()) == 0 {
		return NewConfig(nil), nil
	}
	schema, err := coder.SchemaFromProto(p)
	if err != nil {
		return nil, badPayload(err)
	}
	return DecodeRow(schema, row)
}

// DecodeRow decodes a configuration that is an encoded row.
func DecodeRow(schema *coder.Schema, row []byte) (*Config, error) {
	v, n, err := coder.RowCoder(schema).Decode(row)
	if err != nil {
		return nil, badPayload(err)
	}
	r, ok := v.(coder.Row)
	if !ok || n != len(row) {
		return nil, badPayload(errors.New("bytes are left over"))
	}
	return configOf(r), nil
}

// inputsOf describes the collections that the transform is applied to.
func inputsOf(req *jobpb.ExpansionRequest) ([]Input, error) {
	components := req.GetComponents()
	var inputs []Input
	for _, tag := range slices.Sorted(maps.Keys(req.GetTransform().GetInputs())) {
		id := req.GetTransform().GetInputs()[tag]
		pc := components.GetPcollections()[id]
		if pc == nil {
			return nil, &beam.Error{Code: beam.InvalidPipeline, What: fmt.Sprintf("the input %q is not described", tag)}
		}
		in := Input{Tag: tag, Bounded: pc.GetIsBounded() == pipepb.IsBounded_BOUNDED,
			CoderURN: components.GetCoders()[pc.GetCoderId()].GetSpec().GetUrn()}
		if c, err := coder.Parse(pc.GetCoderId(), components.GetCoders()); err == nil {
			in.Coder = c
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}
