package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/cores"
	"fresnel/jobservice"
	"fresnel/runner/engine"
	"fresnel/runner/store"
	"fresnel/translate"
)

// job is one running pipeline.
type job struct {
	runner *Runner
	sub    *jobservice.Submission
	plan   *translate.Plan
	opts   jobservice.Options
	report jobservice.Reporter

	// ctx ends with the job's work: by the user, or when Run returns. life is the
	// time of its pools, which ends last: a worker can be asked until then.
	ctx    context.Context
	cancel context.CancelFunc
	life   context.Context
	die    context.CancelFunc
	work   sync.WaitGroup // goroutines of executors

	store   store.Store
	memory  *memory
	journal *journal     // nil for a job in memory
	asides  atomic.Int64 // counts questions beside the plan's flow
	clock   clock
	gates   *gates
	// mappings are those of windows that SDKs are asked for.
	mappings map[sideKey]*windowMapping
	metrics  *metrics
	coders   *coders
	rests    rests
	logs     *harnessLog

	// carry is another job that this one takes over from, while it is being built;
	// owners are the jobs that sinks' progress is kept for, where it is not this one.
	carry  *carry
	owners map[int]string
	// spec is what the engine was made of.
	spec engine.Spec

	// draining is set once the job drains.
	draining atomic.Bool

	// The rest belongs to the loop.
	epoch int64
	// lanes and keyShards are the shards of stages without and with state, fixed for
	// the job's life; applied is the last commit.
	lanes, keyShards int
	applied          engine.CommitSeq
	// stable tells that some stage wants durable input; complete that the job has
	// done all it had to.
	stable, complete bool
	engine           *engine.Engine
	stages           []*stage
	pools            []*pool
	reports          chan report
	// asked takes questions for how far the job is.
	asked chan chan<- engine.Snapshot
	// looks takes what is to be done in the loop, by who looks at the job.
	looks chan func()
	// last is how far the job had come when its loop ended.
	last atomic.Pointer[engine.Snapshot]
	// inFlight has the stage of each bundle that was started and is neither
	// committed nor given up, effects those that are done.
	inFlight map[engine.BundleID]*stage
	effects  map[engine.BundleID]*effects
	// finalizers tell harnesses that a bundle of theirs is durable; finalizing
	// counts those that do.
	finalizers map[engine.BundleID]func(context.Context)
	finalizing sync.WaitGroup
	// told is the last loss that the client was told of.
	told *beam.Error
}

// report is an event with what belongs to it.
type report struct {
	event   engine.Event
	effects *effects
	// blocks are new ones of a split.
	blocks []engine.BlockID
	// sync asks for a sync that nothing waits for.
	sync bool
}

// run runs the job. Whatever fails once it is cancelled fails for that.
func (j *job) run(drain <-chan struct{}) error {
	err := j.startPools()
	if err == nil {
		j.spawn(j.newStuckWatch().run)
		j.meetSinks()
		err = j.loop(drain)
		last := j.engine.Snapshot()
		j.last.Store(&last)
	}
	if err != nil && j.ctx.Err() != nil {
		return j.ctx.Err()
	}
	return err
}

// meetSinks has each sink owned, or at least looked at, before there is anything
// to write.
func (j *job) meetSinks() {
	for _, st := range j.stages {
		x, ok := st.executor.(*sinkExecutor)
		switch {
		case !ok:
		case j.journal != nil && (j.sub.Resumed || j.sub.From != nil):
			x.claim()
		default:
			x.probe()
		}
	}
}

// loop owns the engine.
func (j *job) loop(drain <-chan struct{}) error {
	halt := j.sub.Halt
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	ready := j.step(engine.Event{})
	for {
		if err := j.carryOut(ready); err != nil {
			return err
		}
		if ready.State >= engine.Done {
			return j.outcome(ready)
		}
		if j.stable && len(ready.Commits) > 0 {
			if j.journal == nil {
				last := j.applied
				ready = j.step(engine.Event{Durable: &last})
				continue
			}
			j.journal.sync()
		}
		if j.jump(ready) {
			ready = j.step(engine.Event{})
			continue
		}
		j.setWake(wake, ready.Wake)
		select {
		case r := <-j.reports:
			ready = j.take(r)
		case answer := <-j.asked:
			answer <- j.engine.Snapshot()
			ready = j.step(engine.Event{})
		case f := <-j.looks:
			f()
			ready = j.step(engine.Event{})
		case <-wake.C:
			ready = j.step(engine.Event{})
		case <-drain:
			drain = nil
			ready = j.step(engine.Event{Drain: true})
		case <-halt:
			halt = nil
			ready = j.step(engine.Event{Halt: true})
		case <-j.ctx.Done():
			return j.ctx.Err()
		}
	}
}

