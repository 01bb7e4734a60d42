package runner

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
	"fresnel/runner/store"
)

func TestWithoutALimitNothingIsCounted(t *testing.T) {
	t.Parallel()
	m := newMemory(newBudget(0), t.TempDir(), nil, &fullDisk{})
	if id := m.newStore().AddBlock(make([]byte, 1<<20)); id == 0 || m.budget.Over() || m.budget.Used() != 0 {
		t.Errorf("%d bytes are counted", m.budget.Used())
	}
}

func TestTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	m := newMemory(store.NewBudget(-1), t.TempDir()+"/missing", nil, &fullDisk{})
	if err := m.trouble(); err != nil {
		t.Errorf("before anything was written: %v", err)
	}
	m.newStore().AddBlock(make([]byte, 1<<20))
	if m.trouble() == nil {
		t.Error("a directory that is missing is not told")
	}
	if err := m.trouble(); err != nil {
		t.Errorf("it is told again: %v", err)
	}
}

// TestAGroupingBeyondTheLimit: a job whose data does not fit in memory gives the
// same, and leaves nothing of it behind.
func TestAGroupingBeyondTheLimit(t *testing.T) {
	const n, size, limit = 1000, 20_000, 1 << 20
	r := newRig(t)
	r.runner.budget = store.NewBudget(limit)
	r.runner.cfg.SpillDir = t.TempDir()
	var elements [][]byte
	for i := range n {
		elements = append(elements, at(beam.EventTime(i*1000), fmt.Sprint("k", i%10), strings.Repeat("x", size)))
	}
	r.do["make"] = create(elements...)
	var most atomic.Int64
	r.do["count"] = groupsIn(coder.GlobalWindow, mapping(func(e *item) [][]byte {
		most.Store(max(most.Load(), r.runner.budget.Used()))
		bytes := 0
		for _, v := range e.values {
			bytes += len(v)
		}
		return [][]byte{at(e.Timestamp, e.key, fmt.Sprint(bytes))}
	}))
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:kv/global").
		group("group", "in=a", "out=d:grouped/global").
		pardo("count", nil, "in=d", "out=e:").write("write", "out", "e")
	r.start(p).mustEnd()
	var want []string
	for k := range 10 {
		want = append(want, fmt.Sprintf("k%d=%d", k, n/10*size))
	}
	out.want(want...)
	if most.Load() > n*size/2 {
		t.Errorf("%d bytes were in memory, the limit is %d", most.Load(), limit)
	}
	if used := r.runner.budget.Used(); used != 0 {
		t.Errorf("%d bytes are in memory after the job", used)
	}
}

