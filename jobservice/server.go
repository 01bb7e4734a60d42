package jobservice

import (
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"fresnel/internal/rpc"
)

// ServerOptions returns what a gRPC server needs to serve Beam's clients and
// harnesses:
//
//   - The Python SDK pings an idle channel every 20 s; gRPC's default policy
//     would close the connection for that.
//   - A peer that vanished without a word is noticed within 80 s, so that its
//     streams end.
//   - Pipelines and blocks of data have no upper size of their own.
//   - A handler that panics does not end the server (I7).
func ServerOptions() []grpc.ServerOption {
	return append(rpc.Recovering(),
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	)
}
