package engine

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
)

var simRuns = flag.Int("simruns", defaultSimRuns, "random plans that TestSimulation runs")
var simSeed = flag.Uint64("simseed", 0, "first seed of TestSimulation")

func TestSimulation(t *testing.T) {
	for part := range 4 {
		t.Run(fmt.Sprintf("part=%d", part), func(t *testing.T) {
			t.Parallel()
			simulateFrom(t, *simSeed+uint64(part))
		})
	}
}

// simulateFrom runs every fourth seed.
func simulateFrom(t *testing.T, first uint64) {
	for seed := first; seed < *simSeed+uint64(*simRuns); seed += 4 {
		if err := simulate(seed, intact); err != nil {
			t.Fatalf("-simseed %d -simruns 1: %v\n%v", seed, err, newSimPlan(rand.New(rand.NewPCG(seed, 1))))
		}
	}
}

// TestMutations proves that the simulation notices when a check is missing.
func TestMutations(t *testing.T) {
	for m, want := range map[mutation]string{
		emitEarly: "I1", reverseCommits: "I2", ignoreDurable: "I3", shareShards: "I4",
		ignoreHolds: "I5", ignorePending: "I5", ignoreFlight: "I5", moveBack: "I5: the output of",
		ignoreSplits: "I6", freeEarly: "I8", runAhead: "I12", commitAnyOrder: "I13", queueResiduals: "I13",
		loseSplit: "I2", reformEntries: "outbox", loseHolds: "I5", delayProgress: "I5", loseGates: "I10",
		reorderSplit: "I13", loseFloor: "I5", loseDrain: "I2", overtake: "I13", ignoreGates: "I10", ignoreRest: "rest", ignoreOutbox: "outbox", mixShards: "bundle",
		hurryEarly: "I1", keepFallen: "I1", earlyUnstable: "I3", earlyShared: "I4", earlyBehind: "I13", earlyDeep: "early",
	} {
		t.Run(fmt.Sprint(m), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(4000) {
				if err := simulate(seed, m); err != nil && strings.HasPrefix(err.Error(), want) {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("nobody notices")
		})
	}
}

// simulate runs the plan of a seed and compares it with the model.
func simulate(seed uint64, broken mutation) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	plan := newSimPlan(rng)
	if broken >= loseSplit {
		plan.options.Durable = true
	}
	s, err := newSim(plan, rng)
	if err != nil {
		return err
	}
	if broken >= loseSplit {
		s.crashes += 20
	}
	s.engine.broken = broken
	if s.run(); s.err != nil {
		return s.err
	}
	s.cutBatches() // those that a drain has left unread
	want := plan.model()
	for i, st := range plan.stages {
		if d := diff(s.sinks[i], want[i]); st.kind == simSink && d != "" {
			return fmt.Errorf("I10: %s %s", st.spec.Name, d)
		}
	}
	return nil
}

// sim is a runner for random plans: it drives an engine, executes its bundles
// in random order, lets some fail, and checks what the engine decides.
type sim struct {
	rng    *rand.Rand
	plan   *simPlan
	engine *Engine
	now    time.Time
	state  State
	wake   time.Time
	err    error

	blocks    map[BlockID]*simBlock
	lastBlock BlockID
	gates     map[simGate]GateID
	named     map[simGate]bool
	states    [][]*simState                // committed, by stage and shard
	side      [][]map[beam.EventTime]int64 // committed, by stage and input
	sinks     map[int][]elem               // written
	outbox    map[[2]int]*Entry            // outstanding
	entries   map[[2]int]int64             // formed
	order     map[simOrder]int             // last seq that came by
	pending   [][]simPending               // what each stage has not consumed
	after     map[simArrival]CommitSeq     // the commit that brought it
	running   []*simBundle                 // in flight
	finished  map[BundleID]*execution      // reported, not committed
	done      map[BundleID]*simBundle      // their bundles
	committed map[BundleID]bool
	failed    []*simBundle             // to be tried again
	asked     []SplitRequest           // not answered
	wanted    []int                    // pools whose loads are, not answered
	took      map[[2]int]time.Duration // by workers, of CPU time
	told      time.Time                // when that was told
	workers   map[[2]int]bool          // that are up
	old       []BundleID               // for late answers
	input     []beam.EventTime
	output    [][]beam.EventTime // of the step before
	faults    int                // left
	leaving   [][2]int           // workers
	draining  bool
	drains    bool // at some time
	seq       CommitSeq
	durable   CommitSeq

	past     []*simPast        // what a crash may come back to, the first commit durable
	image    map[string][]byte // before that
	crashes  int               // left
	halts    int               // left
	resent   map[[2]int]bool   // entries since the last crash
	written  map[[2]int]written
	lastGate GateID
	// checkpoint tells what kind of split is being answered.
	checkpoint bool
}

