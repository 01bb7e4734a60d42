package engine

import (
	"slices"
	"testing"
	"time"

	"fresnel/internal/beam"
)

// workshop plays harnesses in virtual time, to see how bundling behaves: each
// worker is one interpreter that its bundles share, a bundle costs fixed work
// whatever is in it, and its response comes some time after its work is done.
type workshop struct {
	engine  *Engine
	now     time.Duration
	wake    time.Duration // 0 for none
	running []*job
	state   State

	fixed, response time.Duration
	// element is the work of one, by stage; waits tells whether it is waiting
	// rather than computing, parallel whether a core is there for each bundle.
	element         map[int]time.Duration
	waits, parallel bool
	// emit tells what a bundle leaves; arrivals come from outside, through a source
	// that never ends.
	emit    func(b Bundle) Outcome
	lastID  BlockID
	born    map[BlockID]time.Duration
	busy    map[int]time.Duration
	bundles []Bundle
	latency []time.Duration
	// size is that of an element, 100 bytes if zero.
	size   int
	splits int
	// splittable harnesses split when asked, in the middle of what is left.
	splittable bool
	// cpu is what each worker has computed; unseen: the engine is not told.
	cpu    map[int]time.Duration
	unseen bool
}

// job is a bundle at work.
type job struct {
	Bundle
	left  time.Duration // of its work
	done  time.Duration // when the response comes, once the work is done
	began time.Duration
}

var workshopStart = time.Unix(0, 0)

func newWorkshop(t *testing.T, spec Spec) *workshop {
	t.Helper()
	e, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return &workshop{engine: e, fixed: 2 * time.Millisecond, response: 1600 * time.Microsecond,
		element: map[int]time.Duration{}, cpu: map[int]time.Duration{}, born: map[BlockID]time.Duration{}, busy: map[int]time.Duration{}}
}

func (w *workshop) step(ev Event) {
	ev.Now = workshopStart.Add(w.now)
	r := w.engine.Step(ev)
	w.state, w.wake = r.State, 0
	if !r.Wake.IsZero() {
		w.wake = r.Wake.Sub(workshopStart)
	}
	for _, b := range r.Start {
		if w.engine.stages[b.Stage].Role == Source {
			continue // the test answers it
		}
		w.bundles = append(w.bundles, b)
		w.running = append(w.running, &job{Bundle: b, began: w.now,
			left: w.fixed + time.Duration(elements(b))*w.element[b.Stage]})
	}
	for _, pool := range r.Loads {
		w.step(Event{WorkerLoads: w.loads(pool)})
	}
	for _, s := range r.Splits {
		w.splits++
		for _, j := range w.running {
			if j.ID == s.Bundle && w.splittable {
				w.step(Event{SplitDone: w.split(j)})
				break
			}
		}
	}
}

// loads are the CPU times of a pool's workers, in the steps in which systems count.
func (w *workshop) loads(pool int) *WorkerLoads {
	ev := &WorkerLoads{Pool: pool}
	for _, worker := range w.engine.pools[pool].workers {
		if worker == nil {
			continue
		}
		l := WorkerLoad{Worker: worker.id, CPU: w.cpu[worker.id].Truncate(10 * time.Millisecond)}
		if w.unseen {
			l.CPU = -1
		}
		ev.Loads = append(ev.Loads, l)
	}
	return ev
}

// split gives half of the elements that a job has not begun back.
func (w *workshop) split(j *job) *SplitDone {
	ev := &SplitDone{Bundle: j.ID}
	left := int(j.left / w.element[j.Stage])
	if left < 2 {
		return ev
	}
	ev.Accepted = true
	keep := elements(j.Bundle) - left/2
	j.left -= time.Duration(left/2) * w.element[j.Stage]
	j.Work = slices.Clone(j.Work)
	for i := range j.Work {
		s := &j.Work[i]
		primary, residual := ShardBlocks{Shard: s.Shard}, ShardBlocks{Shard: s.Shard}
		for _, in := range s.Blocks {
			n := in.Block.Count
			head := min(max(keep, 0), n)
			keep -= n
			primary.Blocks = append(primary.Blocks, w.part(in, head)...)
			residual.Blocks = append(residual.Blocks, w.part(in, n-head)...)
		}
		if len(residual.Blocks) > 0 {
			ev.Primary, ev.Residual = append(ev.Primary, primary), append(ev.Residual, residual)
			s.Blocks = primary.Blocks
		}
	}
	return ev
}

