package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
	"fresnel/runner/store"
	"fresnel/translate"
)

// perSplit is how many elements each of the two splits of "in" has.
const perSplit = 150

// world is what a durable job reads and writes: it stays when the job is cut
// off.
type world struct {
	r              *rig
	whole, grouped *fakeSink
	counted, sided *fakeSink
	done           [2]atomic.Bool // the split was read to its end
	disk           *vfs.MemFS
	last           *jobservice.Submission
	// told is the most that a counter was told as.
	told int64
	// dead: the server was cut off, and nothing of it reaches the world.
	dead atomic.Bool
	// more adds to the pipeline, if it is not nil.
	more func(pipe) pipe
}

// newWorld has two splits of elements, one each three seconds, of three keys.
func newWorld(t *testing.T) *world {
	counter := &pipepb.MonitoringInfo{Urn: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"PTRANSFORM": "side", "NAMESPACE": "n", "NAME": "seen"}}
	w := &world{r: newRig(t, fnapitest.Infos(map[string]*pipepb.MonitoringInfo{"x": counter})), disk: vfs.NewCrashableMem()}
	w.r.runner.fs = w.disk
	w.r.options["experiments"] = []any{"sdk_workers=2"}
	w.r.source("in", &fakeSource{batches: [][][]byte{nil, nil},
		mark: func(n int) beam.EventTime { return beam.EventTime(n) * 3_000 },
		more: func(split, n int) []byte {
			if n >= perSplit {
				w.done[split].Store(true)
				return nil
			}
			return at(beam.EventTime(n)*3_000, fmt.Sprintf("s%d-%d", split, n%3), strconv.Itoa(n))
		}})
	w.r.source("names", &fakeSource{bounded: true, batches: [][][]byte{{at(0, "a", "A")}, {at(0, "b", "B")}}})
	for name, sink := range map[string]**fakeSink{"whole": &w.whole, "grouped": &w.grouped, "counted": &w.counted, "sided": &w.sided} {
		*sink = w.r.sink(name)
		(*sink).shards, (*sink).rows, (*sink).progress = 2, 5, true
		(*sink).gone = w.dead.Load
		if name != "whole" {
			(*sink).in = inMinutes
		}
	}
	w.r.do["join"] = func(c *call) error { c.in = groupedInMinutes; return joined(c) }
	w.r.do["work"] = countByMinute
	w.r.do["side"] = func(c *call) error {
		c.in = inMinutes
		n := int64(0)
		err := c.each(func(e *item) error {
			n++
			names, err := c.getAll(iterableKey("side", nil))
			return firstError(err, c.out(e.pair(e.key, e.value+valuesOfPairs(names))))
		})
		c.Response.MonitoringData = map[string][]byte{"x": coder.AppendVarInt(nil, n)}
		return err
	}
	return w
}

var (
	inMinutes        = coder.NewWindowed(pairs, coder.IntervalWindow)
	groupedInMinutes = coder.NewWindowed(groupedPairs, coder.IntervalWindow)
)

// countByMinute counts with a bag, and tells by a timer at the end of the
// window.
func countByMinute(c *call) error {
	return c.events(coder.IntervalWindow, func(e *item) error {
		window, _, err := coder.DecodeIntervalWindow(e.Windows)
		return firstError(err, firstError(c.Append(bagKey(str(e.key), e.Windows), str(e.value)),
			c.set("event", coder.Timer{Key: str(e.key), Windows: e.Windows, Fire: window.MaxTimestamp(), Hold: window.MaxTimestamp()})))
	}, func(_ string, timer *coder.Timer) error {
		all, err := c.bag(timer.Key, timer.Windows)
		kv := coder.AppendLengthPrefixed(append([]byte(nil), timer.Key...), []byte(strings.Join(all, "+")))
		el := append(coder.AppendHeader(nil, timer.Hold, 1, timer.Windows, beam.NoFiring), kv...)
		return firstError(err, c.out(el))
	})
}