// written is the last entry that a sink's shard has.
type written struct {
	n     int64
	elems []elem
}

type simBlock struct {
	elems []elem
	meta  Block
	freed bool
}

type simGate struct {
	stage, input int
	end          beam.EventTime
}

// simPending is a block in a stage, counted until it is consumed.
type simPending struct {
	block BlockID
	shard int
	hold  beam.EventTime
}

type simArrival struct {
	stage, shard int
	block        BlockID
}

type simOrder struct {
	stage, shard  int
	origin, trail uint64
}

// simBundle is a bundle in flight, with what it saw at its start.
type simBundle struct {
	Bundle
	work   []ShardWork
	began  time.Time
	states map[int]*simState
	sides  []map[beam.EventTime]int64
	// x is what it has put out, once it has told; producer is the bundle on whose
	// outputs it has started early.
	x        *execution
	producer *simBundle
}

func newSim(plan *simPlan, rng *rand.Rand) (*sim, error) {
	engine, err := New(plan.spec())
	if err != nil {
		return nil, err
	}
	s := &sim{rng: rng, plan: plan, engine: engine, now: time.Unix(5000, 0),
		blocks: map[BlockID]*simBlock{}, gates: map[simGate]GateID{}, named: map[simGate]bool{},
		sinks: map[int][]elem{}, outbox: map[[2]int]*Entry{}, entries: map[[2]int]int64{},
		order: map[simOrder]int{}, after: map[simArrival]CommitSeq{}, workers: map[[2]int]bool{},
		finished: map[BundleID]*execution{}, done: map[BundleID]*simBundle{}, committed: map[BundleID]bool{}, faults: rng.IntN(12),
		drains: rng.IntN(5) == 0, image: map[string][]byte{}, resent: map[[2]int]bool{},
		written: map[[2]int]written{}, took: map[[2]int]time.Duration{}}
	if plan.options.Durable {
		s.crashes = rng.IntN(6)
		s.halts = rng.IntN(4)
	}
	s.pending = make([][]simPending, len(plan.stages))
	for _, st := range plan.stages {
		var states []*simState
		for range st.spec.Shards {
			states = append(states, newSimState())
		}
		var sides []map[beam.EventTime]int64
		for range st.sides {
			sides = append(sides, map[beam.EventTime]int64{})
		}
		s.states = append(s.states, states)
		s.side = append(s.side, sides)
		s.input = append(s.input, beam.MinEventTime)
		s.output = append(s.output, slices.Repeat([]beam.EventTime{beam.MinEventTime}, st.spec.Outputs))
	}
	return s, nil
}