// part is a block with n of another one's elements.
func (w *workshop) part(in InputBlock, n int) []InputBlock {
	switch n {
	case 0:
		return nil
	case in.Block.Count:
		return []InputBlock{in}
	}
	b := w.block(n)
	w.born[b.ID] = w.born[in.Block.ID]
	return []InputBlock{{Input: in.Input, Block: b}}
}

func elements(b Bundle) int {
	n := 0
	for _, s := range b.Work {
		for _, in := range s.Blocks {
			n += in.Block.Count
		}
	}
	return n
}

// block makes a block that was born now.
func (w *workshop) block(n int) Block {
	w.lastID++
	w.born[w.lastID] = w.now
	size := w.size
	if size == 0 {
		size = 100
	}
	return Block{ID: w.lastID, Count: n, Bytes: size * n, MinTime: 0, Hold: 0}
}

// arrive has the source's running bundle bring blocks, one for each shard given.
func (w *workshop) arrive(edge int, blocks map[int]int) {
	var out Outcome
	for shard := range 1024 {
		if n := blocks[shard]; n > 0 {
			out.Outputs = append(out.Outputs, Output{Edge: edge, Shard: shard, Block: w.block(n)})
		}
	}
	out.Sources = []SourceProgress{{Output: -1, Watermark: beam.MinEventTime}}
	for id, b := range w.engine.bundles {
		if b.stage.Role == Source {
			w.step(Event{BundleDone: &BundleDone{Bundle: id, Outcome: out}})
			return
		}
	}
}

// fill has blocks of n elements arrive for each of the shards, so many times.
func (w *workshop) fill(times, shards, n int) {
	blocks := map[int]int{}
	for shard := range shards {
		blocks[shard] = n
	}
	for range times {
		w.arrive(0, blocks)
	}
}

// until lets the workers work until a time.
func (w *workshop) until(end time.Duration) {
	for w.now < end {
		next := w.nextEvent(end)
		w.work(next - w.now)
		w.now = next
		w.finish()
		if w.wake > 0 && w.wake <= w.now {
			w.step(Event{})
		}
	}
}

// share is the number of jobs that share the interpreter with a job at work.
func (w *workshop) share(j *job) int {
	if w.waits || w.parallel {
		return 1
	}
	n := 0
	for _, o := range w.running {
		if o.Worker == j.Worker && o.left > 0 {
			n++
		}
	}
	return n
}

func (w *workshop) nextEvent(end time.Duration) time.Duration {
	next := end
	if w.wake > w.now {
		next = min(next, w.wake)
	}
	for _, j := range w.running {
		if j.left > 0 {
			next = min(next, w.now+time.Duration(int(j.left)*w.share(j)))
		} else {
			next = min(next, j.done)
		}
	}
	return max(next, w.now+1)
}

func (w *workshop) work(dt time.Duration) {
	shares := make([]int, len(w.running))
	seen := map[int]bool{}
	for i, j := range w.running {
		shares[i] = w.share(j)
		seen[j.Worker] = true
	}
	for id := range seen {
		w.busy[id] += dt
		w.cpu[id] += w.computed(id, dt)
	}
	for i, j := range w.running {
		if j.left <= 0 {
			continue
		}
		if j.left -= dt / time.Duration(shares[i]); j.left <= time.Duration(len(w.running)) {
			j.left, j.done = 0, w.now+dt+w.response
		}
	}
}

// computed is the CPU time that a worker takes in dt.
func (w *workshop) computed(id int, dt time.Duration) time.Duration {
	n := 0
	for _, j := range w.running {
		if j.Worker == id && j.left > 0 {
			n++
		}
	}
	switch {
	case w.waits:
		return 0
	case w.parallel:
		return dt * time.Duration(n)
	}
	return dt * time.Duration(min(n, 1))
}

func (w *workshop) finish() {
	for _, j := range slices.Clone(w.running) {
		if j.left > 0 || j.done > w.now {
			continue
		}
		w.running = slices.DeleteFunc(w.running, func(o *job) bool { return o == j })
		var out Outcome
		if w.emit != nil {
			out = w.emit(j.Bundle)
		}
		if len(out.Outputs) == 0 {
			w.arrived(j.Bundle)
		}
		out.Elapsed = w.now - j.began
		w.step(Event{BundleDone: &BundleDone{Bundle: j.ID, Outcome: out}})
	}
}

