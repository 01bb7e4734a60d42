package runner

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/jobservice"
)

var errDown = &beam.Error{Code: beam.Unavailable, What: "the broker is down"}

// TestASourceIsReadAgainAfterAFault: from the last committed position, and the
// user is told.
func TestASourceIsReadAgainAfterAFault(t *testing.T) {
	for _, call := range []string{"splits", "open", "read"} {
		t.Run(call, func(t *testing.T) {
			r := newRig(t)
			a, want := batches(0, 6)
			b, more := batches(1, 6)
			var faults atomic.Int32
			in := r.source("in", &fakeSource{batches: [][][]byte{a, b}, bounded: true,
				fail: func(what string, split, position int) error {
					if what == call && (call == "splits" || split == 1 && (position >= 3 || call == "open")) && faults.Add(1) <= 2 {
						return errDown
					}
					return nil
				}})
			out := r.sink("out")
			p := newPipe().read("read", "in", "a:").pardo("work", nil, "in=a", "out=c:").write("write", "out", "c")
			j := r.start(p)
			j.mustEnd()
			out.want(append(want, more...)...)
			said := j.said(jobservice.Warning)
			if strings.Count(said, "the broker is down") != 2 || !strings.Contains(said, "Read") || !strings.Contains(said, "trying again in") {
				t.Errorf("the user was told: %s", said)
			}
			if in.closed != 1 {
				t.Errorf("the source was closed %d times", in.closed)
			}
		})
	}
}

func TestASourceThatIsRefusedEndsTheJob(t *testing.T) {
	for _, call := range []string{"splits", "open", "read"} {
		t.Run(call, func(t *testing.T) {
			r := newRig(t)
			in := r.source("in", &fakeSource{batches: [][][]byte{nil}, fail: func(what string, _, _ int) error {
				if what == call {
					return &beam.Error{Code: beam.Rejected, What: "there is no topic x"}
				}
				return nil
			}})
			r.sink("out")
			r.start(endless()).wantError(beam.Rejected, "Read", "there is no topic x")
			if in.closed != 1 {
				t.Errorf("the source was closed %d times", in.closed)
			}
		})
	}
}

// TestASinkIsWrittenAgainAfterAFault (I13): the same entry with the same bytes,
// before any later one. Whether it was there already, the sink's progress tells.
func TestASinkIsWrittenAgainAfterAFault(t *testing.T) {
	r := newRig(t)
	var splits [][][]byte
	var want []string
	for s := range 3 {
		elements, written := batches(s, 40)
		splits, want = append(splits, elements), append(want, written...)
	}
	r.source("in", &fakeSource{batches: splits, bounded: true})
	out := r.sink("out")
	out.shards, out.rows, out.progress = 3, 7, true
	out.before = func(_ int, n int64, attempt int) error {
		if n%3 == 1 && attempt == 1 {
			return errDown
		}
		return nil
	}
	out.after = func(_ int, n int64, attempt int) error {
		if n%4 == 2 && attempt == 1 {
			return errDown // it is there, but nobody knows
		}
		return nil
	}
	p := newPipe().read("read", "in", "a:").pardo("work", nil, "in=a", "out=c:").write("write", "out", "c")
	j := r.start(p)
	j.mustEnd()
	out.want(want...)
	for s := range 3 {
		n := 0
		for _, got := range out.inOrder() {
			if strings.HasPrefix(got, fmt.Sprintf("s%d=", s)) {
				if got != fmt.Sprintf("s%d=%d", s, n) {
					t.Fatalf("%s after %d", got, n-1)
				}
				n++
			}
		}
	}
	if said := j.said(jobservice.Warning); !strings.Contains(said, "Write") || !strings.Contains(said, "the broker is down") {
		t.Errorf("the user was told: %s", said)
	}
	if said := j.said(jobservice.Basic); !strings.Contains(said, "Write: writing goes on") {
		t.Errorf("the user was told of the end: %q", said)
	}
}

// TestASinkThatCannotBeWrittenIsToldOfBeforeThereIsAnythingToWrite: and the job
// goes on, since what is missing may come.
func TestASinkThatCannotBeWrittenIsToldOfBeforeThereIsAnythingToWrite(t *testing.T) {
	r := newRig(t)
	r.source("in", &fakeSource{batches: [][][]byte{nil}})
	r.sink("out").probe = &beam.Error{Code: beam.Rejected, What: "access denied"}
	j := r.start(endless())
	j.awaitSaid(jobservice.Warning, "Write: as things are, nothing can be written: rejected: access denied")
	close(j.drain)
	j.mustEnd()
}

