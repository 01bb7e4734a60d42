package rpc

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TestAHandlerThatPanicsAnswersInternal (I7): and the server serves the next.
func TestAHandlerThatPanicsAnswersInternal(t *testing.T) {
	server := grpc.NewServer(Recovering()...)
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "S", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "M", Handler: func(_ any, ctx context.Context, _ func(any) error, by grpc.UnaryServerInterceptor) (any, error) {
			return by(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/S/M"}, func(context.Context, any) (any, error) { panic("oh no") })
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "T", ServerStreams: true, Handler: func(any, grpc.ServerStream) error { panic("oh no") }}}}, nil)
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		want(t, "/S/M", conn.Invoke(t.Context(), "/S/M", &emptypb.Empty{}, &emptypb.Empty{}))
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/S/T")
		if err == nil {
			err = stream.RecvMsg(&emptypb.Empty{})
		}
		want(t, "/S/T", err)
	}
}

func want(t *testing.T, method string, err error) {
	t.Helper()
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), method) || !strings.Contains(err.Error(), "oh no") {
		t.Errorf("%s: %v", method, err)
	}
}