// arrived notes the latency of what has come to its end.
func (w *workshop) arrived(b Bundle) {
	for _, s := range b.Work {
		for _, in := range s.Blocks {
			for range in.Block.Count {
				w.latency = append(w.latency, w.now-w.born[in.Block.ID])
			}
		}
	}
}

func (w *workshop) percentile(p int) time.Duration {
	slices.Sort(w.latency)
	return w.latency[(len(w.latency)-1)*p/100]
}

// oneStage is a source that a test feeds and a harness stage.
func oneStage(exclusive, streaming bool, shards, slots int) Spec {
	return Spec{
		Pools: []PoolSpec{{Name: "go", Native: true, Slots: 2}, {Name: "py", Slots: slots}},
		Stages: []StageSpec{
			{Name: "read", Role: Source, Shards: 1, Outputs: 1},
			{Name: "map", Pool: 1, Shards: shards, Exclusive: exclusive, Outputs: 1, Splittable: true},
		},
		Edges:   []EdgeSpec{{From: 0, To: 1}},
		Options: Options{Streaming: streaming, TargetBundle: 300 * time.Millisecond},
	}
}

func (w *workshop) up(workers ...int) {
	w.step(Event{})
	for _, id := range workers {
		w.step(Event{WorkerUp: &WorkerUp{Pool: 1, Worker: id}})
	}
}

// trickle feeds n elements a second for d, dealt to shards in turn.
func (w *workshop) trickle(perSecond int, d time.Duration, shards int) {
	gap := time.Second / time.Duration(perSecond)
	for i := range int(d / gap) {
		w.arrive(0, map[int]int{i * 7 % shards: 1})
		w.until(w.now + gap)
	}
}

func TestTrickleLeavesAtOnce(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		w := newWorkshop(t, oneStage(exclusive, true, 16, 2))
		w.up(1)
		w.trickle(100, 2*time.Second, 16)
		if p := w.percentile(99); p > 4*time.Millisecond {
			t.Errorf("at 100/s p99 is %v, a bundle takes 3.6 ms", p)
		}
	}
}

func TestTrickleLeavesTheWorkerRoom(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		w := newWorkshop(t, oneStage(exclusive, true, 16, 2))
		w.element[1] = 5 * time.Microsecond
		w.up(1)
		w.trickle(1000, 5*time.Second, 16)
		busy := float64(w.busy[1]) / float64(w.now)
		t.Logf("exclusive %v: busy %.0f %%, %d bundles, p50 %v, p99 %v", exclusive, 100*busy, len(w.bundles),
			w.percentile(50), w.percentile(99))
		if busy > 0.8 {
			t.Errorf("at 1000/s the worker is busy %.0f %% of the time", 100*busy)
		}
		if p := w.percentile(99); p > 12*time.Millisecond {
			t.Errorf("at 1000/s p99 is %v", p)
		}
	}
}

// TestBatchSizes: a million elements go in few bundles of about the target time,
// shared fairly between the workers.
func TestBatchSizes(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		w := newWorkshop(t, oneStage(exclusive, false, 32, 2))
		w.element[1] = 3 * time.Microsecond
		w.up(1, 2)
		w.fill(32, 32, 1000)
		w.until(10 * time.Second)
		all := 0
		for _, b := range w.bundles {
			all += elements(b)
		}
		end := w.percentile(100)
		t.Logf("exclusive %v: %d elements in %d bundles, busy %v, all done after %v", exclusive, all,
			len(w.bundles), w.busy, end)
		if all != 32*32*1000 || len(w.bundles) > 60 {
			t.Errorf("%d bundles for %d elements", len(w.bundles), all)
		}
		if ideal := 32 * 32 * 1000 * 3 * time.Microsecond / 2; end > ideal*11/10+20*time.Millisecond {
			t.Errorf("done after %v, the work is %v for each worker", end, ideal)
		}
	}
}

// twoStages has a Reshuffle between two harness stages; the second one may own
// state.
func twoStages(exclusive, streaming bool) Spec {
	s := oneStage(false, streaming, 16, 2)
	s.Stages = append(s.Stages, StageSpec{Name: "second", Pool: 1, Shards: 16, Exclusive: exclusive})
	s.Edges = append(s.Edges, EdgeSpec{From: 1, To: 2})
	return s
}

