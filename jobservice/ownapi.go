package jobservice

import (
	"context"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fresnel/internal/beam"
)

// The RPCs of Fresnel's own: Beam's JobService has none of the kind. Each takes a
// CancelJobRequest and answers with a CancelJobResponse, and is a method of its
// own, so that a server which does not know it cancels nothing. JobService.Run,
// with the job's id as the preparation's, goes on with a job that was stopped.
const (
	// StopMethod stops a job and keeps its state.
	StopMethod = "/fresnel.v1.JobService/Stop"
	// HaltMethod does so once what is under way is finished.
	HaltMethod = "/fresnel.v1.JobService/Halt"
	// InspectMethod answers with a StringValue: what the job has in its state, in JSON.
	InspectMethod = "/fresnel.v1.JobService/Inspect"
)

// ownAPI is the service that they are of.
var ownAPI = grpc.ServiceDesc{
	ServiceName: "fresnel.v1.JobService",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Stop", Handler: handler(StopMethod, answer((*Service).Stop))},
		{MethodName: "Halt", Handler: handler(HaltMethod, answer((*Service).Halt))},
		{MethodName: "Inspect", Handler: handler(InspectMethod, func(s *Service, id beam.JobID) (any, error) {
			text, err := s.Inspect(id)
			return wrapperspb.String(string(text)), err
		})},
	},
}

// answer makes the answer of a method that returns the job's state.
func answer(do func(*Service, beam.JobID) (jobpb.JobState_Enum, error)) func(*Service, beam.JobID) (any, error) {
	return func(s *Service, id beam.JobID) (any, error) {
		state, err := do(s, id)
		return &jobpb.CancelJobResponse{State: state}, err
	}
}

// handler serves a method that does something to one job.
func handler(method string, do func(*Service, beam.JobID) (any, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		req := &jobpb.CancelJobRequest{}
		if err := decode(req); err != nil {
			return nil, err
		}
		serve := func(_ context.Context, req any) (any, error) {
			resp, err := do(srv.(*Service), beam.JobID(req.(*jobpb.CancelJobRequest).GetJobId()))
			if err != nil {
				return nil, asStatus(err)
			}
			return resp, nil
		}
		if intercept == nil {
			return serve(ctx, req)
		}
		return intercept(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, serve)
	}
}