func (w *world) pipe() pipe {
	p := newPipe().read("read", "in", "u_a:").
		add("minutes", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_m:kv/minute").
		read("names", "names", "n:").
		write("whole", "whole", "u_a").
		group("group", "in=u_m", "out=u_g:grouped/minute").pardo("join", nil, "in=u_g", "out=u_j:kv/minute").write("grouped", "grouped", "u_j").
		pardo("work", stateful("timer60"), "in=u_m", "out=u_c:kv/minute").write("counted", "counted", "u_c").
		pardo("side", withSide("iterable"), "in=u_m", "side=n", "out=u_s:kv/minute").write("sided", "sided", "u_s")
	if w.more != nil {
		return w.more(p)
	}
	return p
}

// run runs the job as the epoch's server: until it is cut off, with the loss of
// what was not synced, or, if cut is 0, to the end of what there is to read.
func (w *world) run(dir string, epoch int64, cut time.Duration) {
	t := w.r.t
	t.Helper()
	w.r.submitted = func(s *jobservice.Submission) {
		s.ID, s.Dir, s.Epoch, s.Resumed = beam.JobID("durable-"+strings.ReplaceAll(t.Name(), "/", "-")), dir, epoch, epoch > 1
		w.last = s
	}
	for i := range w.done {
		w.done[i].Store(false) // what was read but not committed is read again
	}
	j := w.r.start(w.pipe())
	if cut > 0 {
		time.Sleep(cut / 2)
		told := w.seen(j)
		time.Sleep(cut / 2)
		w.dead.Store(true)
		after := w.disk.CrashClone(vfs.CrashCloneCfg{})
		time.Sleep(10 * time.Millisecond) // what it still does matters to nobody
		j.cancel()
		_ = j.end()
		w.disk, w.r.runner.fs = after, after
		w.dead.Store(false)
		w.told = max(w.told, told)
		return
	}
	<-j.started
	if now := w.seen(j); now < w.told {
		t.Errorf("a counter was told as %d before the crash, and is %d", w.told, now)
	}
	wait(t, "end of the input", func() bool { return j.over() || w.done[0].Load() && w.done[1].Load() })
	close(j.drain)
	j.mustEnd()
	w.told = w.seen(j)
}

// TestAStoreThatIsGoneIsDamage: a job that had one does not begin anew without it;
// one that was cut off before it was noted that there is one does.
func TestAStoreThatIsGoneIsDamage(t *testing.T) {
	for _, gone := range []string{"store", ""} {
		t.Run("without "+filepath.Join("state", gone), func(t *testing.T) {
			w := newWorld(t)
			w.r.runner.fs = nil // the machine's
			dir := filepath.Join(t.TempDir(), "state")
			var begun atomic.Bool
			w.r.submitted = func(s *jobservice.Submission) {
				s.ID, s.Dir, s.Epoch, s.Begun = "gone", dir, 1, begun.Load()
				s.Began = func() error {
					if _, err := os.Stat(filepath.Join(dir, "store", "LOCK")); err != nil || begun.Swap(true) {
						t.Errorf("it is noted that there is a store: %v", err)
					}
					return nil
				}
				w.last = s
			}
			for range 2 { // the second finds what the first has made
				j := w.r.startWhole(w.pipe())
				wait(t, "a store", begun.Load)
				time.Sleep(20 * time.Millisecond)
				j.cancel()
				if err := j.end(); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
				t.Fatal(err)
			}
			again := w.r.startWhole(w.pipe())
			close(again.drain) // where it is taken for a new job, it ends
			again.wantError(beam.BadData, "cannot be read", "are missing", "put a copy of it in its place")
			if _, err := w.r.runner.Inspect(w.last); beam.CodeOf(err) != beam.BadData {
				t.Errorf("who looks at it is told: %v", err)
			}
			begun.Store(false)
			j := w.r.startWhole(w.pipe())
			wait(t, "a new store", begun.Load)
			j.cancel()
			_ = j.end()
		})
	}
}

// seen is the counter of side, of what it has committed.
func (w *world) seen(j *jobRun) (n int64) {
	j.mu.Lock()
	read := j.metrics
	j.mu.Unlock()
	if read == nil {
		return 0 // it has not begun
	}
	_, committed := read()
	for _, m := range committed {
		n, _, _ = coder.DecodeVarInt(m.GetPayload())
	}
	return n
}

// results are those of all sinks.
func (w *world) results() map[string][]string {
	return map[string][]string{"whole": w.whole.got(), "grouped": w.grouped.got(), "counted": w.counted.got(), "sided": w.sided.got()}
}

// TestAJobThatIsCutOffGoesOn (I10): straight, or cut off many times and gone on
// with, with much memory or none to speak of, it gives one result: sources, groupings, user state, timers, side inputs
// and outboxes go on from the same commit.
func TestAJobThatIsCutOffGoesOn(t *testing.T) {
	straight := newWorld(t)
	straight.run("", 1, 0)
	want := straight.results()
	if len(want["whole"]) != 2*perSplit || len(want["sided"]) != 2*perSplit || !strings.HasSuffix(want["sided"][0], "A+B") ||
		len(want["grouped"]) != 2*3*8 || len(want["counted"]) != 2*3*8 {
		t.Fatalf("%d, %d, %d, %d elements: %v", len(want["whole"]), len(want["grouped"]), len(want["counted"]), len(want["sided"]), brief(want["sided"]))
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			w, dir := newWorld(t), t.TempDir()
			// With room for what it has, for next to none of it, and for some.
			w.r.runner.budget = []*store.Budget{nil, store.NewBudget(-1), store.NewBudget(40_000)}[seed%3]
			cuts := 2 + r.IntN(10)
			for n := range cuts {
				w.run(dir, int64(n+1), time.Duration(5+r.IntN(120))*time.Millisecond)
			}
			w.run(dir, int64(cuts+1), 0)
			for name, got := range w.results() {
				if !slices.Equal(got, want[name]) {
					t.Errorf("%s: %d elements %v\nwant %d: %v", name, len(got), brief(got), len(want[name]), brief(want[name]))
				}
			}
			if w.told != 2*perSplit {
				t.Errorf("%d elements were counted, want %d", w.told, 2*perSplit)
			}
		})
	}
}