func (j *job) step(ev engine.Event) engine.Ready {
	cores.Work()
	ev.Now = j.clock.now()
	ready := j.engine.Step(ev)
	if ready.State == engine.Draining {
		j.draining.Store(true)
	}
	return ready
}

// take steps the engine with what was reported. Reports about bundles that were
// given up meanwhile come late: what they bring is let go (I6, I8).
func (j *job) take(r report) engine.Ready {
	switch {
	case r.event.BundleDone != nil:
		id := r.event.BundleDone.Bundle
		if j.inFlight[id] == nil {
			j.discard(r.effects)
			return j.step(engine.Event{})
		}
		j.effects[id] = r.effects
	case r.event.BundleFailed != nil:
		j.settle(r.event.BundleFailed.Bundle, false)
	case r.event.SplitDone != nil && j.inFlight[r.event.SplitDone.Bundle] == nil:
		j.freeBlocks(r.blocks)
		return j.step(engine.Event{})
	case r.event.Durable != nil:
		j.journal.synced(*r.event.Durable)
	case r.sync:
		j.journal.syncAnyway()
	}
	return j.step(r.event)
}

// settle ends the time of a bundle: it was committed, or does not count.
func (j *job) settle(id engine.BundleID, committed bool) {
	st := j.inFlight[id]
	delete(j.inFlight, id)
	if st == nil {
		return
	}
	if h, ok := st.executor.(*harnessExecutor); ok {
		h.settled(id, committed)
	}
}

// jump moves a virtual clock to the next time something is due.
func (j *job) jump(ready engine.Ready) bool {
	return ready.Quiet && !ready.Wake.IsZero() && j.clock.jumpTo(ready.Wake)
}

func (j *job) setWake(t *time.Timer, at time.Time) {
	if at.IsZero() || j.clock.virtual() {
		t.Reset(time.Hour)
		return
	}
	t.Reset(max(0, at.Sub(j.clock.now())))
}

// outcome is what Run returns.
func (j *job) outcome(ready engine.Ready) error {
	switch ready.State {
	case engine.Failed:
		return ready.Err
	case engine.Cancelled:
		return context.Canceled
	}
	if j.journal != nil {
		if err := j.journal.settle(); err != nil {
			return err
		}
	}
	j.complete = true
	j.awaitFinalizers()
	if ready.State == engine.Halted {
		return context.Canceled // the job has not ended
	}
	return nil
}

// finalizePatience bounds how long the end of a job waits for harnesses to
// finalize its last bundles.
const finalizePatience = 10 * time.Second

func (j *job) awaitFinalizers() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.finalizing.Wait()
	}()
	patience := time.NewTimer(finalizePatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		j.cancel() // those that are left give up
		<-done
	case <-j.ctx.Done():
		<-done
	}
}

// carryOut does what the engine decided, in the order that Ready asks for.
func (j *job) carryOut(ready engine.Ready) error {
	for i := range ready.Commits {
		if err := j.commit(&ready.Commits[i]); err != nil {
			return err
		}
	}
	for _, id := range ready.Abandon {
		j.drop(id)
	}
	for _, b := range ready.Start {
		j.inFlight[b.ID] = j.stages[b.Stage]
		j.stages[b.Stage].executor.start(b)
	}
	for _, s := range ready.Splits {
		j.split(s)
	}
	for _, p := range ready.Loads {
		j.measure(p)
	}
	for _, e := range ready.Entries {
		j.onceDurable(e.After, func() { j.stages[e.Stage].executor.(*sinkExecutor).write(e) })
	}
	for _, f := range ready.Finalize {
		j.onceDurable(f.After, func() { j.finalize(f.Bundle) })
	}
	for _, r := range ready.Retrying {
		j.tellRetry(r)
	}
	return nil
}

