package fnapi_test

import (
	"context"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

// booted is the PROCESS environment of a real Python harness (TestMain).
func booted(t *testing.T) fnapi.Environment {
	t.Helper()
	return fnapi.Environment{Env: command("fresnel boot", "FRESNEL_PYTHON="+python(t)), Parallelism: 1, Job: "job-1"}
}

// TestPythonHarnessTellsWhereItHangs asks a harness whose DoFn never returns.
func TestPythonHarnessTellsWhereItHangs(t *testing.T) {
	t.Parallel()
	env := booted(t)
	r := newRig(t, fnapi.Config{Executable: os.Args[0]})
	r.pool(env)
	w := r.up()
	b := bundle(pythonStage(t, "Hang"), &output{}, kv("a", "1"))
	running := w.Start(b)
	r.awaitLog("hangs in")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, err := w.Status(ctx)
	for err == nil && !strings.Contains(status, "time.sleep(1)") { // it prints before it sleeps
		status, err = w.Status(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{b.ID, "THREAD DUMP", "time.sleep(1)"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in the status\n%s", want, status)
		}
	}
	w.Fail(&beam.Error{Code: beam.Unavailable, What: "it hangs"})
	_, err = finish(t, running)
	wantCode(t, err, beam.Unavailable, "it hangs")
	wantCode(t, await(t, r.losses, "loss"), beam.Unavailable, "it hangs")
	if _, err := w.Status(ctx); err == nil {
		t.Error("a worker that was given up has a status")
	}
	finishWell(t, r.up().Start(bundle(pythonStage(t, "Twice"), &output{}, kv("a", "1"))))
}

// TestStoppedProcessIsReplaced: nobody wakes a process that was stopped.
func TestStoppedProcessIsReplaced(t *testing.T) {
	t.Parallel()
	env := booted(t)
	r := newRig(t, fnapi.Config{Executable: os.Args[0], AnswerPatience: 5 * time.Second})
	r.pool(env)
	w := r.up()
	running := w.Start(bundle(pythonStage(t, "Hang"), &output{}, kv("a", "1")))
	pid := regexp.MustCompile(`\d+`).FindString(r.awaitLog("hangs in").Message)
	n, _ := strconv.Atoi(pid)
	if err := syscall.Kill(n, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.awaitLog("it counts as hung")
	_, err := finish(t, running)
	wantCode(t, err, beam.Unavailable, w.ID(), "it has not answered for", "--worker-timeout")
	next := r.up()
	if next.ID() == w.ID() {
		t.Error("the worker was not replaced")
	}
	finishWell(t, next.Start(bundle(pythonStage(t, "Twice"), &output{}, kv("a", "1"))))
	for deadline := time.Now().Add(patience); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the stopped process lives on")
		}
	}
}

// TestWorkerThatHangsFromItsFirstElementOnIsReplaced, if it was known to listen: to
// what it was told of its stages it had answered. One that may never have listened is
// not judged.
func TestWorkerThatHangsFromItsFirstElementOnIsReplaced(t *testing.T) {
	t.Parallel()
	for base, hung := range map[string]bool{"apache/beam_python3.11_sdk:2.77.0": true, "apache/beam_go_sdk:2.77.0": false} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			service := fnapitest.StartPool(t, func(b *fnapitest.Bundle) error {
				b.ReadAll()
				<-release
				return nil
			}, fnapitest.Deaf())
			r := newRig(t, fnapi.Config{AnswerPatience: 100 * time.Millisecond})
			r.pool(fnapi.Environment{ID: "env", Env: service.Environment("beam:version:sdk_base:" + base)})
			running := r.up().Start(bundle(stage(nil), &output{}, "x"))
			wait := patience
			if !hung {
				wait = 3500 * time.Millisecond // rounds are a second apart
			}
			select {
			case <-running.Done():
				_, err := running.Result()
				if wantCode(t, err, beam.Unavailable, "it is hung"); !hung {
					t.Error("it was judged")
				}
			case <-time.After(wait):
				if hung {
					t.Error("nobody noticed")
				}
			}
			close(release)
		})
	}
}

// TestWorkerThatAnswersIsNotHung: a bundle may take as long as it likes.
func TestWorkerThatAnswersIsNotHung(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{AnswerPatience: 300 * time.Millisecond})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		time.Sleep(2500 * time.Millisecond)
		return nil
	})
	finishWell(t, w.Start(bundle(stage(nil), &output{}, "x")))
	if logged := r.logged(); len(logged) > 0 {
		t.Errorf("logged %v", logged)
	}
}

// TestWorkerWithoutStatusSaysSo: one that runs as a thread is given no endpoint.
func TestWorkerWithoutStatusSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Echo)
	if status, err := w.Status(context.Background()); err == nil || !strings.Contains(err.Error(), "reports no status") {
		t.Errorf("status %q, %v", status, err)
	}
}
