package fnapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

// A harness that breaks the protocol fails its bundle, and no more.
func TestBrokenProtocolFailsTheBundle(t *testing.T) {
	t.Parallel()
	data := func(b *fnapitest.Bundle, to string, last bool) *fnpb.Elements {
		return &fnpb.Elements{Data: []*fnpb.Elements_Data{{InstructionId: b.ID, TransformId: to, Data: []byte("x"), IsLast: last}}}
	}
	for name, c := range map[string]struct {
		script fnapitest.Script
		code   beam.Code
		word   string
	}{
		"data of an unknown transform": {func(b *fnapitest.Bundle) error { return b.Send(data(b, "nobody", false)) }, beam.BadData, "nobody"},
		"timers of an unknown family": {func(b *fnapitest.Bundle) error {
			return b.SetTimers(fnapitest.Stream{Transform: "do", Family: "nobody"}, []byte("x"))
		}, beam.BadData, "nobody"},
		"data after the end": {func(b *fnapitest.Bundle) error {
			if err := b.Send(data(b, "out", true)); err != nil {
				return err
			}
			return b.Send(data(b, "out", false))
		}, beam.BadData, "has ended"},
		"a response of another kind": {func(b *fnapitest.Bundle) error {
			return b.Harness.Respond(&fnpb.InstructionResponse{InstructionId: b.ID, Response: &fnpb.InstructionResponse_FinalizeBundle{}})
		}, beam.BadData, "not a ProcessBundleResponse"},
		"an empty response": {func(b *fnapitest.Bundle) error {
			return b.Harness.Respond(&fnpb.InstructionResponse{InstructionId: b.ID})
		}, beam.BadData, "not a ProcessBundleResponse"},
		"elements in the response": {func(b *fnapitest.Bundle) error {
			b.Response.Elements = data(b, "out", true)
			return nil
		}, beam.BadData, "carries elements"},
		"outputs without an end": {func(b *fnapitest.Bundle) error {
			b.ReadAll()
			b.KeepOpen = true
			return nil
		}, beam.Unavailable, "not the end of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := fnapi.Config{}
			if c.code == beam.Unavailable { // there the end of the outputs never comes
				cfg.OutputPatience = 50 * time.Millisecond
			}
			r := newRig(t, cfg)
			first := true
			w := r.worker(func(b *fnapitest.Bundle) error {
				if !first {
					return fnapitest.Echo(b)
				}
				first = false
				return c.script(b)
			})
			d := stage([]string{"out", "other"})
			_, err := finish(t, w.Start(bundle(d, &output{}, "x")))
			wantCode(t, err, c.code, c.word)
			var out output
			finishWell(t, w.Start(bundle(d, &out, "next")))
			if out.of("out") != "next" {
				t.Errorf("output of the next bundle: %q", out.of("out"))
			}
		})
	}
}

func TestNoiseIsIgnored(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		for _, id := range []string{"", "nobody", "call-1", strings.Repeat("x", 1<<20)} {
			if err := b.Harness.Respond(&fnpb.InstructionResponse{InstructionId: id, Error: "?"}); err != nil {
				return err
			}
			noise := &fnpb.Elements{
				Data:   []*fnpb.Elements_Data{{InstructionId: id, TransformId: "out", Data: []byte("noise"), IsLast: true}, {}},
				Timers: []*fnpb.Elements_Timers{{InstructionId: id, TransformId: "do", TimerFamilyId: "f"}, {}},
			}
			if err := b.Send(noise); err != nil {
				return err
			}
		}
		return fnapitest.Echo(b)
	})
	var out output
	finishWell(t, w.Start(bundle(stage([]string{"out"}), &out, "x")))
	if out.of("out") != "x" {
		t.Errorf("output %q", out.of("out"))
	}
}

func TestBundleIDsAreNotUsedTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Hang)
	b := bundle(stage(nil), &output{})
	w.Start(b)
	_, err := finish(t, w.Start(b))
	wantCode(t, err, beam.Internal, b.ID)
}

func TestDescriptorThatIsMalformedFailsTheBundle(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Echo)
	d := stage(nil)
	d.Proto.Transforms["in"].Spec.Payload = []byte{0xff}
	_, err := finish(t, w.Start(bundle(d, &output{})))
	wantCode(t, err, beam.Internal, "RemoteGrpcPort")
}

