package engine

import (
	"errors"
	"math"
	"slices"
	"time"

	"fresnel/internal/beam"
)

// Engine decides what runs when. It is driven by Step, from one goroutine.
type Engine struct {
	Options
	stages []*stage
	byRank []*stage
	edges  []EdgeSpec
	pools  []*pool

	// now is the time of the step, since epoch: the time of the first one, and
	// before that 1970.
	epoch   time.Time
	started bool
	now     instant

	state State
	err   error
	ready Ready
	wake  instant

	// bundles are those in flight; lastBundle and seq count, durable is the last
	// commit that is durable.
	bundles map[BundleID]*bundle
	// emitted are those of them that have put out all (early.go).
	emitted    []*bundle
	lastBundle BundleID
	seq        CommitSeq
	durable    CommitSeq

	// readers counts for each block the queues, bundles and entries that it is in
	// (I8); held is the size of all of them (I9).
	readers map[BlockID]int32
	held    int64
	gates   map[GateID]*gate
	delays  heap[delayed]
	stable  []stableWait
	later   []*bundle
	offers  []sinkShard

	// dirty has the ranks of stages whose watermarks may have moved; clocks the
	// next alarm of each stage.
	dirty   bitset
	clocks  minTree[instant]
	scratch []int
	spare   []int

	// What the job still waits for: stages that are not at the end of time, blocks
	// anywhere, outbox entries, shards of sources and scripts, processing-time
	// timers.
	unfinished, blocks, entries, reading, timers int
	// scripts counts script stages, turn is where to look for the next.
	scripts, turn int
	lastRead      instant

	// image is what has changed since the last commit (Options.Durable); resend are
	// entries of a restored job.
	image  image
	resend []Entry

	broken mutation
}

// instant is a time in nanoseconds since the first step.
type instant int64

const never instant = math.MaxInt64

func (e *Engine) instant(t time.Time) instant { return min(instant(t.Sub(e.epoch)), never-1) }

func (e *Engine) time(i instant) time.Time {
	if i == never {
		return time.Time{}
	}
	return e.epoch.Add(time.Duration(i))
}

// Step takes in what has happened and tells what to do. The first Step starts
// the job; once the job has ended nothing happens any more. What a Ready holds
// is the caller's, but the blocks of a Bundle are shared and must not be
// changed.
func (e *Engine) Step(ev Event) Ready {
	if e.ended() {
		return Ready{State: e.state, Err: e.err}
	}
	e.ready, e.wake = Ready{}, never
	e.tick(ev.Now)
	e.apply(&ev)
	e.settleTimes()
	if !e.ended() {
		e.formEntries()
		e.schedule()
		e.startEarly()
		e.playScript()
		e.askSplits()
		e.conclude()
	}
	return e.report()
}

func (e *Engine) tick(now time.Time) {
	if !e.started {
		if e.Durable {
			e.rebase(min(max(instant(now.Sub(wallEpoch)), 0), instant(lastWall)))
		}
		e.started, e.epoch = true, now
		e.ready.Entries, e.resend = e.resend, nil
	}
	e.now = max(e.now, e.instant(now))
}

// apply takes in the event itself.
func (e *Engine) apply(ev *Event) {
	switch {
	case ev.WorkerUp != nil:
		e.workerUp(ev.WorkerUp)
	case ev.WorkerLeaving != nil:
		e.workerLeaving(ev.WorkerLeaving)
	case ev.WorkerLost != nil:
		e.workerLost(ev.WorkerLost)
	case ev.WorkerLoads != nil:
		e.workerLoads(ev.WorkerLoads)
	case ev.BundleEmitted != nil:
		e.bundleEmitted(ev.BundleEmitted)
	case ev.BundleDone != nil:
		e.bundleDone(ev.BundleDone)
	case ev.BundleFailed != nil:
		e.bundleFailed(ev.BundleFailed)
	case ev.SplitDone != nil:
		e.splitDone(ev.SplitDone)
	case ev.OutputFull != nil:
		e.outputFull(ev.OutputFull)
	case ev.EntryWritten != nil:
		e.entryWritten(*ev.EntryWritten)
	case ev.Durable != nil:
		e.madeDurable(*ev.Durable)
	}
	switch {
	case e.ended():
	case ev.Fail != nil:
		e.fail(ev.Fail)
	case ev.Cancel:
		e.end(Cancelled)
	case ev.Drain:
		e.drain()
	case ev.Halt:
		e.halt()
	}
}

