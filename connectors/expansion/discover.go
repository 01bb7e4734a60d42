package expansion

import (
	"context"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

	"fresnel/internal/coder"
)

// DiscoverSchemaTransform lists the schema transforms with their configuration.
func (s *Service) DiscoverSchemaTransform(context.Context, *jobpb.DiscoverSchemaTransformRequest) (*jobpb.DiscoverSchemaTransformResponse, error) {
	configs := map[string]*jobpb.SchemaTransformConfig{managedURN: describe(&managedTransform)}
	for urn, t := range s.schema {
		configs[urn] = describe(t)
	}
	return &jobpb.DiscoverSchemaTransformResponse{SchemaTransformConfigs: configs}, nil
}

func describe(t *Transform) *jobpb.SchemaTransformConfig {
	return &jobpb.SchemaTransformConfig{
		ConfigSchema:           NewSchema(t.Schema...).Proto(),
		InputPcollectionNames:  t.Inputs,
		OutputPcollectionNames: t.Outputs,
		Description:            t.Description,
	}
}

// managedTransform describes Beam's Managed transform, which wraps the others.
var managedTransform = Transform{
	URN:         managedURN,
	Description: "Runs a transform that this service knows, by its identifier.",
	Inputs:      []string{"input"},
	Outputs:     []string{"output"},
	Schema: []coder.Field{
		{Name: "config", Type: coder.Atomic(coder.TypeString).OrNull()},
		{Name: "config_url", Type: coder.Atomic(coder.TypeString).OrNull()},
		{Name: "transform_identifier", Type: coder.Atomic(coder.TypeString)},
	},
}
