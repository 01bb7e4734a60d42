package runner

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/engine"
	"fresnel/translate"
)

// channelSplit is the answer that gives back all elements from keep on.
func (c *call) channelSplit(keep int) *fnpb.ProcessBundleSplitResponse {
	return &fnpb.ProcessBundleSplitResponse{ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{
		TransformId: c.Sources[0], LastPrimaryElement: int64(keep - 1), FirstResidualElement: int64(keep)}}}
}

// splitter is a transform that passes on what it gets. Some of its bundles of
// two elements or more, one at a time, wait until they are split in the middle,
// and then end as then does with what they keep.
func splitter(splits int32, then func(c *call, kept [][]byte) error) do {
	var split atomic.Int32
	var waiting atomic.Bool
	return func(c *call) error {
		var all [][]byte
		if err := c.each(func(e *item) error { all = append(all, e.Raw); return nil }); err != nil {
			return err
		}
		if len(all) < 2 || split.Load() == splits || !waiting.CompareAndSwap(false, true) {
			return c.out(all...)
		}
		defer waiting.Store(false)
		defer split.Add(1)
		keep := len(all) / 2
		done := make(chan struct{})
		c.OnSplit(func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
			c.OnSplit(nil)
			close(done)
			return c.channelSplit(keep)
		})
		select {
		case <-done:
		case <-c.Harness.Done():
			return fmt.Errorf("dead")
		}
		return then(c, all[:keep])
	}
}

// TestASplitBundleGivesAwayItsResiduals: each element is worked on once. The
// bundle ends while its answer is on the way, which must not be lost (I6).
func TestASplitBundleGivesAwayItsResiduals(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(200)
	r.do["make"] = create(elements...)
	r.do["work"] = splitter(3, func(c *call, kept [][]byte) error { return c.out(kept...) })
	out := r.sink("out")
	r.start(simple()).mustEnd()
	out.want(want...)
}

// TestARetryAfterASplitRunsThePrimaries (I6).
func TestARetryAfterASplitRunsThePrimaries(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(200)
	r.do["make"] = create(elements...)
	r.do["work"] = splitter(3, func(c *call, kept [][]byte) error {
		_ = c.out(kept...)
		return c.dies()
	})
	out := r.sink("out")
	r.start(simple()).mustEnd()
	out.want(want...)
}

// TestABundleThatPutsOutMuchIsCutShort: no slot idles, and nothing is slow. What is
// still to do makes bundles of about as much output.
func TestABundleThatPutsOutMuchIsCutShort(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(100)
	const first = 8 // of 16 elements that a first bundle may have
	r.runner.output = first * len(elements[0])
	var mu sync.Mutex
	var sizes []int
	r.do["make"] = create(elements...)
	r.do["work"] = func(c *call) error {
		var all [][]byte
		if err := c.each(func(e *item) error { all = append(all, e.Raw); return nil }); err != nil {
			return err
		}
		if len(all) > first {
			split := make(chan struct{})
			c.OnSplit(func(req *fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
				c.OnSplit(nil)
				defer close(split)
				for _, d := range req.GetDesiredSplits() {
					if d.GetFractionOfRemainder() > 0.01 {
						t.Errorf("it is to keep %v", d.GetFractionOfRemainder())
					}
				}
				return c.channelSplit(first)
			})
			all = all[:first]
			defer func() { <-split }()
		}
		mu.Lock()
		sizes = append(sizes, len(all))
		mu.Unlock()
		return c.out(all...)
	}
	out := r.sink("out")
	r.start(simple()).mustEnd()
	out.want(want...)
	if slices.Max(sizes) > first {
		t.Errorf("bundles of %v elements", sizes)
	}
}

// sized is a restriction of a splittable DoFn: how many elements are to come.
func sized(ts beam.EventTime, element string, left int) []byte {
	return append(at(ts, element, fmt.Sprint(left)), make([]byte, 8)...)
}

// sdf is a pipeline with a splittable DoFn "sdf", whose restrictions "make"
// makes; its output is written to "out".
func sdf(bounded bool) pipe {
	p := newPipe()
	p.coder("restriction", "beam:coder:string_utf8:v1")
	out := "c"
	if !bounded {
		out = "u_c"
	}
	return p.impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:str").
		pardo("sdf", func(d *pipepb.ParDoPayload) { d.RestrictionCoderId = "restriction" }, "in=a", "out="+out+":").
		write("write", "out", out)
}

func (c *call) application(element []byte) *fnpb.BundleApplication {
	return &fnpb.BundleApplication{TransformId: "sdf", InputId: "in", Element: element}
}

