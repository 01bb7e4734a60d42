package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
)

// halt runs the world's job for a while, and has it come to a rest.
func (w *world) halt(dir string, after time.Duration) *jobservice.Submission {
	t := w.r.t
	t.Helper()
	halt := make(chan struct{})
	submitted := w.r.submitted
	w.r.submitted = func(s *jobservice.Submission) {
		s.ID, s.Dir, s.Epoch, s.Halt = beam.JobID("old-"+strings.ReplaceAll(t.Name(), "/", "-")), dir, 1, halt
		w.last = s
	}
	j := w.r.start(w.pipe())
	w.r.submitted = submitted
	time.Sleep(after)
	wait(t, "first elements", func() bool { return j.over() || len(w.whole.got()) > 0 }) // on a busy machine; before, nothing is kept
	close(halt)
	if err := j.end(); !errors.Is(err, context.Canceled) {
		t.Fatalf("a halted job ends with %v", err)
	}
	return w.last
}

// goOn runs a pipeline from what was kept, to the end of what there is to read.
func (w *world) goOn(p pipe, from *jobservice.Submission, dir string) {
	t := w.r.t
	t.Helper()
	w.r.submitted = func(s *jobservice.Submission) {
		s.ID, s.Dir, s.Epoch, s.From = beam.JobID("new-"+strings.ReplaceAll(t.Name(), "/", "-")), dir, 2, from
		w.last = s
	}
	for i := range w.done {
		w.done[i].Store(false)
	}
	j := w.r.start(p)
	wait(t, "end of the input", func() bool { return j.over() || w.done[0].Load() && w.done[1].Load() })
	close(j.drain)
	j.mustEnd()
}

// countIn is countByMinute under another id of the transform.
func countIn(id string) do {
	key := func(key, window []byte) (k *fnpb.StateKey) {
		k = bagKey(key, window)
		k.GetBagUserState().TransformId = id
		return k
	}
	return func(c *call) error {
		return c.events(coder.IntervalWindow, func(e *item) error {
			window, _, err := coder.DecodeIntervalWindow(e.Windows)
			end := window.MaxTimestamp()
			timer := coder.Timer{Key: str(e.key), Windows: e.Windows, WindowCount: 1, Fire: end, Hold: end, Pane: noFiring}
			return firstError(err, firstError(c.Append(key(str(e.key), e.Windows), str(e.value)),
				c.SetTimers(fnapitest.Stream{Transform: id, Family: "event"}, coder.AppendTimer(nil, &timer))))
		}, func(_ string, timer *coder.Timer) error {
			data, err := c.getAll(key(timer.Key, timer.Windows))
			var all []string
			for len(data) > 0 && err == nil {
				var s []byte
				var n int
				s, n, err = coder.DecodeLengthPrefixed(data)
				all, data = append(all, string(s)), data[n:]
			}
			kv := coder.AppendLengthPrefixed(append([]byte(nil), timer.Key...), []byte(strings.Join(all, "+")))
			el := append(coder.AppendHeader(nil, timer.Hold, 1, timer.Windows, beam.NoFiring), kv...)
			return firstError(err, c.out(el))
		})
	}
}

// changed is the world's pipeline with a step and a sink more, other ids, and
// everything in another order.
func (w *world) changed() pipe {
	fresh := w.r.sink("fresh")
	fresh.shards, fresh.rows, fresh.progress = 1, 5, true
	w.r.do["count"] = countIn("count")
	w.r.do["regroup"] = w.r.do["join"]
	p := newPipe().impulse("aNewOne", "x").pardo("nothing", nil, "in=x", "out=y:bytes").
		read("names", "names", "n:").
		read("read", "in", "u_a:").
		pardo("tag", nil, "in=u_a", "out=u_t:").
		write("fresh", "fresh", "u_t").
		add("minutes", "beam:transform:window_into:v1", windowInto(), "in=u_t", "out=u_m:kv/minute").
		pardo("count", stateful("timer60"), "in=u_m", "out=u_c:kv/minute").write("counted", "counted", "u_c").
		group("group", "in=u_m", "out=u_g:grouped/minute").pardo("regroup", nil, "in=u_g", "out=u_j:kv/minute").write("grouped", "grouped", "u_j").
		write("whole", "whole", "u_t").
		pardo("side", withSide("iterable"), "in=u_m", "side=n", "out=u_s:kv/minute").write("sided", "sided", "u_s")
	p.Components.Transforms["count"].UniqueName = "Work"
	p.Components.Transforms["nothing"].Spec.Payload = p.Components.Transforms["tag"].Spec.Payload
	w.r.do["nothing"] = func(c *call) error {
		for _, more := c.Next(); more; _, more = c.Next() {
		}
		return nil
	}
	return p
}