// passOn has the first stage emit a block for each of its own, dealt in turn.
func (w *workshop) passOn(b Bundle) Outcome {
	var out Outcome
	if b.Stage != 1 {
		return out
	}
	for _, s := range b.Work {
		for _, in := range s.Blocks {
			block := w.block(in.Block.Count)
			w.born[block.ID] = w.born[in.Block.ID]
			out.Outputs = append(out.Outputs, Output{Edge: 1, Shard: int(block.ID) % 16, Block: block})
		}
	}
	return out
}

func TestTrickleThroughTwoStages(t *testing.T) {
	for _, c := range []struct {
		perSecond int
		workers   []int
		p50, p99  time.Duration
	}{
		{100, []int{1}, 8 * time.Millisecond, 12 * time.Millisecond},
		{500, []int{1}, 14 * time.Millisecond, 30 * time.Millisecond},
		{5000, []int{1, 2}, 14 * time.Millisecond, 30 * time.Millisecond},
	} {
		for _, exclusive := range []bool{false, true} {
			w := newWorkshop(t, twoStages(exclusive, true))
			w.element[1], w.element[2] = 5*time.Microsecond, 20*time.Microsecond
			w.emit = w.passOn
			w.up(c.workers...)
			w.trickle(c.perSecond, 3*time.Second, 16)
			t.Logf("%d/s, exclusive %v: p50 %v, p99 %v, %d bundles, busy %v", c.perSecond, exclusive,
				w.percentile(50), w.percentile(99), len(w.bundles), w.busy)
			if w.percentile(50) > c.p50 || w.percentile(99) > c.p99 {
				t.Errorf("%d/s, exclusive %v: p50 %v, p99 %v", c.perSecond, exclusive, w.percentile(50), w.percentile(99))
			}
		}
	}
}

// TestKeysAreGathered: in a bounded job, a stage with state sees each of its
// shards in few bundles, although what is upstream takes many; and no worker
// idles for that.
func TestKeysAreGathered(t *testing.T) {
	for _, workers := range [][]int{{1}, {1, 2}} {
		w := newWorkshop(t, twoStages(true, false))
		w.element[1], w.element[2] = 100*time.Microsecond, 100*time.Microsecond
		w.emit = w.passOn
		w.up(workers...)
		w.fill(10, 16, 100)
		w.until(10 * time.Second)
		visits := 0
		for _, b := range w.bundles {
			if b.Stage == 2 {
				visits += len(b.Work)
			}
		}
		end, ideal := w.percentile(100), 16*10*100*200*time.Microsecond/time.Duration(len(workers))
		t.Logf("%d workers: %d visits of 16 shards, done after %v, ideally %v", len(workers), visits, end, ideal)
		if visits > 32*len(workers) {
			t.Errorf("%d workers: %d visits of 16 shards", len(workers), visits)
		}
		if len(w.latency) != 16000 || end > ideal*12/10 {
			t.Errorf("%d workers: %d elements done after %v", len(workers), len(w.latency), end)
		}
	}
}

// TestWaitingCode: elements that wait get more bundles in flight, so that many
// wait at once, whatever bundles they were first put in.
func TestWaitingCode(t *testing.T) {
	for _, slots := range []int{2, 8} {
		for _, n := range []int{4, 50} { // elements of a block
			w := newWorkshop(t, oneStage(false, false, 4, slots))
			w.element[1], w.waits, w.splittable = 20*time.Millisecond, true, true
			w.up(1)
			for range 50 / n {
				w.arrive(0, map[int]int{0: n, 1: n, 2: n, 3: n})
			}
			w.until(5 * time.Second)
			end, most := w.percentile(100), 1100*time.Millisecond
			t.Logf("%d slots: %d elements done after %v, %d bundles, %d splits", slots, len(w.latency), end, len(w.bundles), w.splits)
			if len(w.latency) != 50/n*n*4 || end > most {
				t.Errorf("%d slots: %d elements done after %v", slots, len(w.latency), end)
			}
		}
	}
}