// resume asks for the rest of a restriction to be processed later.
func (c *call) resume(rest []byte, after time.Duration, mark beam.EventTime) {
	a := c.application(rest)
	a.OutputWatermarks = map[string]*timestamppb.Timestamp{"out": timestamppb.New(mark.Time())}
	c.Response.ResidualRoots = append(c.Response.ResidualRoots,
		&fnpb.DelayedBundleApplication{Application: a, RequestedTimeDelay: durationpb.New(after)})
}

// TestASelfCheckpointComesBackAfterItsDelay.
func TestASelfCheckpointComesBackAfterItsDelay(t *testing.T) {
	r := newRig(t)
	const delay, steps = 30 * time.Millisecond, 4
	r.do["make"] = create(sized(0, "a", steps), sized(0, "b", 1))
	var mu sync.Mutex
	var calls []time.Time
	r.do["sdf"] = func(c *call) error {
		c.in = sizedItems
		return c.each(func(e *item) error {
			left := number(e.value)
			if e.key == "a" {
				mu.Lock()
				calls = append(calls, time.Now())
				mu.Unlock()
			}
			if left > 1 {
				c.resume(sized(0, e.key, left-1), delay, beam.EventTime(100-left))
			}
			return c.out(at(e.Timestamp, e.key, e.value))
		})
	}
	out := r.sink("out")
	r.start(sdf(true)).mustEnd()
	out.want("a=4", "a=3", "a=2", "a=1", "b=1")
	for i := 1; i < len(calls); i++ {
		if wait := calls[i].Sub(calls[i-1]); wait < delay {
			t.Errorf("call %d came after %v", i, wait)
		}
	}
}

// TestARunningElementIsSplit: a split within an element makes a primary of it
// that the bundle keeps and a residual that goes elsewhere, also when the bundle
// is run again.
func TestARunningElementIsSplit(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("dies ", dies), func(t *testing.T) {
			r := newRig(t)
			var splits atomic.Int32
			r.do["make"] = create(sized(0, "a", 10))
			r.do["sdf"] = func(c *call) error {
				c.in = sizedItems
				return c.each(func(e *item) error {
					from, to := span(e.value)
					if to-from > 6 && splits.Add(1) == 1 {
						done := make(chan struct{})
						c.OnSplit(func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
							c.OnSplit(nil)
							answer := c.channelSplit(0)
							answer.ChannelSplits[0].FirstResidualElement = 1
							mid := from + 4
							answer.PrimaryRoots = []*fnpb.BundleApplication{c.application(restriction(e.key, from, mid))}
							answer.ResidualRoots = []*fnpb.DelayedBundleApplication{{Application: c.application(restriction(e.key, mid, to))}}
							to = mid
							close(done)
							return answer
						})
						<-done
						if dies {
							return c.dies()
						}
					}
					var all [][]byte
					for i := from; i < to; i++ {
						all = append(all, at(0, e.key, fmt.Sprint(i)))
					}
					return c.out(all...)
				})
			}
			out := r.sink("out")
			r.start(sdf(true)).mustEnd()
			var want []string
			for i := range 10 {
				want = append(want, fmt.Sprint("a=", i))
			}
			out.want(want...)
		})
	}
}

// span reads a restriction: "10" is [0, 10), "3-7" is [3, 7).
func span(s string) (from, to int) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		return 0, number(a)
	}
	return number(a), number(b)
}

func restriction(element string, from, to int) []byte {
	return append(at(0, element, fmt.Sprintf("%d-%d", from, to)), make([]byte, 8)...)
}

// TestADrainTruncatesEndlessReads: what an unbounded splittable DoFn has still to
// do is truncated, and the truncated rest is done before the job ends.
func TestADrainTruncatesEndlessReads(t *testing.T) {
	for _, rest := range []string{"nothing", "something"} {
		t.Run(rest, func(t *testing.T) {
			r := newRig(t)
			r.do["make"] = create(sized(0, "a", 1_000_000))
			r.do["sdf"] = func(c *call) error {
				c.in = sizedItems
				return c.each(func(e *item) error {
					from, to := span(e.value)
					if from < to-1 {
						c.resume(restriction(e.key, from+1, to), time.Millisecond, beam.EventTime(from))
					}
					return c.out(at(e.Timestamp, e.key, fmt.Sprint(from)))
				})
			}
			r.do["sdf/Truncate"] = func(c *call) error {
				c.in = sizedItems
				return c.each(func(e *item) error {
					from, _ := span(e.value)
					if rest == "nothing" {
						return nil
					}
					return c.out(restriction(e.key, from, from+3))
				})
			}
			out := r.sink("out")
			j := r.start(sdf(false))
			out.await(5)
			close(j.drain)
			j.mustEnd()
			seen := map[string]bool{}
			for _, s := range out.got() {
				if seen[s] {
					t.Errorf("%s was written twice", s)
				}
				seen[s] = true
			}
			for i := range len(seen) {
				if !seen[fmt.Sprint("a=", i)] {
					t.Errorf("%d is missing of %d", i, len(seen))
				}
			}
		})
	}
}

