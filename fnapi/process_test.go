package fnapi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi"
	"fresnel/internal/beam"
)

// command is a PROCESS environment.
func command(command string, env ...string) *pipepb.Environment {
	p := &pipepb.ProcessPayload{Command: command, Env: map[string]string{}}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		p.Env[name] = value
	}
	payload, _ := proto.Marshal(p)
	return &pipepb.Environment{Urn: "beam:env:process:v1", Payload: payload}
}

// harness is the PROCESS environment of a scripted harness (TestMain).
func harness(name string) *pipepb.Environment {
	return command(fmt.Sprintf("'%s' harness %s", os.Args[0], name), "HARNESS_OWNER=the test")
}

func (r *rig) awaitLog(text string) fnapi.LogEntry {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		for _, e := range r.logged() {
			if strings.Contains(e.Message, text) {
				return e
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("nothing with %q was logged, but %v", text, r.logged())
		}
	}
}

func TestProcessesServeBundlesAndTheirOutputIsLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: harness("echo"), Parallelism: 2})
	workers := []fnapi.Worker{r.up(), r.up()}
	for _, w := range workers {
		var out output
		finishWell(t, w.Start(bundle(stage([]string{"out"}), &out, "x")))
		if out.of("out") != "x" {
			t.Errorf("output %q", out.of("out"))
		}
	}
	if e := r.awaitLog("harness echo of the test starts"); e.Worker == "" {
		t.Error("the log does not name the worker")
	}
}

// TestWhatProcessesPrintIsShownIfSomebodyWantsIt, and is no more than a detail of
// the log then.
func TestWhatProcessesPrintIsShownIfSomebodyWantsIt(t *testing.T) {
	t.Parallel()
	printed := make(chan string, 10)
	r := newRig(t, fnapi.Config{Printed: func(line string) { printed <- line }})
	r.pool(fnapi.Environment{Env: harness("echo"), Parallelism: 1})
	if line := await(t, printed, "line"); line != "harness echo of the test starts" {
		t.Errorf("printed %q", line)
	}
	if e := r.awaitLog("harness echo of the test starts"); e.Severity != 2 {
		t.Errorf("severity %d", e.Severity)
	}
}

func TestProcessThatDiesInABundleIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: harness("exit"), Parallelism: 1})
	w := r.up()
	_, err := finish(t, w.Start(bundle(stage(nil), &output{}, "x")))
	wantCode(t, err, beam.Unavailable)
	wantCode(t, await(t, r.losses, "loss"), beam.Unavailable)
	if next := r.up(); next.ID() == w.ID() {
		t.Error("the worker was not replaced")
	}
}

func TestProcessThatDiesAtOnceFailsThePoolWithItsLastWords(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: harness("crash"), Parallelism: 2})
	wantCode(t, await(t, r.failed, "failure"), beam.Unavailable, "exit status 3", "ImportError: no module named moon")
}

func TestProcessThatDiesWithoutAWordIsExplained(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: harness("silence"), Parallelism: 1})
	wantCode(t, await(t, r.failed, "failure"), beam.Unavailable, "exit status 1", `starts an SDK harness, as "fresnel boot" does`)
}

// TestPoolThatHasWorkedIsNotGivenUpForAFewBadStarts: after a death in a bundle,
// which the error explains, it takes many starts until a worker is up again.
func TestPoolThatHasWorkedIsNotGivenUpForAFewBadStarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	env := command(fmt.Sprintf("'%s' harness stumble", os.Args[0]), "HARNESS_STARTS="+filepath.Join(t.TempDir(), "starts"))
	r.pool(fnapi.Environment{Env: env, Parallelism: 1})
	w := r.up()
	_, err := finish(t, w.Start(bundle(stage(nil), &output{}, "x")))
	wantCode(t, err, beam.Unavailable, w.ID(), "signal: killed", "memory")
	if next := r.up(); next.ID() == w.ID() {
		t.Error("the worker was not replaced")
	}
	select {
	case err := <-r.failed:
		t.Error(err)
	default:
	}
}

func TestAbsentCommandFailsThePoolAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: command("/no/such/boot --x"), Parallelism: 1})
	wantCode(t, await(t, r.failed, "failure"), beam.InvalidPipeline, "/no/such/boot", "--environment_config")
}

func TestMalformedProcessIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	other, _ := proto.Marshal(&pipepb.ProcessPayload{Os: "plan9", Command: "x"})
	for _, c := range []struct {
		env  *pipepb.Environment
		code beam.Code
		word string
	}{
		{command(" "), beam.InvalidPipeline, "no command"},
		{&pipepb.Environment{Urn: "beam:env:process:v1", Payload: other}, beam.Unsupported, "plan9"},
		{&pipepb.Environment{Urn: "beam:env:process:v1", Payload: []byte{0xff}}, beam.InvalidPipeline, "malformed"},
	} {
		_, err := r.server.Pool(context.Background(), fnapi.Environment{Env: c.env}, r)
		wantCode(t, err, c.code, c.word)
	}
}

func TestChattyProcessIsNeverBlocked(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: harness("chat"), Parallelism: 1})
	var out output
	finishWell(t, r.up().Start(bundle(stage([]string{"out"}), &out, "x")))
}

func TestIdleProcessesAreKeptForTheSameEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	env := fnapi.Environment{Env: harness("echo"), Parallelism: 1, Options: []byte(`{"beam:option:job_name:v1": "one", "x": 1}`)}
	first := r.pool(env)
	w := r.up()
	finishWell(t, w.Start(bundle(stage(nil), &output{})))
	first.Close()

	env.Options = []byte(`{"beam:option:job_name:v1": "two", "x": 1, "beam:option:options_id:v1": 7, "beam:option:files_to_stage:v1": ["/tmp/a.jar"]}`)
	second := r.pool(env)
	if again := r.up(); again.ID() != w.ID() {
		t.Error("the worker was not kept")
	} else {
		finishWell(t, again.Start(bundle(stage(nil), &output{})))
	}
	second.Close()

	env.Options = []byte(`{"beam:option:job_name:v1": "two", "x": 2}`)
	r.pool(env)
	if other := r.up(); other.ID() == w.ID() {
		t.Error("a worker was kept for other options")
	}
}

func TestWorkerThatDiesWhileIdleIsNotHandedOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	env := fnapi.Environment{Env: harness("exit"), Parallelism: 1}
	first := r.pool(env)
	w := r.up()
	first.Close()
	// A bundle of nobody kills it.
	_, err := finish(t, w.Start(bundle(stage(nil), &output{}, "x")))
	wantCode(t, err, beam.Unavailable)
	r.pool(env)
	if next := r.up(); next.ID() == w.ID() {
		t.Error("a dead worker was handed out")
	}
}

func TestWorkersAreNotKeptLongerThanSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{KeepWarm: 20 * time.Millisecond})
	env := fnapi.Environment{Env: harness("echo"), Parallelism: 1}
	first := r.pool(env)
	w := r.up()
	first.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, err := finish(t, w.Start(bundle(stage(nil), &output{})))
		if err != nil {
			wantCode(t, err, beam.Cancelled)
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the worker lives on")
		}
	}
}

// TestThereAreNotTooManyIdleWorkers: the one that was idle for longest goes.
func TestThereAreNotTooManyIdleWorkers(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{MostWarm: 2})
	ids := map[int]string{}
	// run has a pool with the options n, and tells whether its worker had been idle.
	run := func(n int) bool {
		pool := r.pool(fnapi.Environment{Env: harness("echo"), Parallelism: 1, Options: fmt.Appendf(nil, `{"n": %d}`, n)})
		defer pool.Close()
		id := r.up().ID()
		defer func() { ids[n] = id }()
		return id == ids[n]
	}
	for n := range 3 {
		run(n)
	}
	if !run(1) || !run(2) {
		t.Error("a worker was not kept though there was room")
	}
	if run(0) {
		t.Error("a third worker was kept")
	}
}

func TestCloseEndsProcesses(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	file := filepath.Join(t.TempDir(), "pid")
	script := filepath.Join(t.TempDir(), "boot.sh")
	text := "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! > " + file + "\nwait\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	r.pool(fnapi.Environment{Env: command(script), Parallelism: 1})
	var grandchild string
	for deadline := time.Now().Add(patience); grandchild == ""; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(file); err == nil {
			grandchild = strings.TrimSpace(string(b))
		}
		if time.Now().After(deadline) {
			t.Fatal("the process did not start")
		}
	}
	r.server.Close()
	for deadline := time.Now().Add(patience); alive(grandchild); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a process of the group lives on")
		}
	}
}

// alive tells if a process exists and is no zombie.
func alive(pid string) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}