// TestCodeThatWaitsForLong: where all is in two bundles, neither of which ends for minutes, they are
// split to wait at once.
func TestCodeThatWaitsForLong(t *testing.T) {
	w := newWorkshop(t, oneStage(false, false, 4, 2))
	w.element[1], w.waits, w.splittable = 10*time.Second, true, true
	w.up(1)
	w.arrive(0, map[int]int{0: 25, 1: 25, 2: 25, 3: 25})
	w.until(10 * time.Minute)
	end, most := w.percentile(100), 80*time.Second // 16 at once would take 63
	t.Logf("%d elements done after %v, %d bundles, %d splits", len(w.latency), end, len(w.bundles), w.splits)
	if len(w.latency) != 100 || end > most {
		t.Errorf("%d elements done after %v", len(w.latency), end)
	}
}

// TestComputingCode: elements that take long because they compute do not.
func TestComputingCode(t *testing.T) {
	w := newWorkshop(t, oneStage(false, false, 4, 2))
	w.element[1], w.splittable = 20*time.Millisecond, true
	w.up(1)
	crowded, bundles := 0, 0
	w.emit = func(Bundle) Outcome {
		if bundles++; len(w.running) > 1 {
			crowded++ // more than one beside it
		}
		return Outcome{}
	}
	for range 50 {
		w.arrive(0, map[int]int{0: 4, 1: 4, 2: 4, 3: 4})
	}
	w.until(30 * time.Second)
	end, ideal := w.percentile(100), 800*20*time.Millisecond
	t.Logf("%d elements done after %v, ideally %v, %d bundles, %d crowded", len(w.latency), end, ideal, bundles, crowded)
	if len(w.latency) != 800 || end > ideal*11/10 || crowded > bundles/3 {
		t.Errorf("%d elements done after %v, ideally %v", len(w.latency), end, ideal)
	}
}

// TestLargeElementsTakeLong: that 1 MB takes some milliseconds is no sign of code
// that waits, unless it is far more than that.
func TestLargeElementsTakeLong(t *testing.T) {
	for _, c := range []struct {
		element time.Duration
		waits   bool
		most    int // bundles at once
	}{{6 * time.Millisecond, false, 2}, {40 * time.Millisecond, true, maxWidth}} {
		w := newWorkshop(t, oneStage(false, false, 4, 2))
		w.element[1], w.waits, w.size = c.element, c.waits, 1<<20
		w.up(1)
		most := 0
		w.emit = func(Bundle) Outcome {
			most = max(most, len(w.running)+1)
			return Outcome{}
		}
		for range 50 {
			w.arrive(0, map[int]int{0: 4, 1: 4, 2: 4, 3: 4})
		}
		w.until(30 * time.Second)
		if len(w.latency) != 800 || most > c.most || c.waits && most <= 2 {
			t.Errorf("elements of 1 MB and %v: %d done, %d bundles at once", c.element, len(w.latency), most)
		}
	}
}

// TestComputingCodeIsNotCrowded: threads that compute take turns, which costs
// where all cores are busy. Few bundles try whether they wait, however long their
// elements take.
func TestComputingCodeIsNotCrowded(t *testing.T) {
	for _, element := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond} {
		w := newWorkshop(t, oneStage(false, false, 16, 2))
		w.element[1], w.splittable = element, true
		w.up(1, 2)
		w.fill(31, 16, 1)
		looks, running := 0, 0
		for len(w.latency) < 31*16 && w.now < time.Minute {
			w.until(w.now + 5*time.Millisecond)
			looks, running = looks+1, running+len(w.running)
		}
		if each := float64(running) / float64(2*looks); each > 3.5 {
			t.Errorf("elements of %v: %.1f bundles in flight of each worker", element, each)
		}
	}
}

// TestWaitingCodeLeavesRoom: while a stage waits, one that computes has its turn.
func TestWaitingCodeLeavesRoom(t *testing.T) {
	spec := twoStages(false, true)
	spec.Stages = append(spec.Stages, StageSpec{Name: "other", Role: Source, Shards: 1, Outputs: 1})
	spec.Edges = append(spec.Edges, EdgeSpec{From: 3, To: 2})
	w := newWorkshop(t, spec)
	w.element[1], w.element[2], w.waits = 50*time.Millisecond, time.Millisecond, true
	w.up(1)
	for range 800 {
		w.feed(0, 0, 20)
	}
	w.until(time.Second)
	w.latency = nil
	for range 50 {
		w.feed(3, 2, 100)
		w.until(w.now + 200*time.Millisecond)
	}
	short := 0
	for _, l := range w.latency {
		if l < 250*time.Millisecond {
			short++
		}
	}
	t.Logf("%d of 5000 elements are through in time", short)
	if short < 4500 {
		t.Errorf("only %d of 5000 elements are through in time", short)
	}
}