func TestBundlesOnManyStreamsAtOnce(t *testing.T) {
	t.Parallel()
	for name, capabilities := range map[string][]string{"one stream": nil, "named streams": {"beam:protocol:named_data_streams:v1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, fnapi.Config{})
			service := fnapitest.StartPool(t, fnapitest.Double)
			r.pool(fnapi.Environment{Env: service.Environment(capabilities...)})
			w := r.up()
			const n = 16
			d := stage([]string{"a", "b"}, "f")
			outs, runs := make([]output, n), make([]fnapi.Running, n)
			big := strings.Repeat("0123456789", 300_000)
			for i := range runs {
				runs[i] = w.Start(bundle(d, &outs[i], fmt.Sprint(i), big[:i*100_000], "end"))
			}
			for i, run := range runs {
				finishWell(t, run)
				if got, want := len(outs[i].of("a"))+len(outs[i].of("b")), 4*(len(fmt.Sprint(i))+i*100_000+3); got != want {
					t.Errorf("bundle %d: %d bytes of output, want %d", i, got, want)
				}
			}
		})
	}
}

func TestCacheTokensAndEndpointsReachTheHarness(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	var tokens []*fnpb.ProcessBundleRequest_CacheToken
	var desc *fnpb.ProcessBundleDescriptor
	w := r.worker(func(b *fnapitest.Bundle) error {
		tokens, desc = b.Request.GetCacheTokens(), b.Descriptor
		b.ReadAll()
		return nil
	})
	d := stage([]string{"out"})
	b := bundle(d, &output{})
	b.UserStateToken = []byte("user")
	b.SideInputTokens = []fnapi.SideInputToken{{Transform: "do", Name: "side", Token: []byte("t")}}
	finishWell(t, w.Start(b))
	if len(tokens) != 2 || string(tokens[0].GetToken()) != "user" || tokens[0].GetUserState() == nil || tokens[1].GetSideInput().GetSideInputId() != "side" {
		t.Errorf("tokens %v", tokens)
	}
	if desc.GetId() != b.Descriptor.ID || desc.GetStateApiServiceDescriptor().GetUrl() != r.server.Endpoint() || desc.GetTimerApiServiceDescriptor() != nil {
		t.Errorf("descriptor %v", desc)
	}
	if b.Descriptor.Proto.GetId() != "" {
		t.Error("the caller's descriptor was changed")
	}
}

func TestLogAndProvisionOfAWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	env := service.Environment()
	env.Dependencies = []*pipepb.ArtifactInformation{{TypeUrn: "beam:artifact:type:file:v1"}}
	r.pool(fnapi.Environment{Env: env, Options: []byte(`{"beam:option:x:v1": "1"}`), RetrievalEndpoint: "artifacts:1", Job: "job"})
	h := await(t, service.Started(), "harness")
	info, err := h.Provision()
	if err != nil {
		t.Fatal(err)
	}
	if info.GetPipelineOptions().AsMap()["beam:option:x:v1"] != "1" || info.GetArtifactEndpoint().GetUrl() != "artifacts:1" ||
		info.GetControlEndpoint().GetUrl() != r.server.Endpoint() || len(info.GetDependencies()) != 1 || info.GetMetadata()["job_id"] != "job" ||
		info.GetMetadata()["workers"] != "1" {
		t.Errorf("provision info %v", info)
	}
	at := time.UnixMilli(1234).UTC()
	if err := h.Log(&fnpb.LogEntry{
		Severity: fnpb.LogEntry_Severity_ERROR, Message: "oh", Trace: "trace", TransformId: "do", InstructionId: "b", LogLocation: "x.py:1",
		Timestamp: timestamppb.New(at),
	}, &fnpb.LogEntry{Message: "no time"}); err != nil {
		t.Fatal(err)
	}
	want := fnapi.LogEntry{Worker: h.ID, Transform: "do", Bundle: "b", Severity: 6, At: at, Message: "oh", Trace: "trace", Location: "x.py:1"}
	if got := r.awaitLog("oh"); got != want {
		t.Errorf("log entry %+v, want %+v", got, want)
	}
	if e := r.awaitLog("no time"); e.At.IsZero() {
		t.Error("an entry without a time got none")
	}
}

