package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
)

// TestAWorkerThatDiesInMidBundleChangesNothing (I6): what its bundles sent is
// forgotten, and they are run again elsewhere.
func TestAWorkerThatDiesInMidBundleChangesNothing(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(500)
	r.do["make"] = create(elements...)
	var deaths atomic.Int32
	r.do["work"] = func(c *call) error {
		n := 0
		err := c.each(func(e *item) error {
			if n++; n > 3 && deaths.Load() < 3 {
				return errors.New("it is time")
			}
			return c.out(e.Raw)
		})
		if err != nil && deaths.Add(1) <= 3 {
			return c.dies()
		}
		return err
	}
	out := r.sink("out")
	j := r.start(simple())
	j.mustEnd()
	out.want(want...)
	if !strings.Contains(j.said(jobservice.Warning), "trying again") {
		t.Errorf("the user was not told: %v", j.messages)
	}
}

// TestAWorkersDeathIsToldOnce: not for each bundle that it had.
func TestAWorkersDeathIsToldOnce(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(500)
	r.do["make"] = create(elements...)
	var dead atomic.Bool
	var reading atomic.Int32
	r.do["work"] = func(c *call) error {
		if !dead.Load() {
			reading.Add(1)
			for range 200 { // until another bundle is there as well, or for a while
				if reading.Load() > 1 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if dead.CompareAndSwap(false, true) {
				return c.dies()
			}
		}
		return same(c)
	}
	out := r.sink("out")
	j := r.start(simple())
	j.mustEnd()
	out.want(want...)
	if n := reading.Load(); n < 2 {
		t.Skipf("%d bundles were there", n)
	}
	if said := j.said(jobservice.Warning); strings.Count(said, "trying again") != 1 {
		t.Errorf("the user was told %s", said)
	}
}

// TestManyWorkersThatDieChangeNothing: the same with groupings, several workers
// and deaths all along.
func TestManyWorkersThatDieChangeNothing(t *testing.T) {
	r := newRig(t)
	r.options["experiments"] = []any{"sdk_workers=3"}
	elements, _ := numbers(300)
	r.do["make"] = create(elements...)
	var bundles atomic.Int32
	dying := func(f do) do {
		return func(c *call) error {
			if n := bundles.Add(1); n%4 == 0 && n < 20 {
				_ = f(c) // all is sent, but for the end
				return c.dies()
			}
			return f(c)
		}
	}
	r.do["work"] = dying(same)
	r.do["join"] = dying(groupsIn(global.Window(), joined))
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").reshuffle("spread", "in=a", "out=b:").
		pardo("work", nil, "in=b", "out=c:").group("group", "in=c", "out=d:grouped").
		pardo("join", nil, "in=d", "out=e:").write("write", "out", "e")
	r.start(p).mustEnd()
	var want []string
	for k := range 10 {
		var values []string
		for i := k; i < 300; i += 10 {
			values = append(values, fmt.Sprint(i))
		}
		slices.Sort(values)
		want = append(want, fmt.Sprintf("k%d=%s", k, strings.Join(values, "+")))
	}
	out.want(want...)
}

const trace = "Traceback (most recent call last):\n  File \"x.py\", line 1, in process\nValueError: no [while running 'Work/Inner-ptransform-12']"

func TestAnErrorOfUserCodeEndsABoundedJobAtOnce(t *testing.T) {
	r := newRig(t)
	elements, _ := numbers(20)
	r.do["make"] = create(elements...)
	var calls atomic.Int32
	r.do["work"] = func(c *call) error { calls.Add(1); c.ReadAll(); return errors.New(trace) }
	r.sink("out")
	j := r.start(simple())
	j.wantError(beam.UserCode, trace, "in Work/Inner")
	if n := calls.Load(); n > 2 {
		t.Errorf("it was called %d times", n)
	}
	if said := j.said(jobservice.Warning); said != "" {
		t.Errorf("warnings: %s", said)
	}
}

func TestAnErrorOfUserCodeNamesTheStepsItMayBeIn(t *testing.T) {
	r := newRig(t)
	r.do["make"] = create(at(0, "k", "v"))
	r.do["work"] = func(c *call) error { c.ReadAll(); return errors.New("Error: no\n    at Context (file.js:1:1)") }
	r.sink("out")
	r.start(simple()).wantError(beam.UserCode, "user code failed in Work: Error: no\n    at Context")
}

func TestAnErrorOfUserCodeIsRetriedInABoundedJobIfItsUserSaysSo(t *testing.T) {
	r := newRig(t)
	r.options["bundle_retries"] = 2
	elements, want := numbers(20)
	r.do["make"] = create(elements...)
	var calls atomic.Int32
	r.do["work"] = func(c *call) error {
		if calls.Add(1) <= 2 {
			c.ReadAll()
			return errors.New(trace)
		}
		return same(c)
	}
	out := r.sink("out")
	r.start(simple()).mustEnd()
	out.want(want...)
}

func TestAnErrorOfUserCodeIsRetriedInAnUnboundedJob(t *testing.T) {
	r := newRig(t)
	elements, want := batches(0, 5)
	r.source("in", &fakeSource{batches: [][][]byte{elements}})
	var failures atomic.Int32
	r.do["work"] = func(c *call) error {
		var all [][]byte
		err := c.each(func(e *item) error { all = append(all, e.Raw); return c.out(e.Raw) })
		if err == nil && failures.Add(1) <= 2 {
			return errors.New(trace)
		}
		return err
	}
	out := r.sink("out")
	j := r.start(endless())
	out.await(len(want))
	close(j.drain)
	j.mustEnd()
	out.want(want...)
	if said := j.said(jobservice.Warning); !strings.Contains(said, "Work") || !strings.Contains(said, "ValueError: no") {
		t.Errorf("the warnings do not tell of the error: %s", said)
	}
}

func TestAnErrorThatStaysEndsAnUnboundedJobToo(t *testing.T) {
	r := newRig(t)
	r.options["bundle_retries"] = 1
	elements, _ := batches(0, 1)
	r.source("in", &fakeSource{batches: [][][]byte{elements}})
	r.do["work"] = func(c *call) error { c.ReadAll(); return errors.New(trace) }
	r.sink("out")
	r.start(endless()).wantError(beam.UserCode, trace)
}

// TestShardsStayInOrder (I13): what one split emits arrives in its order, though
// bundles overtake each other, fail and are run again.
func TestShardsStayInOrder(t *testing.T) {
	r := newRig(t)
	r.options["bundle_retries"] = 100 // what died beside others is counted too
	r.options["experiments"] = []any{"sdk_workers=2"}
	var splits [][][]byte
	for s := range 4 {
		elements, _ := batches(s, 60)
		splits = append(splits, elements)
	}
	r.source("in", &fakeSource{batches: splits, bounded: true})
	var bundles atomic.Int32
	r.do["work"] = func(c *call) error {
		if bundles.Add(1)%7 == 3 {
			_ = same(c)
			return c.dies()
		}
		return same(c)
	}
	out := r.sink("out")
	p := newPipe().read("read", "in", "a:").pardo("work", nil, "in=a", "out=c:").write("write", "out", "c")
	r.start(p).mustEnd()
	next := map[string]int{}
	for _, s := range out.inOrder() {
		k, v, _ := strings.Cut(s, "=")
		if number(v) != next[k] {
			t.Fatalf("%s after %d: %v", s, next[k]-1, brief(out.inOrder()))
		}
		next[k]++
	}
	if len(next) != 4 || next["s0"] != 60 {
		t.Errorf("%v", next)
	}
}

// TestAGroupingThatFailsIsNotTriedAgain: it has changed meanwhile. Here the merge
// function of the user's windows raises.
func TestAGroupingThatFailsIsNotTriedAgain(t *testing.T) {
	r := newRig(t)
	r.options["streaming"] = true
	elements, _ := batches(0, 3)
	r.source("in", &fakeSource{batches: [][][]byte{elements}, bounded: true})
	var asked atomic.Int32
	r.do["work"] = mapping(func(e *item) [][]byte {
		w := beam.Window{Start: e.Timestamp, End: e.Timestamp + 10}
		e.Windows = coder.AppendIntervalWindow(nil, w)
		return [][]byte{e.pair("k", e.value)}
	})
	r.do["group/MergeWindows"] = func(c *call) error { c.ReadAll(); asked.Add(1); return errors.New(trace) }
	r.do["join"] = groupsIn(coder.IntervalWindow, joined)
	r.sink("out")
	p := newPipe()
	p.windows("mine", "my:window_fn", "interval", nil)
	p.Components.WindowingStrategies["mine"].MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
	p.read("read", "in", "a:").pardo("work", nil, "in=a", "out=b:kv/mine").
		group("group", "in=b", "out=c:grouped/mine").pardo("join", nil, "in=c", "out=d:kv/mine").write("write", "out", "d")
	j := r.start(p)
	j.wantError(beam.UserCode, trace, "Work/Inner")
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}
