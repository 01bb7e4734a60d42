package fnapitest

import (
	"net"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ServeTestStream serves the events of a TestStream once, and returns where, and
// a channel that gets the request's bytes.
func ServeTestStream(t testing.TB, events []*pipepb.TestStreamPayload_Event) (endpoint string, asked <-chan []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan []byte, 1)
	tell := func(_ any, stream grpc.ServerStream) error {
		request := &emptypb.Empty{}
		if err := stream.RecvMsg(request); err != nil {
			return err
		}
		requests <- request.ProtoReflect().GetUnknown()
		for _, e := range events {
			if err := stream.SendMsg(e); err != nil {
				return err
			}
		}
		return nil
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "org.apache.beam.model.interactive.v1.TestStreamService",
		HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{StreamName: "Events", Handler: tell, ServerStreams: true}}}, nil)
	go func() { _ = server.Serve(listener) }() // it ends with Stop
	t.Cleanup(server.Stop)
	return listener.Addr().String(), requests
}
