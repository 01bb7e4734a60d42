package jobservice

import (
	"context"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"

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
)

// ownAPI is the service that they are of.
var ownAPI = grpc.ServiceDesc{
	ServiceName: "fresnel.v1.JobService",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Stop", Handler: handler(StopMethod, (*Service).Stop)},
		{MethodName: "Halt", Handler: handler(HaltMethod, (*Service).Halt)},
	},
}

// handler serves a method that does something to one job.
func handler(method string, do func(*Service, beam.JobID) (jobpb.JobState_Enum, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
		req := &jobpb.CancelJobRequest{}
		if err := decode(req); err != nil {
			return nil, err
		}
		serve := func(_ context.Context, req any) (any, error) {
			state, err := do(srv.(*Service), beam.JobID(req.(*jobpb.CancelJobRequest).GetJobId()))
			if err != nil {
				return nil, err
			}
			return &jobpb.CancelJobResponse{State: state}, nil
		}
		if intercept == nil {
			return serve(ctx, req)
		}
		return intercept(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, serve)
	}
}