// TestAnEndlessReadIsFull of many elements or of large ones, again after as much; one with an end
// is not.
func TestAnEndlessReadIsFull(t *testing.T) {
	t.Parallel()
	small, large := elem(0, "k", "v"), elem(0, "k", strings.Repeat("v", 1<<20))
	for _, test := range []struct {
		name    string
		piece   []byte
		pieces  int
		endless bool
		want    int
	}{
		{"a few", bytes.Repeat(small, 1000), 49, true, 0},
		{"many", bytes.Repeat(small, 1000), 101, true, 2},
		{"large", large, 17, true, 2},
		{"with an end", large, 17, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 0, mainEdge(1, translate.Keep))
			b.job.ctx, b.job.reports, b.job.runner = t.Context(), make(chan report, test.pieces), &Runner{}
			x := &harnessExecutor{job: b.job, stage: &stage{}, sinks: map[beam.TransformID]int{"out": 0}}
			if test.endless {
				x.stage.spec.CheckpointAfter = time.Hour
			}
			hb := &harnessBundle{x: x, b: engine.Bundle{ID: 7}, collector: b.collector}
			hb.full = hb.much()
			for range test.pieces {
				if err := hb.output("out", "", fnapi.Payload{test.piece}); err != nil {
					t.Fatal(err)
				}
			}
			b.job.work.Wait()
			if got := len(b.job.reports); got != test.want {
				t.Fatalf("the engine was told %d times, not %d", got, test.want)
			}
			for range test.want {
				if r := <-b.job.reports; r.event.OutputFull == nil || r.event.OutputFull.Bundle != 7 {
					t.Errorf("%+v", r.event)
				}
			}
		})
	}
}

// TestSplitsOfBundlesOfSeveralShards: each shard that a split touches keeps its
// own part.
func TestSplitsOfBundlesOfSeveralShards(t *testing.T) {
	t.Parallel()
	for end := range 7 {
		for start := end; start <= min(end+1, 6); start++ {
			hb, j := cutting(t, []int{2, 1}, []int{0}, []int{3})
			s := &fnapiSplit{LastPrimary: int64(end - 1), FirstResidual: int64(start)}
			if start > end {
				s.Primaries = []fnapiApplication{{Element: elem(0, "k", "p")}}
				s.Residuals = []fnapiResidual{{Application: fnapiApplication{Element: elem(0, "k", "r")}}}
			}
			c := &cut{hb: hb}
			if err := c.make(s, false); err != nil {
				t.Fatal(err)
			}
			primary, residual := j.values(hb, c.done.Primary), j.values(hb, c.done.Residual)
			var before, after [3][]string
			for i, e := range []struct{ shard, n int }{{0, 0}, {0, 1}, {0, 2}, {2, 3}, {2, 4}, {2, 5}} {
				switch {
				case i < end:
					before[e.shard] = append(before[e.shard], fmt.Sprint(e.n))
				case i >= start:
					after[e.shard] = append(after[e.shard], fmt.Sprint(e.n))
				default:
					before[e.shard] = append(before[e.shard], "p")
					after[e.shard] = append([]string{"r"}, after[e.shard]...)
				}
			}
			for shard := range 3 {
				named := residual[shard] != "" || primary[shard] != ""
				want, wantAfter := strings.Join(before[shard], " "), strings.Join(after[shard], " ")
				if !named {
					if wantAfter != "" {
						t.Errorf("%d..%d: shard %d is not named, but gives back %s", end, start, shard, wantAfter)
					}
					continue
				}
				if primary[shard] != want || residual[shard] != wantAfter {
					t.Errorf("%d..%d: shard %d keeps %q and gives back %q, want %q and %q", end, start, shard, primary[shard], residual[shard], want, wantAfter)
				}
			}
		}
	}
}