// TestAFaultThatShardsMeetTogetherIsToldOnce for each round of tries, and again
// when it comes back.
func TestAFaultThatShardsMeetTogetherIsToldOnce(t *testing.T) {
	t.Parallel()
	var o outage
	var told []bool
	for _, failure := range []int{0, 0, 1, 0, 1, 2} { // of three shards
		_, tell := o.news(failure, errDown, time.Time{})
		told = append(told, tell)
	}
	if want := []bool{true, false, true, false, false, true}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if !o.over() || o.over() {
		t.Error("the end is not told once")
	}
	if _, tell := o.news(0, errDown, time.Time{}); !tell {
		t.Error("the next fault is not told")
	}
}

// TestALongOutageIsToldLessAndLess: and at once when something else is wrong.
func TestALongOutageIsToldLessAndLess(t *testing.T) {
	t.Parallel()
	var o outage
	begin, now, said := time.Unix(0, 0), time.Unix(0, 0), map[int]string{}
	for n := range 400 {
		var err error = errDown
		if n >= 390 {
			err = errors.New("access denied")
		}
		if tries, tell := o.news(n, err, now); tell {
			said[n] = tries
		}
		now = now.Add(backoff(n))
	}
	want := []int{0, 1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 390}
	if got := slices.Sorted(maps.Keys(said)); !slices.Equal(got, want) {
		t.Errorf("told of rounds %v, want %v", got, want)
	}
	if got := said[128]; got != " (129 times in 20m33s)" || said[1] != "" {
		t.Errorf("told after %v: %q, and early %q", now.Sub(begin), got, said[1])
	}
}

func TestASinkThatRefusesEndsTheJob(t *testing.T) {
	r := newRig(t)
	elements, _ := numbers(10)
	r.do["make"] = create(elements...)
	out := r.sink("out")
	out.before = func(int, int64, int) error { return &beam.Error{Code: beam.Rejected, What: "column x cannot be null"} }
	r.start(simple()).wantError(beam.Rejected, "Write", "column x cannot be null")
	if out.closed != 1 || len(out.attempts) != 1 || out.attempts["0/1"] != 1 {
		t.Errorf("the sink was closed %d times; attempts %v", out.closed, out.attempts)
	}
}

// TestAProgressThatWentBackIsNotWrittenOver.
func TestAProgressThatWentBackIsNotWrittenOver(t *testing.T) {
	r := newRig(t)
	elements, _ := batches(0, 20)
	r.source("in", &fakeSource{batches: [][][]byte{elements}, bounded: true})
	out := r.sink("out")
	out.progress, out.rows = true, 1
	out.after = func(_ int, n int64, _ int) error {
		if n == 5 {
			out.mu.Lock()
			out.entries[0] = out.entries[0][:2] // restored from a backup
			out.mu.Unlock()
			return errDown
		}
		return nil
	}
	p := newPipe().read("read", "in", "a:").write("write", "out", "a")
	r.start(p).wantError(beam.Rejected, "Write", "says entry 2, but entry 4 was written")
}

// TestAPanicEndsTheJobNotTheServer (I7).
func TestAPanicEndsTheJobNotTheServer(t *testing.T) {
	for name, prepare := range map[string]func(r *rig) pipe{
		"splits": func(r *rig) pipe {
			r.source("in", &fakeSource{batches: [][][]byte{nil}, fail: func(string, int, int) error { panic("ouch") }})
			return endless()
		},
		"read": func(r *rig) pipe {
			r.source("in", &fakeSource{batches: [][][]byte{nil}, fail: func(call string, _, _ int) error {
				if call == "read" {
					panic("ouch")
				}
				return nil
			}})
			return endless()
		},
		"write": func(r *rig) pipe {
			elements, _ := numbers(10)
			r.do["make"] = create(elements...)
			r.sinks["out"].before = func(int, int64, int) error { panic("ouch") }
			return simple()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.sink("out")
			j := r.startWhole(prepare(r))
			j.wantError(beam.Internal, "panic: ouch")
		})
	}
	t.Run("state", func(t *testing.T) {
		t.Parallel()
		s := stateOf{&harnessBundle{}}
		key := stateKeyOf("k")
		_, _, err := s.Get(key, nil)
		for _, err := range []error{err, s.Append(key, nil), s.Clear(key), (&harnessBundle{}).guardedOutput("x", "", nil)} {
			if beam.CodeOf(err) != beam.Internal || !strings.Contains(fmt.Sprint(err), "panic") {
				t.Errorf("%v", err)
			}
		}
	})
	t.Run("plan", func(t *testing.T) {
		t.Parallel()
		r := New(Config{})
		if err := r.Check(nil); err == nil {
			t.Error("no error for no submission")
		}
		if err := r.Run(t.Context(), nil, nil, nil); err == nil {
			t.Error("no error for no submission")
		}
	})
}