// TestADurableGroupingBeyondTheLimit (I10): what a durable job has grouped does not
// fit in memory either, and is there after a crash.
func TestADurableGroupingBeyondTheLimit(t *testing.T) {
	const n, size, limit = 400, 20_000, 1 << 20
	r := newRig(t)
	r.runner.budget = store.NewBudget(limit)
	r.runner.cfg.SpillDir, r.runner.cfg.KeyShards = t.TempDir(), 1
	disk := vfs.NewCrashableMem()
	r.runner.fs = disk
	dir := t.TempDir()
	var lives atomic.Int64
	r.submitted = func(s *jobservice.Submission) {
		s.ID, s.Dir, s.Epoch = "groups", dir, lives.Add(1)
		s.Resumed = s.Epoch > 1
	}
	goOn := make(chan struct{})
	r.source("in", &fakeSource{bounded: true, batches: [][][]byte{{at(0, "", "first"), at(0, "", "second")}},
		fail: func(call string, _, position int) error {
			if call == "read" && position == 1 {
				<-goOn
			}
			return nil
		}})
	r.do["make"] = func(c *call) error {
		return c.each(func(*item) error {
			for i := range n {
				if err := c.out(at(0, fmt.Sprint("k", i%10), strings.Repeat("x", size))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	r.do["count"] = groupsIn(coder.GlobalWindow, mapping(func(e *item) [][]byte {
		return [][]byte{at(e.Timestamp, e.key, fmt.Sprint(len(strings.Join(e.values, ""))))}
	}))
	out := r.sink("out")
	out.progress = true
	p := newPipe().read("read", "in", "a:").
		pardo("make", nil, "in=a", "out=c:kv/global").group("group", "in=c", "out=d:grouped/global").
		pardo("count", nil, "in=d", "out=e:").write("write", "out", "e")
	half := func(j *jobRun) {
		await(t, j.started, "start of the job")
		var g *groupExecutor
		for _, st := range j.job.stages {
			if x, ok := st.executor.(*groupExecutor); ok {
				g = x
			}
		}
		wait(t, "half of the input in the grouping", func() bool { return g.sizes[0].bytes.Load() >= n*size })
		if used := r.runner.budget.Used(); used > n*size/2 {
			t.Errorf("%d bytes are in memory, the limit is %d", used, limit)
		}
	}

	j := r.start(p)
	half(j)
	if err := j.job.journal.disk.Sync(); err != nil {
		t.Fatal(err)
	}
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	j.cancel()
	close(goOn)
	_ = j.end()
	r.runner.fs = after
	j = r.start(p)
	half(j)
	j.mustEnd()
	var want []string
	for k := range 10 {
		want = append(want, fmt.Sprintf("k%d=%d", k, 2*n/10*size))
	}
	out.want(want...)
	if used := r.runner.budget.Used(); used != 0 {
		t.Errorf("%d bytes are in memory after the job", used)
	}
}

// TestASideInputBeyondTheLimit: side inputs that do not fit in memory are read
// all the same, by iteration and by key, and leave nothing behind.
func TestASideInputBeyondTheLimit(t *testing.T) {
	const parts, each, size, limit = 10, 30, 20_000, 1 << 19
	r := newRig(t)
	r.runner.budget = store.NewBudget(limit)
	r.runner.cfg.SpillDir = t.TempDir()
	elements, _ := numbers(parts)
	r.do["make"] = create(elements...)
	r.do["makeSide"] = func(c *call) error {
		return c.each(func(e *item) error {
			for i := range each {
				if err := c.out(at(0, fmt.Sprint("key", i), e.value+strings.Repeat("x", size))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var most atomic.Int64
	r.do["iterate"] = func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("iterate", nil))
			most.Store(max(most.Load(), r.runner.budget.Used()))
			return firstError(err, c.out(at(0, e.value, fmt.Sprint(strings.Count(valuesOfPairs(data), "x")))))
		})
	}
	r.do["look"] = func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(multimapKey("look", "key7"))
			most.Store(max(most.Load(), r.runner.budget.Used()))
			return firstError(err, c.out(at(0, e.value, fmt.Sprint(strings.Count(string(data), "x")))))
		})
	}
	out, out2 := r.sink("out"), r.sink("out2")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		reshuffle("spreadSide", "in=a", "out=f:").pardo("makeSide", nil, "in=f", "out=s:").
		reshuffle("spread", "in=a", "out=b:").
		pardo("iterate", withSide("iterable"), "in=b", "side=s", "out=c:").write("write", "out", "c").
		reshuffle("again", "in=a", "out=d:").
		pardo("look", withSide("multimap"), "in=d", "side=s", "out=e:").write("write2", "out2", "e")
	r.start(p).mustEnd()
	var want, want2 []string
	for i := range parts {
		want = append(want, fmt.Sprintf("%d=%d", i, parts*each*size))
		want2 = append(want2, fmt.Sprintf("%d=%d", i, parts*size))
	}
	out.want(want...)
	out2.want(want2...)
	if got := most.Load(); got == 0 || got > 4*limit {
		t.Errorf("%d bytes were in memory, the limit is %d", got, limit)
	}
	if used := r.runner.budget.Used(); used != 0 {
		t.Errorf("%d bytes are in memory after the job", used)
	}
}

// TestASlowStageSlowsItsSource (I9): an endless source that is faster than what is
// behind it waits, so that no more is pending than may be.
func TestASlowStageSlowsItsSource(t *testing.T) {
	const batches, size, pending = 300, 100_000, 1 << 20
	r := newRig(t)
	r.runner.cfg.MaxPendingBytes = pending
	var read, worked, most atomic.Int64
	value := strings.Repeat("x", size)
	r.source("in", &fakeSource{batches: [][][]byte{nil}, mark: func(int) beam.EventTime { return 0 },
		more: func(_, n int) []byte {
			if n >= batches {
				return nil
			}
			most.Store(max(most.Load(), read.Add(1)-worked.Load()))
			return at(0, "key", value)
		}})
	all := make(chan struct{})
	r.do["work"] = mapping(func(*item) [][]byte {
		time.Sleep(5 * time.Millisecond) // longer than to make an element
		if worked.Add(1) == batches {
			close(all)
		}
		return nil
	})
	j := r.start(newPipe().read("read", "in", "a:").pardo("work", nil, "in=a", "out=b:"))
	await(t, all, "the end of the input")
	close(j.drain)
	<-j.done
	if got := most.Load() * size; got == 0 || got > 8*pending {
		t.Errorf("%d bytes were pending, %d may be", got, pending)
	}
}

// TestTheBudgetIsOfWhatTheProgramLeaves (I9).
func TestTheBudgetIsOfWhatTheProgramLeaves(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]int64{20 << 20: 3 << 20, 128 << 20: 24 << 20, 1048 << 20: 300 << 20} {
		if got := newBudget(limit).Limit(); got != want {
			t.Errorf("of %d bytes data may have %d, want %d", limit, got, want)
		}
	}
}