// TestAChangedPipelineGoesOn (I10): with steps added, and others under other ids,
// what a job that came to a rest has kept is taken over by name: the results are
// those of one job.
func TestAChangedPipelineGoesOn(t *testing.T) {
	w := newWorld(t)
	old := w.halt(t.TempDir(), 300*time.Millisecond)
	before := len(w.whole.got())
	if before == 0 || before == 2*perSplit {
		t.Skipf("the job was halted after %d elements", before)
	}
	p := w.changed()
	w.goOn(p, old, t.TempDir())
	want := straightResults(t)
	for name, got := range w.results() {
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s: %d elements %v\nwant %d: %v", name, len(got), brief(got), len(want[name]), brief(want[name]))
		}
	}
	if fresh := len(w.r.sinks["fresh"].got()); fresh != 2*perSplit-before {
		t.Errorf("the new sink got %d elements, %d were read before it was there", fresh, before)
	}
}

// TestALargeSideInputGoesOn: what of it is in blocks is there under other numbers.
func TestALargeSideInputGoesOn(t *testing.T) {
	w := newWorld(t)
	const each, size = 30, 10_000
	for i := range 2 {
		var batch [][]byte
		for k := range each {
			batch = append(batch, at(0, "a", fmt.Sprintf("%0*d", size, i*each+k)))
		}
		w.r.sources["names"].batches[i] = [][]byte{slices.Concat(batch...)}
	}
	w.r.do["side"] = func(c *call) error {
		c.in = inMinutes
		return c.each(func(e *item) error {
			names, err := c.getAll(iterableKey("side", nil))
			return firstError(err, c.out(e.pair(e.key, fmt.Sprint(len(strings.Split(valuesOfPairs(names), "+"))))))
		})
	}
	old := w.halt(t.TempDir(), 300*time.Millisecond)
	w.goOn(w.changed(), old, t.TempDir())
	for _, s := range w.sided.got() {
		if !strings.HasSuffix(s, fmt.Sprint("=", 2*each)) {
			t.Fatalf("an element saw %s", s)
		}
	}
	if n := len(w.sided.got()); n != 2*perSplit {
		t.Errorf("%d elements, want %d", n, 2*perSplit)
	}
}

// straightResults are those of one job.
func straightResults(t *testing.T) map[string][]string {
	var results map[string][]string
	t.Run("group", func(t *testing.T) { // its tests are parallel ones, and end with it
		t.Run("straight", func(t *testing.T) {
			w := newWorld(t)
			w.run("", 1, 0)
			results = w.results()
		})
	})
	return results
}