func TestWhereTheStateOfAJobLives(t *testing.T) {
	t.Parallel()
	scripted := &translate.Plan{Streaming: true, Stages: []*translate.Stage{{Kind: translate.TestStream}}}
	endless, bounded := &translate.Plan{Streaming: true}, &translate.Plan{}
	for _, c := range []struct {
		plan                       *translate.Plan
		server, asked, environment string
		disk                       bool
	}{
		{endless, "", "", "PROCESS", true}, {endless, "auto", "", "PROCESS", true}, {bounded, "auto", "", "PROCESS", false},
		{endless, "auto", "", "LOOPBACK", false}, {endless, "memory", "", "PROCESS", false}, {bounded, "disk", "", "PROCESS", true},
		{endless, "disk", "memory", "PROCESS", false}, {bounded, "memory", "disk", "LOOPBACK", true}, {scripted, "disk", "disk", "PROCESS", false},
	} {
		options, err := structpb.NewStruct(map[string]any{"beam:option:environment_type:v1": c.environment})
		if err != nil {
			t.Fatal(err)
		}
		if c.asked != "" {
			options.Fields["beam:option:durability:v1"] = structpb.NewStringValue(c.asked)
		}
		r := New(Config{Durability: c.server})
		if got := r.wantsDisk(jobservice.ParseOptions(options), c.plan); got != c.disk {
			t.Errorf("streaming %t, the server says %q, the user %q, %s: on disk %t", c.plan.Streaming, c.server, c.asked, c.environment, got)
		}
	}
}

// TestADurableJobStaysDurable (I10): what the next server does by default changes
// nothing. From the beginning, in memory, it would write everything twice.
func TestADurableJobStaysDurable(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.r.runner.cfg.Durability = "disk"
	w.run(dir, 1, 300*time.Millisecond)
	w.r.runner.cfg.Durability = "memory"
	w.run(dir, 2, 0)
	if got := len(w.whole.got()); got != 2*perSplit {
		t.Errorf("%d elements were written, not %d", got, 2*perSplit)
	}
}

// TestAJobThatIsCutOffCanBeInspected: what it keeps is shown, and is whole,
// wherever it was cut off; looking changes nothing.
func TestAJobThatIsCutOffCanBeInspected(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.whole.blocks = func() {} // its entries stay in the outbox
	epoch := int64(1)
	for missing := []string{""}; len(missing) > 0; epoch++ {
		w.run(dir, epoch, 400*time.Millisecond+time.Duration(epoch)*100*time.Millisecond)
		missing = w.unseen()
		if again := w.unseen(); !slices.Equal(missing, again) {
			t.Fatalf("looked at twice, without %v and without %v", missing, again)
		}
		if epoch == 60 {
			t.Fatalf("%v were never seen", missing)
		}
	}
	w.whole.blocks = nil
	w.run(dir, epoch, 0)
	if len(w.whole.got()) != 2*perSplit {
		t.Errorf("%d elements", len(w.whole.got()))
	}
}

