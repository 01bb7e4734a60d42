package fnapi

import (
	"context"
	"errors"
	"io"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"fresnel/internal/beam"
	"fresnel/internal/rpc"
)

// TestStreamEvents are the events of a TestStream that a service of the client's
// tells (TestStreamService in beam_interactive_api.proto).
type TestStreamEvents struct {
	endpoint string
	conn     *grpc.ClientConn
	stream   grpc.ClientStream
	begun    bool
}

// DialTestStream asks the service at endpoint for the events of some outputs. The
// context is that of the whole stream.
func DialTestStream(ctx context.Context, endpoint string, outputs []string) (*TestStreamEvents, error) {
	t := &TestStreamEvents{endpoint: endpoint}
	var err error
	if t.conn, err = rpc.Connect(endpoint); err != nil {
		return nil, t.unreachable(err)
	}
	t.stream, err = t.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true},
		"/org.apache.beam.model.interactive.v1.TestStreamService/Events")
	if err == nil {
		err = t.stream.SendMsg(eventsRequest(outputs))
	}
	if err == nil {
		err = t.stream.CloseSend()
	}
	if err != nil && !errors.Is(err, io.EOF) { // EOF: Next says why
		t.Close()
		return nil, t.unreachable(err)
	}
	return t, nil
}

// eventsRequest is an EventsRequest, whose only field is a list of names; Beam
// has no Go code for it.
func eventsRequest(outputs []string) *emptypb.Empty {
	var fields []byte
	for _, o := range outputs {
		fields = protowire.AppendString(protowire.AppendTag(fields, 1, protowire.BytesType), o)
	}
	e := &emptypb.Empty{}
	e.ProtoReflect().SetUnknown(fields)
	return e
}

// Next waits for the next event; nil after the last. A service that goes away in
// the middle has ended the stream.
func (t *TestStreamEvents) Next() (*pipepb.TestStreamPayload_Event, error) {
	ev := &pipepb.TestStreamPayload_Event{}
	err := t.stream.RecvMsg(ev)
	switch {
	case err == nil:
		t.begun = true
		return ev, nil
	case errors.Is(err, io.EOF), t.begun && status.Code(err) == codes.Unavailable:
		return nil, nil
	}
	return nil, t.unreachable(err)
}

// Close ends the stream.
func (t *TestStreamEvents) Close() { _ = t.conn.Close() }

func (t *TestStreamEvents) unreachable(err error) error {
	return &beam.Error{Code: beam.InvalidPipeline, What: "the TestStream service at " + t.endpoint + " does not tell its events", Cause: err,
		Cure: "start the service before the pipeline, where the job server can reach it"}
}