func (s *sim) failf(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// run goes on until the job ends, or something is wrong.
func (s *sim) run() {
	s.step(Event{})
	for n := 0; s.err == nil && (s.state < Done || s.state == Halted); n++ {
		if s.state == Halted {
			s.checkHalted()
			s.crashAt(len(s.past))
			continue
		}
		if n > 30000 {
			s.failf("does not end:\n%s", s.engine.Explain())
			return
		}
		s.next()
	}
	if s.err == nil {
		s.checkEnd()
	}
}

// next lets one thing happen, of those that can.
func (s *sim) next() {
	var can []func()
	may := func(weight int, yes bool, f func()) {
		for range weight {
			if yes {
				can = append(can, f)
			}
		}
	}
	may(6, len(s.running) > 0, s.finish)
	may(8, len(s.toEmit()) > 0, s.emit)
	may(1, len(s.running) > 0 && s.faults > 0, s.breakBundle)
	may(1, s.faults > 0, s.loseWorker)
	may(1, len(s.leaving) > 0, s.loseLeaving)
	may(2, s.crew(1) < 3 || s.crew(2) < 2, s.addWorker)
	may(3, len(s.asked) > 0, s.answer)
	may(3, len(s.wanted) > 0, s.tellLoads)
	may(3, s.writable() != nil, s.write)
	may(2, s.durable < s.seq, s.sync)
	may(1, s.crashes > 0 && s.rng.IntN(4) == 0, s.crash)
	may(1, s.halts > 0 && len(s.past) > 0 && s.rng.IntN(10) == 0, s.halt)
	may(1, s.drains && s.rng.IntN(20) == 0, s.drain)
	may(1, len(s.old) > 0 && s.rng.IntN(10) == 0, s.lateAnswer)
	switch {
	case len(can) == 0 && s.wake.IsZero():
		s.failf("waits for nothing:\n%s", s.engine.Explain())
	case len(can) == 0:
		s.now = s.wake
		s.step(Event{})
	case s.rng.IntN(8) == 0:
		s.now = s.now.Add(time.Duration(s.rng.IntN(20)) * time.Millisecond)
		s.step(Event{})
	default:
		s.now = s.now.Add(time.Duration(s.rng.IntN(3)) * time.Millisecond)
		can[s.rng.IntN(len(can))]()
	}
}

func (s *sim) pick() *simBundle {
	i := s.rng.IntN(len(s.running))
	b := s.running[i]
	s.drop(b)
	return b
}

func (s *sim) drop(b *simBundle) {
	s.running = slices.DeleteFunc(s.running, func(o *simBundle) bool { return o == b })
	s.asked = slices.DeleteFunc(s.asked, func(r SplitRequest) bool { return r.Bundle == b.ID })
	s.old = append(s.old, b.ID)
}

func (s *sim) finish() {
	b := s.pick()
	x := b.x
	if x == nil {
		x = s.execute(b)
		b.x = x
	}
	for _, g := range x.newGates {
		s.named[g] = true
	}
	s.finished[b.ID], s.done[b.ID] = x, b
	s.step(Event{BundleDone: &BundleDone{Bundle: b.ID, Outcome: x.out}})
}

func (s *sim) drain() {
	s.drains = false
	s.draining = !s.plan.options.Durable
	s.step(Event{Drain: true})
}

// halt has the job come to a rest, from which another engine goes on.
func (s *sim) halt() {
	s.halts--
	s.step(Event{Halt: true})
}

// checkHalted checks that all is worked off but what waits for what does not come,
// what user code failed on, and what comes behind it.
func (s *sim) checkHalted() {
	if len(s.running) > 0 || len(s.outbox) > 0 {
		s.failf("halted with %d bundles in flight and %d entries out", len(s.running), len(s.outbox))
	}
	for i, st := range s.engine.stages {
		if st.queued.blocks > 0 && len(s.failed) == 0 && st.CheckpointAfter == 0 {
			s.failf("halted while %d blocks of %s could be worked off", st.queued.blocks, s.plan.stages[i].spec.Name)
		}
	}
}

func (s *sim) cutBatches() {
	for i, st := range s.plan.stages {
		for shard := range st.batches {
			st.batches[shard] = st.batches[shard][:s.states[i][shard].batch]
		}
	}
}

func (s *sim) breakBundle() {
	s.faults--
	b := s.pick()
	s.discard(b)
	s.failed = append(s.failed, b)
	code := []beam.Code{beam.UserCode, beam.Unavailable}[s.rng.IntN(2)]
	s.step(Event{BundleFailed: &BundleFailed{Bundle: b.ID, Err: &beam.Error{Code: code}}})
}

func (s *sim) addWorker() {
	w := [2]int{1, s.rng.IntN(6)}
	if s.crew(2) < s.crew(1) {
		w[0] = 2
	}
	s.workers[w] = true
	s.step(Event{WorkerUp: &WorkerUp{Pool: w[0], Worker: w[1]}})
}

// crew counts the workers of a pool.
func (s *sim) crew(pool int) int {
	n := 0
	for w := range s.workers {
		if w[0] == pool {
			n++
		}
	}
	return n
}

func (s *sim) loseWorker() {
	w := [2]int{1 + s.rng.IntN(2), s.rng.IntN(6)}
	if !s.workers[w] {
		return
	}
	s.faults--
	if s.rng.IntN(2) == 0 {
		s.leaving = append(s.leaving, w)
		s.step(Event{WorkerLeaving: &WorkerLeaving{Pool: w[0], Worker: w[1]}})
		return
	}
	s.lose(w)
}

// loseLeaving loses a worker that leaves, whether it has bundles or not.
func (s *sim) loseLeaving() {
	w := s.leaving[0]
	s.leaving = s.leaving[1:]
	if s.workers[w] {
		s.lose(w)
	}
}

func (s *sim) lose(w [2]int) {
	delete(s.workers, w)
	for _, b := range slices.Clone(s.running) {
		if s.plan.stages[b.Stage].spec.Pool == w[0] && b.Worker == w[1] {
			s.drop(b)
			s.discard(b)
			s.failed = append(s.failed, b)
		}
	}
	s.step(Event{WorkerLost: &WorkerLost{Pool: w[0], Worker: w[1]}})
}

// lateAnswer reports what nobody waits for any more.
func (s *sim) lateAnswer() {
	id := s.old[s.rng.IntN(len(s.old))]
	switch s.rng.IntN(4) {
	case 0:
		s.step(Event{BundleEmitted: &BundleEmitted{Bundle: id}})
	case 1:
		s.step(Event{BundleDone: &BundleDone{Bundle: id}})
	case 2:
		s.step(Event{BundleFailed: &BundleFailed{Bundle: id, Err: errors.New("late")}})
	default:
		s.step(Event{SplitDone: &SplitDone{Bundle: id, Accepted: true}})
	}
}

// writable is an entry whose commit is durable.
func (s *sim) writable() *Entry {
	for _, st := range slices.SortedFunc(maps.Keys(s.outbox), comparePairs) {
		if s.outbox[st].After <= s.durable {
			return s.outbox[st]
		}
	}
	return nil
}

func comparePairs(a, b [2]int) int {
	if a[0] != b[0] {
		return a[0] - b[0]
	}
	return a[1] - b[1]
}

func (s *sim) write() {
	en := s.writable()
	s.writeOnce(en)
	s.step(Event{EntryWritten: &EntryWritten{Stage: en.Stage, Shard: en.Shard, N: en.N}})
}

// writeOnce writes an entry, unless its progress says that it is there: then it
// must be the same.
func (s *sim) writeOnce(en *Entry) {
	at := [2]int{en.Stage, en.Shard}
	w := written{n: en.N}
	for _, id := range en.Blocks {
		w.elems = append(w.elems, s.blocks[id].elems...)
	}
	last := s.written[at]
	switch {
	case en.N == last.n:
		if !slices.Equal(w.elems, last.elems) {
			s.failf("outbox: entry %d of %v has changed", en.N, at)
		}
	case en.N != last.n+1:
		s.failf("outbox: entry %d of %v is written after %d", en.N, at, last.n)
	default:
		s.written[at] = w
		s.sinks[en.Stage] = append(s.sinks[en.Stage], w.elems...)
	}
}

func (s *sim) sync() {
	s.durable += 1 + CommitSeq(s.rng.IntN(int(s.seq-s.durable)))
	d := s.durable
	s.settlePast()
	s.step(Event{Durable: &d})
}

// newBlock stores elements.
func (s *sim) newBlock(elems []elem) Block {
	s.lastBlock++
	b := &simBlock{elems: elems, meta: Block{ID: s.lastBlock, Count: len(elems), Bytes: 10 * len(elems),
		MinTime: beam.MaxEventTime}}
	for _, e := range elems {
		b.meta.MinTime = min(b.meta.MinTime, e.time)
	}
	s.blocks[s.lastBlock] = b
	return b.meta
}

// restBlock stores restrictions, with the hold of what is left of them.
func (s *sim) restBlock(elems []elem) Block {
	b := s.newBlock(elems)
	b.Hold = beam.MaxEventTime
	for _, e := range elems {
		b.Hold = min(b.Hold, e.hold())
	}
	return b
}

func (s *sim) meta(id BlockID) Block { return s.blocks[id].meta }

func (s *sim) gate(g simGate) GateID {
	if s.gates[g] == 0 {
		s.lastGate++
		s.gates[g] = s.lastGate
	}
	return s.gates[g]
}