// unseen is what the job that was cut off does not have, of all that one in its
// midst has.
func (w *world) unseen() (missing []string) {
	w.r.t.Helper()
	in, err := w.r.runner.Inspect(w.last)
	if err != nil {
		w.r.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range in.Stages {
		for _, sp := range s.Splits {
			seen["split "+sp.ID] = number(string(sp.Position)) > 0 || seen["split "+sp.ID]
		}
		for _, e := range s.Entries {
			seen[fmt.Sprint("entry ", e.N)] = len(e.Blocks) > 0
		}
		for _, st := range s.State {
			seen[fmt.Sprint(st.Name, " ", st.Timers)] = st.Entries > 0
		}
		seen["waiting"] = seen["waiting"] || s.Blocks > 0
		seen["groups"] = seen["groups"] || s.GroupBytes > 0
	}
	for _, what := range []string{"split 0", "split 1", "entry 1", "bag false", "event true", "waiting", "groups"} {
		if !seen[what] {
			missing = append(missing, what)
		}
	}
	return missing
}

// TestAStateOlderThanItsResultsIsTold: a job whose state was lost or put back would
// form other entries under numbers that are there, which then would be left out.
func TestAStateOlderThanItsResultsIsTold(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.run(dir, 1, 0)
	w.disk = vfs.NewCrashableMem()
	w.r.runner.fs = w.disk
	clear(w.r.sources["in"].told) // it reads from the beginning
	w.r.start(w.pipe()).wantError(beam.Rejected, "older than its results", "backup")
}

// TestAJobThatGoesOnOwnsItsSinksAtOnce: all shards, though there is nothing to
// write: the server before may only be paused, and is fenced when it wakes.
func TestAJobThatGoesOnOwnsItsSinksAtOnce(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	never := w.r.sink("never")
	never.shards, never.progress = 3, true
	w.r.do["drop"] = func(c *call) error { return c.each(func(*item) error { return nil }) }
	w.more = func(p pipe) pipe { return p.pardo("drop", nil, "in=u_a", "out=u_d:").write("never", "never", "u_d") }
	w.run(dir, 1, 100*time.Millisecond)
	if len(never.owners) > 0 {
		t.Errorf("a new job opened shards that it does not write to: %v", never.owners)
	}
	w.run(dir, 2, 0)
	if want := map[int]int64{0: 2, 1: 2, 2: 2}; !maps.Equal(never.owners, want) {
		t.Errorf("shards are owned by %v, want %v", never.owners, want)
	}
}

// TestASinkWithoutProgressIsOpenedAgain: a durable job may write to a sink that
// does not know what is there, since its user chose at-least-once.
func TestASinkWithoutProgressIsOpenedAgain(t *testing.T) {
	w := newWorld(t)
	w.whole.progress = false
	before := w.whole.before
	w.whole.before = func(shard int, n int64, attempt int) error {
		if n == 3 && attempt == 1 {
			return errDown
		}
		return before(shard, n, attempt)
	}
	w.run(t.TempDir(), 1, 0)
	if got := w.whole.got(); len(got) != 2*perSplit {
		t.Errorf("%d elements, want %d", len(got), 2*perSplit)
	}
}

// TestALargeSideInputOfADurableJob (I9): it is in the job's store ahead of the
// commits that add it, is read from there when memory is short, and again by a
// server that goes on.
func TestALargeSideInputOfADurableJob(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.r.runner.budget = store.NewBudget(1)
	w.r.runner.cfg.SpillDir = t.TempDir()
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
			all := strings.Split(valuesOfPairs(names), "+")
			return firstError(err, c.out(e.pair(e.key, fmt.Sprint(len(all), " to ", len(all[0])*len(all), " ", strings.TrimLeft(all[len(all)-1], "0")))))
		})
	}
	for n := range 3 {
		w.run(dir, int64(n+1), time.Duration(100+200*n)*time.Millisecond)
	}
	if _, err := w.r.runner.Inspect(w.last); err != nil {
		t.Error(err)
	}
	w.run(dir, 4, 0)
	sided := w.sided.got()
	for _, s := range sided {
		if !strings.HasSuffix(s, fmt.Sprint("=", 2*each, " to ", 2*each*size, " ", 2*each-1)) {
			t.Fatalf("an element saw %s", s)
		}
	}
	if len(sided) != 2*perSplit {
		t.Errorf("%d elements, want %d", len(sided), 2*perSplit)
	}
	if used := w.r.runner.budget.Used(); used != 0 {
		t.Errorf("%d bytes are in memory after the job", used)
	}
}