// sideToken is the cache token of a side input at a version (I11).
func (j *job) sideToken(s *stage, side int, version uint64) []byte {
	return fmt.Appendf(nil, "%d/%s/%s/%d/%d", j.epoch, j.sub.ID, s.plan.ID, side, version)
}

// finalize tells a harness that its bundle is durable (I3).
func (j *job) finalize(id engine.BundleID) {
	if f := j.finalizers[id]; f != nil {
		delete(j.finalizers, id)
		j.finalizing.Add(1)
		j.spawn(func() {
			defer j.finalizing.Done()
			f(j.ctx)
		})
	}
}

// done hands a finished bundle to the loop.
func (j *job) done(id engine.BundleID, out engine.Outcome, fx *effects) {
	j.send(report{event: engine.Event{BundleDone: &engine.BundleDone{Bundle: id, Outcome: out}}, effects: fx})
}

// failed hands a failed bundle to the loop; what it made is freed. A bundle that
// made nothing has no collector.
func (j *job) failed(id engine.BundleID, err error, c *collector) {
	if c != nil {
		c.discard()
	}
	j.send(report{event: engine.Event{BundleFailed: &engine.BundleFailed{Bundle: id, Err: err}}})
}

func (j *job) send(r report) {
	select {
	case j.reports <- r:
	case <-j.ctx.Done():
	}
}

// spawn runs f in a goroutine that close waits for. A panic in it ends the job,
// not the server (I7).
func (j *job) spawn(f func()) {
	j.work.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				j.send(report{event: engine.Event{Fail: panicked(p)}})
			}
		}()
		f()
	})
}

// guard makes a panic the error of the function that defers it.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = panicked(p)
	}
}

// split asks a running bundle for a split. One that cannot be asked any more is
// about to be reported done.
func (j *job) split(s engine.SplitRequest) {
	st := j.inFlight[s.Bundle]
	if st == nil {
		return // the job has just ended
	}
	if h, ok := st.executor.(*harnessExecutor); ok {
		h.split(s)
	}
}

// splitDone tells the engine the answer to a split request.
func (j *job) splitDone(d engine.SplitDone, blocks []engine.BlockID) {
	j.send(report{event: engine.Event{SplitDone: &d}, blocks: blocks})
}

// tellRetry tells of a bundle that is tried again: once for a worker, whose end
// is that of all its bundles.
func (j *job) tellRetry(r engine.Retry) {
	if loss := lossOf(r.Err); loss != nil {
		if loss == j.told {
			return
		}
		j.told = loss
	}
	j.warn(fmt.Sprintf("%s failed (attempt %d), trying again: %v",
		j.stages[r.Stage].plan.Name, r.Attempt+1, r.Err))
}

// lossOf is the innermost error in the chain that says what was lost: the same
// for all bundles of a worker.
func lossOf(err error) (loss *beam.Error) {
	for {
		be, ok := errors.AsType[*beam.Error](err)
		if !ok {
			return loss
		}
		if be.Code == beam.Unavailable {
			loss = be
		}
		err = be.Cause
	}
}

// warn tells the client of something that passes, as the user would want to know,
// and who keeps the server.
func (j *job) warn(text string) {
	j.logs.say(jobservice.Warning, time.Now(), text)
}

// close ends everything of the job and waits for it: what its workers know of
// its metrics is asked first, and their last log lines are waited for, since
// nobody can afterwards.
func (j *job) close() {
	j.metrics.settle(j.life)
	j.cancel()
	j.work.Wait()
	for _, s := range j.stages {
		if s.executor != nil {
			s.executor.close()
		}
	}
	if j.carry != nil {
		j.carry.close()
	}
	for _, p := range j.pools {
		p.settle()
	}
	j.die()
	for _, p := range j.pools {
		p.close()
	}
	j.logs.close()
	j.store.Close()
	j.memory.close()
}

// asideID is the id of the next question beside the plan's flow.
func (j *job) asideID(s *translate.Stage) string {
	return fmt.Sprintf("%s/%s/aside-%d", j.sub.ID, s.ID, j.asides.Add(1))
}
