package rpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Connect makes a connection to HOST:PORT, in the clear; nothing is sent before its
// first call. Unlike grpc.NewClient alone it asks no name server how a service is to
// be called (a TXT record): nobody serves a job with one, and each worker's start
// would wait for the answer.
func Connect(address string, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
	}, more...)...)
}