// settleTimes brings to an end what the event and the clock have set going.
func (e *Engine) settleTimes() {
	if e.ended() {
		return
	}
	e.undelay()
	e.ringRetries()
	e.propagate()
	e.ringClocks()
}

func (e *Engine) drain() {
	if e.state == Running {
		e.state = Draining
		e.dropReads()
		e.hurry()
		e.drainSources()
		e.commitDrain()
	}
}

// commitDrain makes a drain last.
func (e *Engine) commitDrain() {
	if !e.Durable {
		return
	}
	c := Commit{Seq: e.nextSeq(), Drain: true}
	e.sealImage(&c)
	e.ready.Commits = append(e.ready.Commits, c)
}

func (e *Engine) fail(err error) {
	if !e.ended() {
		e.err = err
		e.end(Failed)
	}
}

// end is the end: what still runs is abandoned.
func (e *Engine) end(s State) {
	e.state = s
	for _, p := range e.pools {
		for _, w := range p.workers {
			if w == nil {
				continue
			}
			for _, b := range w.running {
				e.ready.Abandon = append(e.ready.Abandon, b.id)
			}
		}
	}
}

func (e *Engine) ended() bool { return e.state >= Done }

// conclude ends the job if nothing is left of it.
func (e *Engine) conclude() {
	switch {
	case e.unfinished > 0 || e.blocks > 0 || e.entries > 0 || e.reading > 0 || e.timers > 0 ||
		len(e.bundles) > 0 || e.moves():
		if e.state == Halting {
			e.concludeHalt()
		} else if e.stuck() {
			e.fail(&beam.Error{Code: beam.Internal, What: "the job waits for what can never happen",
				Cause: errors.New(e.Explain())})
		}
	case e.state == Draining:
		e.end(Drained)
	default:
		e.end(Done)
	}
}

// moves tells whether something other than a source can still happen without
// the clock.
func (e *Engine) moves() bool {
	if e.entries > 0 || len(e.stable) > 0 || len(e.later) > 0 {
		return true
	}
	for _, p := range e.pools {
		for r := p.ready.next(0); r >= 0; r = p.ready.next(r + 1) {
			if st := e.byRank[r]; st.Role != Source && !st.idle() {
				return true
			}
		}
		for _, st := range p.stages {
			if st.running > 0 && !st.reads() {
				return true
			}
		}
	}
	return false
}

// report hands over what the step has decided.
func (e *Engine) report() Ready {
	r := e.ready
	if e.broken == reverseCommits {
		slices.Reverse(r.Commits)
	}
	e.ready = Ready{}
	r.State, r.Err = e.state, e.err
	if e.ended() {
		return r
	}
	e.wakeAt(e.clocks.min())
	if len(e.delays) > 0 {
		e.wakeAt(e.delays[0].at)
	}
	for _, b := range e.later {
		if b.notBefore > e.now {
			e.wakeAt(b.notBefore)
		}
	}
	r.Wake = e.time(e.wake)
	r.Quiet = e.rested()
	return r
}

// stuck tells whether nothing can ever happen again, though the job has not
// ended: then an executor has forgotten a hold, and it is better to say so than
// to wait for ever.
func (e *Engine) stuck() bool {
	return e.rested() && e.wake == never && len(e.later) == 0 && len(e.delays) == 0 &&
		e.clocks.min() == never && !e.awaitsScript()
}

// awaitsScript tells whether a script has no worker to run on.
func (e *Engine) awaitsScript() bool {
	for _, st := range e.stages {
		if st.Role == Script && st.pool.free(st) == 0 {
			return true
		}
	}
	return false
}

// rested tells whether only the clock, or news from outside, can set anything
// going again.
func (e *Engine) rested() bool {
	if len(e.bundles) > 0 || e.entries > 0 || len(e.stable) > 0 {
		return false
	}
	for _, b := range e.later {
		if b.after > e.durable {
			return false
		}
	}
	for _, p := range e.pools {
		for r := p.ready.next(0); r >= 0; r = p.ready.next(r + 1) {
			if !e.byRank[r].deferring() {
				return false
			}
		}
	}
	return true
}
