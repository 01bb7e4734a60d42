package fnapi_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

func TestBundleGoesThroughAHarness(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Echo)
	var out output
	result := finishWell(t, w.Start(bundle(stage([]string{"out"}), &out, "one ", "two ", "three")))
	if got := out.of("out"); got != "one two three" {
		t.Errorf("output %q", got)
	}
	if result.Elapsed <= 0 || len(result.Residuals) > 0 || result.RequiresFinalization {
		t.Errorf("result %+v", result)
	}
}

func TestEverySinkAndTimerFamilyIsAwaited(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Double)
	var out output
	b := bundle(stage([]string{"a", "b", "c"}, "event", "clock"), &out, "x")
	b.Timers = []fnapi.TimerData{{TimerFamily: fnapi.TimerFamily{Transform: "do", Family: "event"}, Data: []byte("t")}}
	finishWell(t, w.Start(b))
	for name, want := range map[string]string{"a": "xx", "b": "xx", "c": "xx", "do/event": "tt", "do/clock": ""} {
		if got := out.of(name); got != want {
			t.Errorf("output of %s is %q, want %q", name, got, want)
		}
	}
}

// TestEmittedBeforeTheResponse: that all output is there is told while the harness
// is still at work.
func TestEmittedBeforeTheResponse(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	release := make(chan struct{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		if err := errors.Join(b.Emit("out", []byte("all")), b.CloseOutputs()); err != nil {
			return err
		}
		<-release
		return nil
	})
	var out output
	run := w.Start(bundle(stage([]string{"out"}, "family"), &out, "x"))
	await(t, run.Emitted(), "end of the output")
	if got := out.of("out"); got != "all" {
		t.Errorf("output %q", got)
	}
	select {
	case <-run.Done():
		t.Error("done before the response")
	default:
	}
	close(release)
	finishWell(t, run)
}

// TestABundleThatHasEmittedNeedsNoStream: the next takes its data stream, where one
// that still works would have another opened.
func TestABundleThatHasEmittedNeedsNoStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	streams, release := make(chan string, 3), make(chan struct{})
	service := fnapitest.StartPool(t, func(b *fnapitest.Bundle) error {
		streams <- b.DataStream()
		b.ReadAll()
		if len(b.Sinks) > 0 {
			if err := b.CloseOutputs(); err != nil {
				return err
			}
		}
		<-release
		return nil
	})
	r.pool(fnapi.Environment{Env: service.Environment("beam:protocol:named_data_streams:v1")})
	w := r.up()
	emits := w.Start(bundle(stage([]string{"out"}), &output{}, "x"))
	await(t, emits.Emitted(), "end of the output")
	works := w.Start(bundle(stage(nil), &output{}, "x"))
	late := w.Start(bundle(stage(nil), &output{}, "x"))
	if got := []string{<-streams, <-streams, <-streams}; got[0] != "" || got[1] == got[2] || got[1] != "" && got[2] != "" {
		t.Errorf("streams %q: want the first for the second bundle too, and another for the third", got)
	}
	close(release)
	for _, run := range []fnapi.Running{emits, works, late} {
		finishWell(t, run)
	}
	if again := w.Start(bundle(stage(nil), &output{}, "x")); <-streams != "" {
		t.Error("the first stream is not free after all bundles")
	} else {
		finishWell(t, again)
	}
}

func TestNothingIsEmittedByABundleThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Echo)
	b := bundle(stage([]string{"out"}), &output{}, "x")
	b.Output = func(beam.TransformID, string, fnapi.Payload) error { return errors.New("no room") }
	run := w.Start(b)
	if _, err := finish(t, run); err == nil {
		t.Fatal("no error")
	}
	select {
	case <-run.Emitted():
		t.Error("all output is said to be there")
	default:
	}
}