// TestSkew: if all the work is in shards of one worker, they move.
func TestSkew(t *testing.T) {
	w := newWorkshop(t, oneStage(true, false, 16, 2))
	w.element[1] = 50 * time.Microsecond
	w.up(1, 2)
	for range 20 {
		blocks := map[int]int{}
		for shard := range 16 {
			if w.engine.stages[1].shards[shard].home == 0 {
				blocks[shard] = 500
			}
		}
		w.arrive(0, blocks)
	}
	w.until(10 * time.Second)
	all, end := len(w.latency), w.percentile(100)
	ideal := time.Duration(all) * 50 * time.Microsecond / 2
	t.Logf("%d elements done after %v, ideally %v; %d bundles", all, end, ideal, len(w.bundles))
	if end > ideal*13/10 {
		t.Errorf("done after %v, ideally %v", end, ideal)
	}
}

// TestLongBundleDelaysNobody: while one element takes ten seconds, the other
// shards go on elsewhere.
func TestLongBundleDelaysNobody(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		w := newWorkshop(t, oneStage(exclusive, true, 8, 1))
		w.up(1, 2)
		w.arrive(0, map[int]int{0: 1})
		w.running[0].left = 10 * time.Second
		w.until(10 * time.Millisecond)
		for range 200 {
			w.arrive(0, map[int]int{1: 1, 2: 1, 5: 1, 6: 1})
			w.until(w.now + 20*time.Millisecond)
		}
		if !exclusive {
			// A commit waits for the order of its own shard only; here they share bundles,
			// but not with the long one.
			t.Logf("p50 %v", w.percentile(50))
		}
		if p := w.percentile(99); p > 70*time.Millisecond {
			t.Errorf("exclusive %v: p99 %v", exclusive, p)
		}
	}
}

// TestNobodyStarves: a stage upstream goes on although one downstream always has
// work that would not end.
func TestNobodyStarves(t *testing.T) {
	spec := twoStages(false, false)
	spec.Stages = append(spec.Stages, StageSpec{Name: "flood", Role: Source, Shards: 1, Outputs: 1})
	spec.Edges = append(spec.Edges, EdgeSpec{From: 3, To: 2})
	spec.Options.MaxBundleElements = 100
	w := newWorkshop(t, spec)
	w.element[1], w.element[2] = time.Millisecond, time.Millisecond
	w.up(1)
	first := 0
	for i := range 200 {
		w.feed([]int{0, 3}[i%2], []int{0, 2}[i%2], 100)
		w.until(w.now + 50*time.Millisecond)
	}
	for _, b := range w.bundles {
		if b.Stage == 1 {
			first++
		}
	}
	t.Logf("%d of %d bundles are of the first stage", first, len(w.bundles))
	if first*20 < len(w.bundles) {
		t.Errorf("only %d of %d bundles are of the stage upstream", first, len(w.bundles))
	}
}

// feed has a source bring a block of n elements on an edge.
func (w *workshop) feed(source, edge, n int) {
	for id, b := range w.engine.bundles {
		if b.stage.index == source {
			w.step(Event{BundleDone: &BundleDone{Bundle: id, Outcome: Outcome{
				Outputs: []Output{{Edge: edge, Block: w.block(n)}},
				Sources: []SourceProgress{{Output: -1, Watermark: beam.MinEventTime}}}}})
			return
		}
	}
}

// TestAStageHasItsOwnCap: of bundles, in elements, where no block has more.
func TestAStageHasItsOwnCap(t *testing.T) {
	spec := oneStage(true, false, 4, 1)
	spec.Stages[1].MaxElements = 50
	w := newWorkshop(t, spec)
	w.element[1] = time.Microsecond
	w.up(1)
	for i := range 200 {
		w.arrive(0, map[int]int{i % 4: 10})
	}
	w.until(10 * time.Second)
	most, all := 0, 0
	for _, b := range w.bundles {
		n := elements(b)
		most, all = max(most, n), all+n
	}
	if most != 50 || all != 2000 {
		t.Errorf("%d elements in bundles of %d at most", all, most)
	}
}
