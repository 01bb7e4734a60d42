package jobservice

import (
	"context"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// walkAll follows every id of a pipeline without care, as the code behind
// Check may: a nil or a circle would panic or never end.
func walkAll(s *Submission) error {
	c := s.Pipeline.GetComponents()
	var coder func(id string)
	coder = func(id string) {
		for _, part := range c.Coders[id].ComponentCoderIds {
			coder(part)
		}
	}
	var transform func(id string)
	transform = func(id string) {
		t := c.Transforms[id]
		for _, ends := range []map[string]string{t.Inputs, t.Outputs} {
			for _, p := range ends {
				coder(c.Pcollections[p].CoderId)
				if window := c.WindowingStrategies[c.Pcollections[p].WindowingStrategyId].WindowCoderId; window != "" {
					coder(window)
				}
			}
		}
		for _, sub := range t.Subtransforms {
			transform(sub)
		}
	}
	for _, root := range s.Pipeline.RootTransformIds {
		transform(root)
	}
	return nil
}

// FuzzPrepare sends arbitrary requests: each is refused as the client's fault,
// or gives a job that can be run and asked about.
func FuzzPrepare(f *testing.F) {
	for _, p := range []*pipepb.Pipeline{nil, {}, aPipeline(), withDeps(map[string][]*pipepb.ArtifactInformation{"e": {stagedAs("a")}}),
		broken(func(_ *pipepb.Pipeline, c *pipepb.Components) { nestCoders(c, 3, 2) })} {
		f.Add(must(proto.Marshal(&jobpb.PrepareJobRequest{Pipeline: p, JobName: "job", PipelineOptions: options(map[string]any{"beam:option:streaming:v1": true})})))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var req jobpb.PrepareJobRequest
		if proto.Unmarshal(raw, &req) != nil {
			t.Skip()
		}
		s := New(Config{Runner: fakeRunner{check: walkAll}, Log: testLog()})
		api := &jobAPI{service: s}
		ctx := context.Background()
		resp, err := api.Prepare(ctx, &req)
		if err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Fatal(err)
			}
			return
		}
		id := resp.GetPreparationId()
		must(api.GetJobs(ctx, &jobpb.GetJobsRequest{}))
		must(api.Run(ctx, &jobpb.RunJobRequest{PreparationId: id}))
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		must(proto.Marshal(must(api.GetPipeline(ctx, &jobpb.GetJobPipelineRequest{JobId: id}))))
		if state := must(api.GetState(ctx, &jobpb.GetJobStateRequest{JobId: id})).GetState(); !terminal(state) {
			t.Fatal(state)
		}
	})
}
