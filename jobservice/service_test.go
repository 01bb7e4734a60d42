package jobservice

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"
)

// fakeRunner runs what a test gives it.
type fakeRunner struct {
	check func(s *Submission) error
	run   func(ctx context.Context, s *Submission, drain <-chan struct{}, r Reporter) error
	// durable is whether jobs are to survive the server.
	durable bool
}

func (f fakeRunner) Durable(*Submission) bool { return f.durable }

func (f fakeRunner) Check(s *Submission) error {
	if f.check == nil {
		return nil
	}
	return f.check(s)
}

func (f fakeRunner) Run(ctx context.Context, s *Submission, drain <-chan struct{}, r Reporter) error {
	r.Running()
	if f.run == nil {
		return nil
	}
	return f.run(ctx, s, drain, r)
}

// untilCancelled is a job that runs until it is cancelled or drained.
func untilCancelled(ctx context.Context, _ *Submission, drain <-chan struct{}, _ Reporter) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-drain:
		return nil
	}
}

// fixture is a served Service and a client's connection to it.
type fixture struct {
	t         *testing.T
	service   *Service
	conn      *grpc.ClientConn
	jobs      jobpb.JobServiceClient
	staging   jobpb.ArtifactStagingServiceClient
	retrieval jobpb.ArtifactRetrievalServiceClient
	dir       string
}

// bubble runs a test with virtual time. When the test ends, the server is
// stopped; a goroutine that is left then fails the test.
func bubble(t *testing.T, r fakeRunner, test func(f *fixture)) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { test(serve(t, r, dir)) })
}

func serve(t *testing.T, r Runner, dir string) *fixture {
	t.Helper()
	f := serveConfig(t, Config{Runner: r, ArtifactDir: dir, Endpoint: "localhost:7", Log: testLog()})
	f.dir = dir
	return f
}

func serveConfig(t *testing.T, cfg Config) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.service = New(cfg)
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(ServerOptions()...)
	f.service.Register(server)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///fresnel:7", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	f.conn = conn
	f.jobs = jobpb.NewJobServiceClient(conn)
	f.staging = jobpb.NewArtifactStagingServiceClient(conn)
	f.retrieval = jobpb.NewArtifactRetrievalServiceClient(conn)
	t.Cleanup(func() {
		if err := f.service.Close(context.Background()); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		server.Stop()
		served.Wait()
	})
	return f
}

// ctx is the context of one call: long enough for anything but a deadlock.
func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	f.t.Cleanup(cancel)
	return ctx
}

// must returns what a call returned, if it went well.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// aPipeline is a valid pipeline of one transform.
func aPipeline() *pipepb.Pipeline {
	return &pipepb.Pipeline{
		RootTransformIds: []string{"t"},
		Components: &pipepb.Components{
			Transforms: map[string]*pipepb.PTransform{
				"t": {UniqueName: "Create/Impulse", Spec: &pipepb.FunctionSpec{Urn: "beam:transform:impulse:v1"},
					Outputs: map[string]string{"out": "p"}},
			},
			Pcollections: map[string]*pipepb.PCollection{"p": {CoderId: "bytes", WindowingStrategyId: "w"}},
			Coders: map[string]*pipepb.Coder{
				"bytes":  {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:bytes:v1"}},
				"global": {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:global_window:v1"}},
			},
			WindowingStrategies: map[string]*pipepb.WindowingStrategy{"w": {WindowCoderId: "global"}},
		},
	}
}

// options makes the options of a Prepare request.
func options(values map[string]any) *structpb.Struct { return must(structpb.NewStruct(values)) }

// prepare prepares aPipeline and returns its id.
func (f *fixture) prepare() string {
	f.t.Helper()
	return must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline()})).GetPreparationId()
}

func (f *fixture) run(id string) {
	f.t.Helper()
	if got := must(f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: id})).GetJobId(); got != id {
		f.t.Errorf("Run returned the id %q, want that of the preparation, %q", got, id)
	}
}

func (f *fixture) state(id string) jobpb.JobState_Enum {
	return must(f.jobs.GetState(f.ctx(), &jobpb.GetJobStateRequest{JobId: id})).GetState()
}

func (f *fixture) cancel(id string) jobpb.JobState_Enum {
	return must(f.jobs.Cancel(f.ctx(), &jobpb.CancelJobRequest{JobId: id})).GetState()
}

func (f *fixture) drain(id string) jobpb.JobState_Enum {
	return must(f.jobs.Drain(f.ctx(), &jobpb.DrainJobRequest{JobId: id})).GetState()
}

// messages reads the message stream of a job to its end, one line for each
// message or state.
func (f *fixture) messages(id string) []string {
	f.t.Helper()
	stream := must(f.jobs.GetMessageStream(f.ctx(), &jobpb.JobMessagesRequest{JobId: id}))
	return readMessages(f.t, stream)
}

func readMessages(t *testing.T, stream jobpb.JobService_GetMessageStreamClient) []string {
	t.Helper()
	var lines []string
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatalf("after %q: %v", lines, err)
		}
		lines = append(lines, line(m))
	}
}

func line(m *jobpb.JobMessagesResponse) string {
	if state := m.GetStateResponse(); state != nil {
		return state.GetState().String()
	}
	message := m.GetMessageResponse()
	level := strings.TrimPrefix(message.GetImportance().String(), "JOB_MESSAGE_")
	return strings.ToLower(level) + ": " + message.GetMessageText()
}

// states reads the state stream of a job to its end.
func (f *fixture) states(id string) []jobpb.JobState_Enum {
	f.t.Helper()
	stream := must(f.jobs.GetStateStream(f.ctx(), &jobpb.GetJobStateRequest{JobId: id}))
	var states []jobpb.JobState_Enum
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return states
		}
		if err != nil {
			f.t.Fatalf("after %v: %v", states, err)
		}
		states = append(states, event.GetState())
	}
}

func wantEqual[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func wantCode(t *testing.T, what string, err error, code codes.Code, texts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: got %v, want code %v", what, err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q does not name %q", what, err, text)
		}
	}
}

func testLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
