package jobservice

import (
	"context"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"

	"fresnel/internal/beam"
)

// StopMethod is the RPC that stops a job and keeps its state: Beam's JobService
// has none. It takes a CancelJobRequest and answers with a CancelJobResponse,
// and is a method of its own, so that a server which does not know it cancels
// nothing. JobService.Run, with the job's id as the preparation's, goes on with it.
const StopMethod = "/fresnel.v1.JobService/Stop"

// ownAPI is the service that StopMethod is of.
var ownAPI = grpc.ServiceDesc{
	ServiceName: "fresnel.v1.JobService",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Stop", Handler: handleStop}},
}

func handleStop(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	req := &jobpb.CancelJobRequest{}
	if err := decode(req); err != nil {
		return nil, err
	}
	stop := func(_ context.Context, req any) (any, error) {
		state, err := srv.(*Service).Stop(beam.JobID(req.(*jobpb.CancelJobRequest).GetJobId()))
		if err != nil {
			return nil, err
		}
		return &jobpb.CancelJobResponse{State: state}, nil
	}
	if intercept == nil {
		return stop(ctx, req)
	}
	return intercept(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: StopMethod}, stop)
}