func TestTimersArriveBeforeElements(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	var order []string
	w := r.worker(func(b *fnapitest.Bundle) error {
		for _, c := range b.ReadAll() {
			order = append(order, string(c.Data))
		}
		return nil
	})
	var out output
	b := bundle(stage(nil, "f"), &out, "element")
	b.Timers = []fnapi.TimerData{{TimerFamily: fnapi.TimerFamily{Transform: "do", Family: "f"}, Data: []byte("timer")}}
	finishWell(t, w.Start(b))
	if got := strings.Join(order, " "); got != "timer element" {
		t.Errorf("order of arrival: %s", got)
	}
}

func TestEmptyBundleEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Echo)
	var out output
	finishWell(t, w.Start(bundle(stage([]string{"out"}), &out)))
	finishWell(t, w.Start(bundle(stage(nil), &out, "", "")))
}

func TestRunsAreNeverCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	runs := []string{
		strings.Repeat("a", 3<<20), "b", strings.Repeat("c", 600_000), strings.Repeat("d", 600_000), "e",
		strings.Repeat("f", 1<<20), strings.Repeat("g", 100),
	}
	var frames []string
	w := r.worker(func(b *fnapitest.Bundle) error {
		for _, c := range b.ReadAll() {
			frames = append(frames, string(c.Data))
		}
		return nil
	})
	var out output
	finishWell(t, w.Start(bundle(stage(nil), &out, runs...)))
	if strings.Join(frames, "") != strings.Join(runs, "") {
		t.Fatal("the bytes differ")
	}
	var shapes []string
	for _, f := range frames {
		shapes = append(shapes, string(bytes.Trim(dedup(f), "\x00")))
	}
	if got := strings.Join(shapes, " "); got != "a bc de f g" {
		t.Errorf("frames %s", got)
	}
}

// dedup squeezes repeated bytes.
func dedup(s string) []byte {
	var out []byte
	for i := range len(s) {
		if i == 0 || s[i] != s[i-1] {
			out = append(out, s[i])
		}
	}
	return out
}

func TestDescriptorIsFetchedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	pool := fnapitest.StartPool(t, fnapitest.Echo)
	r.pool(fnapi.Environment{Env: pool.Environment()})
	w, h := r.up(), await(t, pool.Started(), "harness")
	d := stage([]string{"out"})
	var out output
	for range 5 {
		finishWell(t, w.Start(bundle(d, &out, "x")))
	}
	if h.Fetched() != 1 {
		t.Errorf("the descriptor was fetched %d times", h.Fetched())
	}
}

func TestUserErrorIsTheWholeTraceback(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	trace := "Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError: no"
	w := r.worker(fnapitest.Fail(trace))
	var out output
	_, err := finish(t, w.Start(bundle(stage([]string{"out"}), &out, "x")))
	wantCode(t, err, beam.UserCode)
	var e *beam.Error
	if !errors.As(err, &e) || e.What != trace {
		t.Errorf("error %#v", err)
	}
}

func TestAnOutputErrorFailsTheBundleOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(fnapitest.Echo)
	d := stage([]string{"out"})
	b := bundle(d, &output{}, "x")
	b.Output = func(beam.TransformID, string, fnapi.Payload) error {
		return &beam.Error{Code: beam.ResourceExhausted, What: "disk full"}
	}
	_, err := finish(t, w.Start(b))
	wantCode(t, err, beam.ResourceExhausted, "disk full")
	var out output
	finishWell(t, w.Start(bundle(d, &out, "next")))
	if out.of("out") != "next" {
		t.Errorf("output %q", out.of("out"))
	}
}

func TestAbandonedBundleEndsAtOnceAndInTheHarness(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	reading, ended, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		defer close(ended)
		b.Next()
		close(reading)
		<-release
		b.ReadAll()
		return b.Emit("out", []byte("late"))
	})
	var out output
	running := w.Start(bundle(stage([]string{"out"}), &out, "x"))
	await(t, reading, "start of the bundle")
	running.Abandon()
	_, err := finish(t, running)
	wantCode(t, err, beam.Cancelled)
	close(release)
	await(t, ended, "end of the bundle in the harness")
	if out.of("out") != "" {
		t.Error("an abandoned bundle delivered output")
	}
}
