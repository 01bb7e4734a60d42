package fnapi_test

import (
	"context"
	"net"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

func TestPoolHasAsManyWorkersAsAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	pool := fnapitest.StartPool(t, fnapitest.Echo)
	r.pool(fnapi.Environment{Env: pool.Environment(), Parallelism: 3})
	ids := map[string]bool{r.up().ID(): true, r.up().ID(): true, r.up().ID(): true}
	if len(ids) != 3 {
		t.Errorf("workers %v", ids)
	}
}

func TestLostWorkerFailsItsBundlesAndIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	dying := true
	w := r.worker(func(b *fnapitest.Bundle) error {
		if dying {
			dying = false
			return fnapitest.Die(b)
		}
		return fnapitest.Echo(b)
	})
	d := stage([]string{"out"})
	var out output
	_, err := finish(t, w.Start(bundle(d, &out, "x")))
	wantCode(t, err, beam.Unavailable, w.ID())
	wantCode(t, await(t, r.losses, "loss"), beam.Unavailable)

	_, err = finish(t, w.Start(bundle(d, &out, "x")))
	wantCode(t, err, beam.Unavailable)

	next := r.up()
	if next.ID() == w.ID() {
		t.Error("the new worker has the old one's id")
	}
	finishWell(t, next.Start(bundle(d, &out, "y")))
	if out.of("out") != "y" {
		t.Errorf("output %q", out.of("out"))
	}
}

func TestClosedPoolStopsItsWorkers(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Hang)
	pool := r.pool(fnapi.Environment{Env: service.Environment()})
	w, h := r.up(), await(t, service.Started(), "harness")
	running := w.Start(bundle(stage(nil), &output{}))
	pool.Close()
	pool.Close()
	_, err := finish(t, running)
	wantCode(t, err, beam.Cancelled)
	await(t, h.Done(), "end of the harness")
	r.server.Close()
	if got := service.Stopped(); len(got) != 1 || got[0] != w.ID() {
		t.Errorf("stopped %v, want %s", got, w.ID())
	}
}

// TestAHarnessIsLeftInPeace: the end of a pool, and with it that of a job, waits for
// harnesses that others serve to end their streams.
func TestAHarnessIsLeftInPeace(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	left, leave := make(chan struct{}), make(chan struct{})
	service := fnapitest.StartPool(t, fnapitest.Echo, fnapitest.Leaving(func() {
		close(left)
		<-leave
	}))
	pool := r.pool(fnapi.Environment{Env: service.Environment(pythonBase)})
	w, h := r.up(), await(t, service.Started(), "harness")
	finishWell(t, w.Start(bundle(stage([]string{"out"}), &output{}, "x")))
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	await(t, left, "end of the control stream")
	select {
	case <-closed:
		t.Error("the pool is closed before the harness has ended its streams")
	default:
	}
	close(leave)
	await(t, closed, "end of the pool")
	await(t, h.Done(), "end of the harness")
}

func TestAHarnessThatDoesNotEndItsStreamsIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	stay := make(chan struct{})
	service := fnapitest.StartPool(t, fnapitest.Echo, fnapitest.Leaving(func() { <-stay }))
	pool := r.pool(fnapi.Environment{Env: service.Environment(pythonBase)})
	finishWell(t, r.up().Start(bundle(stage([]string{"out"}), &output{}, "x")))
	pool.Close()
	close(stay)
}

// TestBundlesThatNobodyWaitsForEndBeforeTheirWorker: a harness whose streams end
// in the middle of a bundle says so to its user.
func TestBundlesThatNobodyWaitsForEndBeforeTheirWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	begun, cut := make(chan bool, 1), make(chan bool, 1)
	service := fnapitest.StartPool(t, func(b *fnapitest.Bundle) error {
		begun <- true
		b.ReadAll()
		select {
		case <-b.Harness.Done():
			cut <- true
		case <-time.After(300 * time.Millisecond):
			cut <- false
		}
		return nil
	})
	pool := r.pool(fnapi.Environment{Env: service.Environment()})
	w, h := r.up(), await(t, service.Started(), "harness")
	running := w.Start(bundle(stage(nil), &output{}))
	await(t, begun, "bundle")
	pool.Close()
	_, err := finish(t, running)
	wantCode(t, err, beam.Cancelled)
	if await(t, cut, "end of the bundle") {
		t.Error("the harness's streams ended before its bundle")
	}
	await(t, h.Done(), "end of the harness")
}

func TestPoolClosesWithItsContext(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := r.server.Pool(ctx, fnapi.Environment{Env: service.Environment()}, r); err != nil {
		t.Fatal(err)
	}
	h := await(t, service.Started(), "harness")
	cancel()
	await(t, h.Done(), "end of the harness")
}

