package fnapi_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"fresnel/fnapi"
	"fresnel/internal/beam"
)

// TestAWorkerThatLeaksIsReplacedBetweenBundles with a DoFn that keeps all it gets.
func TestAWorkerThatLeaksIsReplacedBetweenBundles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("workers are weighed on Linux only")
	}
	t.Parallel()
	env := booted(t)
	r := newRig(t, fnapi.Config{Executable: os.Args[0], WorkerMemory: 400 << 20})
	r.pool(env)
	w := r.up()
	d := pythonStage(t, "Leak")
	for bundles := 0; ; bundles++ {
		finishWell(t, w.Start(bundle(d, &output{}, kv("a", "30")))) // MiB
		select {
		case leaving := <-r.leaving:
			if leaving.ID() != w.ID() {
				t.Errorf("%s leaves", leaving.ID())
			}
		case <-time.After(500 * time.Millisecond):
			if bundles > 100 {
				t.Fatal("it may hold what it likes")
			}
			continue
		}
		break
	}
	wantCode(t, await(t, r.losses, "loss"), beam.Unavailable, w.ID(), "MiB of memory, and the limit for a worker is 400 MiB", "--worker-memory-limit")
	r.awaitLog("it is replaced.")
	finishWell(t, r.up().Start(bundle(pythonStage(t, "Twice"), &output{}, kv("a", "1"))))
}

// TestAWorkerFarOverItsLimitIsNotWaitedFor: its bundle is tried again elsewhere.
func TestAWorkerFarOverItsLimitIsNotWaitedFor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("workers are weighed on Linux only")
	}
	t.Parallel()
	env := booted(t)
	r := newRig(t, fnapi.Config{Executable: os.Args[0], WorkerMemory: 300 << 20})
	r.pool(env)
	w := r.up()
	_, err := finish(t, w.Start(bundle(pythonStage(t, "Leak"), &output{}, kv("a", "500")+kv("b", "forever"))))
	wantCode(t, err, beam.Unavailable, "it is replaced in mid-bundle")
}

// TestAHintOfTheEnvironmentRaisesTheLimit: the user said what a worker needs.
func TestAHintOfTheEnvironmentRaisesTheLimit(t *testing.T) {
	t.Parallel()
	env := booted(t)
	env.Env.ResourceHints = map[string][]byte{"beam:resources:min_ram_bytes:v1": []byte("4000000000")}
	r := newRig(t, fnapi.Config{Executable: os.Args[0], WorkerMemory: 1 << 20})
	r.pool(env)
	w := r.up()
	d := pythonStage(t, "Slow")
	for range 30 {
		finishWell(t, w.Start(bundle(d, &output{}, kv("a", "1"), kv("a", "1"), kv("a", "1"))))
	}
	select {
	case <-r.leaving:
		t.Error("it is to leave")
	case <-time.After(1500 * time.Millisecond):
	}
}
