package fnapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

// patience is how long a test waits for what must happen.
const patience = 5 * time.Minute

// rig is a server, and a pool whose events the test can wait for.
type rig struct {
	t       testing.TB
	server  *fnapi.Server
	ups     chan fnapi.Worker
	leaving chan fnapi.Worker
	losses  chan error
	failed  chan error

	mu   sync.Mutex
	logs []fnapi.LogEntry
}

func newRig(t testing.TB, cfg fnapi.Config) *rig {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	server, err := fnapi.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return &rig{t: t, server: server, ups: make(chan fnapi.Worker, 100), leaving: make(chan fnapi.Worker, 100), losses: make(chan error, 100), failed: make(chan error, 100)}
}

func (r *rig) WorkerUp(w fnapi.Worker)              { r.ups <- w }
func (r *rig) WorkerLeaving(w fnapi.Worker)         { r.leaving <- w }
func (r *rig) WorkerLost(_ fnapi.Worker, err error) { r.losses <- err }
func (r *rig) PoolFailed(err error)                 { r.failed <- err }
func (r *rig) Log(e fnapi.LogEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, e)
}

func (r *rig) logged() []fnapi.LogEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]fnapi.LogEntry(nil), r.logs...)
}

func (r *rig) pool(env fnapi.Environment) fnapi.Pool {
	r.t.Helper()
	p, err := r.server.Pool(context.Background(), env, r)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// worker is a worker that runs a script.
func (r *rig) worker(script fnapitest.Script, options ...fnapitest.Option) fnapi.Worker {
	r.t.Helper()
	pool := fnapitest.StartPool(r.t, script, options...)
	r.pool(fnapi.Environment{ID: "env", Env: pool.Environment()})
	return r.up()
}

func (r *rig) up() fnapi.Worker { r.t.Helper(); return await(r.t, r.ups, "a worker") }

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		t.Fatalf("no %s within %s\n%s", what, patience, buf[:runtime.Stack(buf, true)])
		panic("unreachable")
	}
}

var serial atomic.Int64

// stage is a descriptor with a source "in", sinks, and timer families of a
// transform "do".
func stage(sinks []string, families ...string) *fnapi.Descriptor {
	transforms := map[string]*pipepb.PTransform{"in": port("beam:runner:source:v1")}
	for _, s := range sinks {
		transforms[s] = port("beam:runner:sink:v1")
	}
	if len(families) > 0 {
		specs := make(map[string]*pipepb.TimerFamilySpec)
		for _, f := range families {
			specs[f] = &pipepb.TimerFamilySpec{}
		}
		payload, _ := proto.Marshal(&pipepb.ParDoPayload{TimerFamilySpecs: specs})
		transforms["do"] = &pipepb.PTransform{Spec: &pipepb.FunctionSpec{Urn: "beam:transform:pardo:v1", Payload: payload}}
	}
	return &fnapi.Descriptor{
		ID:     fmt.Sprintf("stage-%d", serial.Add(1)),
		Proto:  &fnpb.ProcessBundleDescriptor{Transforms: transforms},
		Timers: len(families) > 0,
	}
}

func port(urn string) *pipepb.PTransform {
	payload, _ := proto.Marshal(&fnpb.RemoteGrpcPort{CoderId: "bytes"})
	return &pipepb.PTransform{Spec: &pipepb.FunctionSpec{Urn: urn, Payload: payload}}
}

// output collects what a bundle emits, by "transform" or "transform/family".
type output struct {
	mu   sync.Mutex
	data map[string]string
}

func (o *output) add(from beam.TransformID, family string, data fnapi.Payload) error {
	name := string(from)
	if family != "" {
		name += "/" + family
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.data == nil {
		o.data = make(map[string]string)
	}
	o.data[name] += string(data.Joined())
	return nil
}

func (o *output) of(name string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data[name]
}

// bundle is a bundle of stage d with input, whose output goes to o.
func bundle(d *fnapi.Descriptor, o *output, input ...string) *fnapi.Bundle {
	b := &fnapi.Bundle{ID: fmt.Sprintf("bundle-%d", serial.Add(1)), Descriptor: d, Source: "in", Output: o.add}
	for _, run := range input {
		b.Input = append(b.Input, []byte(run))
	}
	for id, t := range d.Proto.GetTransforms() {
		switch {
		case t.GetSpec().GetUrn() == "beam:runner:sink:v1":
			b.Sinks = append(b.Sinks, beam.TransformID(id))
		case id == "do":
			payload := &pipepb.ParDoPayload{}
			_ = proto.Unmarshal(t.GetSpec().GetPayload(), payload)
			for f := range payload.GetTimerFamilySpecs() {
				b.TimerFamilies = append(b.TimerFamilies, fnapi.TimerFamily{Transform: "do", Family: f})
			}
		}
	}
	return b
}

func finish(t testing.TB, r fnapi.Running) (*fnapi.Result, error) {
	t.Helper()
	await(t, r.Done(), "end of the bundle")
	return r.Result()
}

func finishWell(t testing.TB, r fnapi.Running) *fnapi.Result {
	t.Helper()
	result, err := finish(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func wantCode(t testing.TB, err error, code beam.Code, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", code)
	}
	if beam.CodeOf(err) != code {
		t.Errorf("error %v, want code %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}