func TestAddressThatRefusesFailsThePoolWithACure(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{StartPatience: 300 * time.Millisecond})
	address := freeAddress(t)
	r.pool(fnapi.Environment{Env: external(address)})
	err := await(t, r.failed, "failure")
	wantCode(t, err, beam.Unavailable, address, "LOOPBACK")
}

func TestAddressThatAnswersLaterIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	service.Refuse("not yet")
	r.pool(fnapi.Environment{Env: service.Environment()})
	time.Sleep(200 * time.Millisecond)
	service.Refuse("")
	r.up()
}

func TestServicesOfOneEnvironmentJoinAndLeave(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	first, second := fnapitest.StartPool(t, fnapitest.Echo), fnapitest.StartPool(t, fnapitest.Echo)
	second.Refuse("not yet")
	r.pool(fnapi.Environment{Env: external(first.Address + ", " + second.Address)})
	r.up()
	second.Refuse("") // it joins
	r.up()
	if got := len(first.Requests()); got != 1 {
		t.Errorf("the first service was asked for %d workers", got)
	}
	second.Stop() // it leaves
	if err := await(t, r.losses, "loss"); err == nil {
		t.Error("a loss without a reason")
	}
	select {
	case err := <-r.failed:
		t.Errorf("the pool failed: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
}

// TestServiceThatIsAwayForLongIsUsedAgain, unless it is one that ended with its
// job's client.
func TestServiceThatIsAwayForLongIsUsedAgain(t *testing.T) {
	t.Parallel()
	for comesBack, name := range map[bool]string{true: "EXTERNAL", false: "LOOPBACK"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, fnapi.Config{StartPatience: 200 * time.Millisecond})
			service := fnapitest.StartPool(t, fnapitest.Die)
			r.pool(fnapi.Environment{Env: service.Environment(), ComesBack: comesBack})
			w := r.up()
			service.Refuse("it restarts")
			_, err := finish(t, w.Start(bundle(stage(nil), &output{}, "x")))
			wantCode(t, err, beam.Unavailable)
			if !comesBack {
				wantCode(t, await(t, r.failed, "failure"), beam.Unavailable, "it restarts")
				return
			}
			select {
			case err := <-r.failed:
				t.Errorf("the pool failed: %v", err)
			case <-time.After(time.Second):
			}
			service.Refuse("")
			r.up()
		})
	}
}

func TestServiceThatCannotStartWorkersSaysWhy(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{StartPatience: 200 * time.Millisecond})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	service.Refuse("no such file: python")
	r.pool(fnapi.Environment{Env: service.Environment()})
	wantCode(t, await(t, r.failed, "failure"), beam.Unavailable, "no such file: python", service.Address)
}

func TestWorkerThatDoesNotConnectFailsThePool(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{StartPatience: 10 * time.Millisecond, ConnectPatience: 50 * time.Millisecond})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	service.Pretend()
	r.pool(fnapi.Environment{Env: service.Environment()})
	wantCode(t, await(t, r.failed, "failure"), beam.Unavailable, "did not connect")
}

func TestUnknownEnvironmentIsRefusedByName(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	for _, c := range []struct {
		env  *pipepb.Environment
		code beam.Code
		word string
	}{
		{&pipepb.Environment{Urn: "beam:env:moon:v1"}, beam.Unsupported, "beam:env:moon:v1"},
		{&pipepb.Environment{Urn: "beam:env:external:v1", Payload: []byte{0xff}}, beam.InvalidPipeline, "malformed"},
		{&pipepb.Environment{Urn: "beam:env:external:v1"}, beam.InvalidPipeline, "no endpoint"},
	} {
		if known := fnapi.CanStart(c.env); known != (c.code != beam.Unsupported) {
			t.Errorf("%s: can be started: %v", c.env.GetUrn(), known)
		}
		_, err := r.server.Pool(context.Background(), fnapi.Environment{Env: c.env}, r)
		wantCode(t, err, c.code, c.word)
	}
}

func TestOneOfSeveralEnvironmentsIsChosen(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	payload, err := proto.Marshal(&pipepb.AnyOfEnvironmentPayload{Environments: []*pipepb.Environment{
		{Urn: "beam:env:docker:v1"}, service.Environment(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.pool(fnapi.Environment{Env: &pipepb.Environment{Urn: "beam:env:anyof:v1", Payload: payload}})
	r.up()
}

func external(address string) *pipepb.Environment {
	payload, _ := proto.Marshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: address}})
	return &pipepb.Environment{Urn: "beam:env:external:v1", Payload: payload}
}

// freeAddress is one that nobody listens at.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