// TestAnElementOfSeveralWindowsIsCutIntoSeveralRoots: Beam's Java SDK splits it
// within one of its windows, and gives a root for the windows before that and one
// for those after it. The next split replaces them all.
func TestAnElementOfSeveralWindowsIsCutIntoSeveralRoots(t *testing.T) {
	t.Parallel()
	hb, j := cutting(t, []int{3})
	roots := func(values ...string) (all []fnapiApplication, late []fnapiResidual) {
		for _, v := range values {
			a := fnapiApplication{Element: elem(0, "k", v)}
			all, late = append(all, a), append(late, fnapiResidual{Application: a})
		}
		return all, late
	}
	for _, step := range []struct{ kept, given, primary, residual string }{
		{"whole partly", "rest unseen", "0 whole partly", "rest unseen 2"},
		{"whole less", "more", "0 whole less", "more"},
	} {
		s := &fnapiSplit{LastPrimary: 0, FirstResidual: 2}
		s.Primaries, _ = roots(strings.Fields(step.kept)...)
		_, s.Residuals = roots(strings.Fields(step.given)...)
		c := &cut{hb: hb}
		if err := c.make(s, false); err != nil {
			t.Fatal(err)
		}
		primary, residual := j.values(hb, c.done.Primary)[0], j.values(hb, c.done.Residual)[0]
		if primary != step.primary || residual != step.residual {
			t.Errorf("the bundle keeps %q and gives back %q, want %q and %q", primary, residual, step.primary, step.residual)
		}
	}
}

// TestASplitOfInputThatIsOverGivesBackNothing: Beam's Go SDK goes on counting
// behind it.
func TestASplitOfInputThatIsOverGivesBackNothing(t *testing.T) {
	t.Parallel()
	for _, start := range []int64{6, 7, 1 << 40} {
		hb, _ := cutting(t, []int{2, 1}, []int{0}, []int{3})
		c := &cut{hb: hb, done: engine.SplitDone{Accepted: true}}
		err := c.make(&fnapiSplit{LastPrimary: start - 1, FirstResidual: start}, false)
		if err != nil || c.done.Accepted || len(c.made) > 0 {
			t.Errorf("%d: accepted %v, %d blocks were made, %v", start, c.done.Accepted, len(c.made), err)
		}
	}
}

// TestGarbageInsteadOfASplitIsRefused (I7).
func TestGarbageInsteadOfASplitIsRefused(t *testing.T) {
	t.Parallel()
	root := fnapiApplication{Element: elem(0, "k", "x")}
	for name, s := range map[string]*fnapiSplit{
		"before the start":    {LastPrimary: -2, FirstResidual: 0},
		"crossed":             {LastPrimary: 2, FirstResidual: 1},
		"behind the end":      {LastPrimary: 5, FirstResidual: 7},
		"far":                 {LastPrimary: 1 << 62, FirstResidual: 1 << 62},
		"roots of no element": {LastPrimary: 2, FirstResidual: 3, Primaries: []fnapiApplication{root}},
		"a root cut off":      {LastPrimary: 2, FirstResidual: 4, Primaries: []fnapiApplication{{Element: root.Element[:9]}}},
		"a root of two":       {LastPrimary: 2, FirstResidual: 4, Residuals: []fnapiResidual{{Application: fnapiApplication{Element: append(root.Element, root.Element...)}}}},
	} {
		hb, _ := cutting(t, []int{2, 1}, []int{0}, []int{3})
		c := &cut{hb: hb}
		if err := c.make(s, false); beam.CodeOf(err) != beam.BadData || !strings.Contains(err.Error(), "The stage") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestADrainThatIsCutOffGoesOn (I10): what was truncated before is not truncated
// again.
func TestADrainThatIsCutOffGoesOn(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	epoch := int64(0)
	r.submitted = func(s *jobservice.Submission) {
		epoch++
		s.ID, s.Dir, s.Epoch, s.Resumed = "drained", dir, epoch, epoch > 1
	}
	var end, steps atomic.Int64
	reached, cut := make(chan struct{}), make(chan struct{})
	r.do["make"] = create(sized(0, "a", 1_000_000))
	r.do["sdf"] = func(c *call) error {
		c.in = sizedItems
		return c.each(func(e *item) error {
			from, to := span(e.value)
			if end.Load() > 0 && steps.Add(1) == 2 {
				close(reached)
				<-cut
				return errDown
			}
			if from < to-1 {
				c.resume(restriction(e.key, from+1, to), time.Millisecond, beam.EventTime(from))
			}
			return c.out(at(e.Timestamp, e.key, fmt.Sprint(from)))
		})
	}
	r.do["sdf/Truncate"] = func(c *call) error {
		c.in = sizedItems
		return c.each(func(e *item) error {
			from, _ := span(e.value)
			if !end.CompareAndSwap(0, int64(from+5)) {
				t.Errorf("the restriction %s is truncated again", e.value)
			}
			return c.out(restriction(e.key, from, from+5))
		})
	}
	out := r.sink("out")
	out.progress = true
	j := r.start(sdf(false))
	out.await(5)
	close(j.drain)
	await(t, reached, "second step of what was truncated")
	j.cancel()
	close(cut)
	_ = j.end()
	j = r.start(sdf(false))
	j.mustEnd()
	if got := len(out.got()); int64(got) != end.Load() {
		t.Errorf("%d elements were written of what was truncated to %d", got, end.Load())
	}
}
