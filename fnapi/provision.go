package fnapi

import (
	"context"
	"strconv"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/fnapi/boot"
)

// noArtifacts is the retrieval token that says that there is nothing to fetch.
const noArtifacts = "__no_artifacts_staged__"

// runnerCapabilities are the optional protocols that this server speaks.
var runnerCapabilities = []string{
	"beam:protocol:monitoring_info_short_ids:v1",
	stateWritesCapability,
}

// GetProvisionInfo tells a worker that is starting what it needs to know.
func (s *Server) GetProvisionInfo(ctx context.Context, _ *fnpb.GetProvisionInfoRequest) (*fnpb.GetProvisionInfoResponse, error) {
	w, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	options, err := pipelineOptions(w.env.Options)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "the pipeline options are not a JSON object: %v", err)
	}
	return &fnpb.GetProvisionInfoResponse{Info: &fnpb.ProvisionInfo{
		PipelineOptions:    options,
		RetrievalToken:     noArtifacts,
		LoggingEndpoint:    service(w.endpoint),
		ControlEndpoint:    service(w.endpoint),
		ArtifactEndpoint:   service(w.artifacts()),
		StatusEndpoint:     service(w.endpoint),
		Dependencies:       w.env.Env.GetDependencies(),
		RunnerCapabilities: runnerCapabilities,
		Metadata: map[string]string{
			"runner": "fresnel", "job_id": string(w.env.Job),
			boot.MetadataSDK: sdkBase(w.env.Env), boot.MetadataWorkers: strconv.Itoa(w.siblings()),
		},
	}}, nil
}

// siblings is how many workers the pool has; 0 if it is over.
func (w *worker) siblings() int {
	if p := w.leased(); p != nil {
		return p.size
	}
	return 0
}

// artifacts is the retrieval endpoint; never empty, since some harnesses
// insist on one.
func (w *worker) artifacts() string {
	if w.env.RetrievalEndpoint != "" {
		return w.env.RetrievalEndpoint
	}
	return w.endpoint
}

func pipelineOptions(json []byte) (*structpb.Struct, error) {
	options := &structpb.Struct{}
	if len(json) == 0 {
		return options, nil
	}
	return options, protojson.Unmarshal(json, options)
}