// TestWhatAChangeWouldLoseIsRefused: each difference is listed, by the name of the
// step, and a step that is named may lose its state.
func TestWhatAChangeWouldLoseIsRefused(t *testing.T) {
	w := newWorld(t)
	old := w.halt(t.TempDir(), 200*time.Millisecond)
	check := func(p pipe, allow string) error {
		options, err := structpb.NewStruct(map[string]any{"beam:option:allow_lost_state:v1": allow})
		if err != nil {
			t.Fatal(err)
		}
		return w.r.runner.Check(&jobservice.Submission{ID: "new", Pipeline: p.Pipeline, Options: options, From: old})
	}
	rename := func(p pipe, id, name string) { p.Components.Transforms[id].UniqueName = name }
	for _, c := range []struct {
		name   string
		change func(p pipe)
		steps  string
		say    []string
	}{
		{"nothing", func(pipe) {}, "", nil},
		{"a step with state is renamed", func(p pipe) { rename(p, "work", "Toil") }, "Work", []string{"Work: the step was removed", `state "bag"`, `timer "event"`}},
		{"a grouping is renamed", func(p pipe) { rename(p, "group", "Gather") }, "Group", []string{"Group: the step was removed", "groups in progress"}},
		{"a source is renamed", func(p pipe) { rename(p, "read", "Consume") }, "Read", []string{"Read: the step was removed", "2 splits"}},
		{"a source reads something else", func(p pipe) { p.Components.Transforms["read"].Spec.Payload = []byte("names") }, "Read",
			[]string{"Read: the source's configuration has changed"}},
		{"state of another coder", func(p pipe) {
			edit(p, "work", func(d *pipepb.ParDoPayload) { d.StateSpecs["bag"].GetBagSpec().ElementCoderId = "bytes" })
		}, "Work", []string{"Work: the coder of a state's values has changed from utf8 to bytes"}},
		{"state of another kind", func(p pipe) {
			edit(p, "work", func(d *pipepb.ParDoPayload) {
				d.StateSpecs["bag"] = &pipepb.StateSpec{Spec: &pipepb.StateSpec_OrderedListSpec{OrderedListSpec: &pipepb.OrderedListStateSpec{ElementCoderId: "str"}},
					Protocol: &pipepb.FunctionSpec{Urn: "beam:user_state:ordered_list:v1"}}
			})
		}, "Work", []string{"Work: a state that was a bag is a ordered-list now"}},
		{"a timer of the other domain", func(p pipe) {
			edit(p, "work", func(d *pipepb.ParDoPayload) {
				d.TimerFamilySpecs["event"].TimeDomain = pipepb.TimeDomain_PROCESSING_TIME
			})
		}, "Work", []string{"Work: a timer is of the other time domain now"}},
		{"a trigger", func(p pipe) { p.Components.WindowingStrategies["minute"].AllowedLateness = 5 }, "Group",
			[]string{"Group: the trigger, the accumulation mode or the allowed lateness"}},
		{"a side input of something else", func(p pipe) { rename(p, "names", "People") }, "Side", []string{"Side: its side input of Names.out is of People.out now"}},
		{"a side input more", func(p pipe) {
			p.pardo("late", withSide("iterable"), "in=u_m", "side=n", "out=u_l:kv/minute")
		}, "Late", []string{"Late: a side input of Names.out is new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := w.pipe()
			c.change(p)
			err := check(p, "")
			if len(c.say) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it was not refused")
			}
			for _, words := range append(c.say, "--allow_lost_state") {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q is not in: %v", words, err)
				}
			}
			if err := check(p, "Other,"+c.steps); err != nil {
				t.Errorf("it was allowed, and refused: %v", err)
			}
		})
	}
}

// edit changes the payload of a ParDo.
func edit(p pipe, id string, change func(*pipepb.ParDoPayload)) {
	d := &pipepb.ParDoPayload{}
	spec := p.Components.Transforms[id].Spec
	if err := proto.Unmarshal(spec.Payload, d); err != nil {
		panic(err) // the test's own
	}
	change(d)
	spec.Payload, _ = proto.Marshal(d) // as above
}

// TestARunningJobIsInspected: what it has in its state is told while it runs, by
// step and cell, and of one that was halted from its disk.
func TestARunningJobIsInspected(t *testing.T) {
	w := newWorld(t)
	dir, halt := t.TempDir(), make(chan struct{})
	w.r.submitted = func(s *jobservice.Submission) {
		s.ID, s.Dir, s.Epoch, s.Halt = "looked-at", dir, 1, halt
		w.last = s
	}
	j := w.r.startWhole(w.pipe())
	seen := func() string {
		text, err := w.r.runner.Look(w.last)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	all := []string{`"Name":"Work"`, `"Name":"bag"`, `"Timers":true`, `"Text":"batch `, `"Commits":`, `"GroupBytes":`}
	has := func() bool {
		text := seen()
		return !slices.ContainsFunc(all, func(word string) bool { return !strings.Contains(text, word) })
	}
	wait(t, "a look at all of its state", has)
	close(halt)
	if err := j.end(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if !has() {
		t.Errorf("of a job that was halted: %s", seen())
	}
}