// TestStateStreamThatDoesNotSayWhoseItIsIsKnownByItsBundle is about Python 2.60
// in LOOPBACK.
func TestStateStreamThatDoesNotSayWhoseItIsIsKnownByItsBundle(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	conn, err := grpc.NewClient(r.server.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ask := func(bundle string) (*fnpb.StateResponse, error) {
		stream, err := fnpb.NewBeamFnStateClient(conn).State(t.Context())
		if err != nil {
			return nil, err
		}
		key := &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{TransformId: "t", UserStateId: "s", Key: []byte("k")}}}
		get := &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}
		if err := stream.Send(&fnpb.StateRequest{Id: "1", InstructionId: bundle, StateKey: key, Request: get}); err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	b := bundle(stage(nil), &output{})
	b.State = &cells{data: map[string][]byte{"s/k": []byte("a")}}
	var got *fnpb.StateResponse
	w := r.worker(func(in *fnapitest.Bundle) (err error) {
		in.ReadAll()
		got, err = ask(b.ID)
		return err
	})
	finishWell(t, w.Start(b))
	if string(got.GetGet().GetData()) != "a" {
		t.Errorf("answer %v", got)
	}
	if _, err := ask(b.ID); status.Code(err) != codes.Unauthenticated {
		t.Errorf("for a bundle that is over: %v", err)
	}
	stream, err := fnpb.NewBeamFnStateClient(conn).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) { // anything else is a traceback on the user's terminal
		t.Errorf("without a request: %v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Echo)
	conn, err := grpc.NewClient(r.server.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for id, want := range map[string]codes.Code{"": codes.Unauthenticated, "nobody": codes.PermissionDenied, w.ID(): codes.AlreadyExists} {
		ctx := context.Background()
		if id != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "worker_id", id)
		}
		stream, err := fnpb.NewBeamFnControlClient(conn).Control(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = stream.Recv(); status.Code(err) != want {
			t.Errorf("worker %q: %v, want %s", id, err, want)
		}
	}
	var out output
	d := stage([]string{"out"})
	finishWell(t, w.Start(bundle(d, &out, "x")))
	// Anybody may read a descriptor: some SDKs do not say who they are.
	client := fnpb.NewBeamFnControlClient(conn)
	if _, err := client.GetProcessBundleDescriptor(context.Background(), &fnpb.GetProcessBundleDescriptorRequest{ProcessBundleDescriptorId: d.ID}); err != nil {
		t.Error(err)
	}
	_, err = client.GetProcessBundleDescriptor(context.Background(), &fnpb.GetProcessBundleDescriptorRequest{ProcessBundleDescriptorId: "nobody"})
	if status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

// A Python harness need not ask for the descriptors of its bundles: it is told
// each once, before the first of them. Others ask, and are told nothing.
func TestPythonIsToldItsDescriptors(t *testing.T) {
	t.Parallel()
	const first, second = 3, 2 // bundles
	for _, c := range []struct {
		base          string
		ahead         bool
		told, fetched int
	}{
		{"apache/beam_python3.11_sdk:2.77.0", false, 2, 0}, {"apache/beam_python3.11_sdk:2.77.0", true, 2, 0},
		{"apache/beam_go_sdk:2.77.0", false, 0, 2}, {"apache/beam_go_sdk:2.77.0", true, 0, 2}, {"", false, 0, 2},
	} {
		service := fnapitest.StartPool(t, fnapitest.Echo)
		r := newRig(t, fnapi.Config{})
		r.pool(fnapi.Environment{ID: "env", Env: service.Environment("beam:version:sdk_base:" + c.base)})
		w, h := r.up(), await(t, service.Started(), "a harness")
		var out output
		one, other := stage([]string{"out"}), stage([]string{"out"})
		if c.ahead {
			w.Describe([]*fnapi.Descriptor{one, other})
		}
		for range first {
			finishWell(t, w.Start(bundle(one, &out, "x")))
		}
		for range second {
			finishWell(t, w.Start(bundle(other, &out, "x")))
		}
		if h.Told() != c.told || h.Fetched() != c.fetched {
			t.Errorf("a harness of %q was told %d descriptors and asked for %d, not %d and %d", c.base, h.Told(), h.Fetched(), c.told, c.fetched)
		}
	}
}

// What a harness is told of stages ahead is not without bounds: the rest it is
// told with its bundles.
func TestStagesAheadAreToldUpToASize(t *testing.T) {
	t.Parallel()
	service := fnapitest.StartPool(t, fnapitest.Echo)
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{ID: "env", Env: service.Environment("beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0")})
	w, h := r.up(), await(t, service.Started(), "a harness")
	small, large := stage([]string{"out"}), stage([]string{"out"})
	large.Proto.Transforms["large"] = &pipepb.PTransform{Spec: &pipepb.FunctionSpec{Payload: make([]byte, 1<<20)}}
	w.Describe([]*fnapi.Descriptor{small, large})
	var out output
	finishWell(t, w.Start(bundle(small, &out, "x")))
	if h.Told() != 1 {
		t.Errorf("it was told %d stages ahead", h.Told())
	}
	finishWell(t, w.Start(bundle(large, &out, "x")))
	if h.Told() != 2 || h.Fetched() != 0 {
		t.Errorf("it was told %d stages and asked for %d", h.Told(), h.Fetched())
	}
}
