package fnapi_test

import (
	"context"
	"testing"
	"time"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

func TestPoolTakesTheWorkerThatItsJobIsExpectedToNeed(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	env := fnapi.Environment{ID: "env", Job: "job", Env: service.Environment()}
	r.server.Expect(env)
	early := await(t, service.Started(), "a harness")

	other := env
	other.Job = "another job"
	pool := r.pool(other)
	if w := r.up(); w.ID() == early.ID {
		t.Error("another job got the worker")
	}
	pool.Close()

	env.Parallelism = 2
	r.pool(env)
	one, two := r.up(), r.up()
	if one.ID() != early.ID && two.ID() != early.ID {
		t.Errorf("workers %s and %s, and none is %s, which was started early", one.ID(), two.ID(), early.ID)
	}
	if n := len(service.Requests()); n != 3 {
		t.Errorf("%d workers were started", n)
	}
	for _, w := range []fnapi.Worker{one, two} {
		var out output
		finishWell(t, w.Start(bundle(stage([]string{"out"}), &out, "x")))
		if out.of("out") != "x" {
			t.Errorf("output %q", out.of("out"))
		}
	}
}

func TestExpectedWorkerIsStoppedIfItsJobDoesNotRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{ExpectPatience: time.Millisecond})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	r.server.Expect(fnapi.Environment{ID: "env", Job: "job", Env: service.Environment()})
	await(t, await(t, service.Started(), "a harness").Done(), "end of the harness")
	r.server.Close()
	if n := len(service.Stopped()); n != 1 {
		t.Errorf("%d workers were stopped", n)
	}
}

func TestExpectedWorkerEndsWithTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	env := fnapi.Environment{ID: "env", Job: "job", Env: service.Environment()}
	r.server.Expect(env)
	h := await(t, service.Started(), "a harness")
	r.server.Close()
	await(t, h.Done(), "end of the harness")
	r.server.Expect(env)
	if n := len(service.Requests()); n != 1 {
		t.Errorf("%d workers were started, one of them by a server that was closed", n)
	}
}

func TestExpectedWorkerThatIsLostIsStartedAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{ConnectPatience: time.Second}) // it may be lost before it is there
	service := fnapitest.StartPool(t, fnapitest.Echo)
	env := fnapi.Environment{ID: "env", Job: "job", Env: service.Environment()}
	r.server.Expect(env)
	h := await(t, service.Started(), "a harness")
	h.Kill()
	await(t, h.Done(), "end of the harness")
	r.pool(env)
	for w := r.up(); w.ID() == h.ID; w = r.up() { // it may be known only later that it is lost
		wantCode(t, await(t, r.losses, "loss"), beam.Unavailable)
	}
}

// A pool need not be patient with a worker that it did not ask for.
func TestPoolThatClosesGivesUpTheWorkerThatItExpects(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	service := fnapitest.StartPool(t, fnapitest.Echo)
	service.Pretend()
	env := fnapi.Environment{ID: "env", Job: "job", Env: service.Environment()}
	r.server.Expect(env)
	pool, err := r.server.Pool(context.Background(), env, r)
	if err != nil {
		t.Fatal(err)
	}
	pool.Close() // waits for its goroutines
	r.server.Close()
}
