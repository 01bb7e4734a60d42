package engine

import (
	"fmt"
	"slices"
	"time"

	"fresnel/internal/beam"
)

// bundleFailed has a failed bundle tried again, or ends the job.
func (e *Engine) bundleFailed(ev *BundleFailed) {
	b := e.bundles[ev.Bundle]
	if b == nil {
		return
	}
	e.stop(b)
	if ev.Err == nil {
		ev.Err = &beam.Error{Code: beam.Internal, Where: b.stage.Name, What: "a bundle failed without an error"}
	}
	if !e.failedEarly(b, ev.Err) {
		e.failed(b, ev.Err)
	}
}

// failed decides about a bundle that has a place in its shards' orders.
func (e *Engine) failed(b *bundle, err error) {
	e.dropConsumers(b)
	switch beam.CodeOf(err) {
	case beam.UserCode:
		b.userFails++
		e.retry(b, b.userFails, e.UserRetries, e.backoff(b.userFails), err)
	case beam.Unavailable:
		b.lostFails++
		e.retry(b, b.lostFails, e.LostRetries, e.backoff(b.lostFails), err)
	default:
		e.fail(err)
	}
}

// retry puts a bundle back that failed for the n-th time, as it is: with its
// blocks, or the primaries of the splits that it accepted (I6).
func (e *Engine) retry(b *bundle, n, allowed int, wait time.Duration, err error) {
	b.stage.failures++
	if allowed >= 0 && n > allowed {
		e.fail(b.givenUp(n, err))
		return
	}
	b.notBefore = e.now + instant(wait)
	e.ready.Retrying = append(e.ready.Retrying, Retry{
		Stage: b.stage.index, Attempt: b.attempt(), Err: err, At: e.time(b.notBefore),
	})
	e.putBack(b)
}

// givenUp names the stage and the attempts, where the last error has nothing to
// do with either.
func (b *bundle) givenUp(n int, err error) error {
	if beam.CodeOf(err) != beam.Unavailable || n < 2 {
		return err
	}
	return &beam.Error{Code: beam.Unavailable, Where: b.stage.Name, Cause: err,
		What: fmt.Sprintf("a bundle was tried %d times, and each time its worker was lost or could not finish it", n)}
}

// longestBackoff bounds the wait before a retry.
const longestBackoff = time.Minute

func (e *Engine) backoff(failures int) time.Duration {
	wait := e.Backoff
	for range failures - 1 {
		if wait >= longestBackoff {
			break
		}
		wait *= 2
	}
	return max(min(wait, longestBackoff), e.Backoff)
}

// putBack makes a formed bundle wait for its time, or for a slot.
func (e *Engine) putBack(b *bundle) {
	b.state = formed
	if b.notBefore > e.now || b.after > e.durable {
		e.later = append(e.later, b)
		return
	}
	b.stage.again = append(b.stage.again, b)
	e.wakeStage(b.stage)
}

// ringRetries puts back the bundles whose time has come.
func (e *Engine) ringRetries() {
	if len(e.later) == 0 {
		return
	}
	all := e.later
	e.later = nil
	for _, b := range all {
		e.putBack(b)
	}
}

func (e *Engine) workerUp(ev *WorkerUp) {
	p := e.poolOf(ev.Pool)
	if p == nil || p.find(ev.Worker) != nil {
		return
	}
	w := p.add(ev.Worker, e.now)
	for _, st := range p.stages {
		e.settleIn(st, w)
	}
}

// poolOf returns a pool whose workers come and go.
func (e *Engine) poolOf(i int) *pool {
	if i < 0 || i >= len(e.pools) || e.pools[i].Native {
		return nil
	}
	return e.pools[i]
}

// workerLeaving has a worker's shards taken over by others.
func (e *Engine) workerLeaving(ev *WorkerLeaving) {
	p := e.poolOf(ev.Pool)
	if p == nil {
		return
	}
	w := p.find(ev.Worker)
	if w == nil || w.leaving {
		return
	}
	w.leaving = true
	for _, st := range p.stages {
		e.moveOut(st, w)
	}
}

// workerLost has all bundles of a worker tried again by others.
func (e *Engine) workerLost(ev *WorkerLost) {
	p := e.poolOf(ev.Pool)
	if p == nil {
		return
	}
	w := p.find(ev.Worker)
	if w == nil {
		return
	}
	if ev.Err == nil {
		ev.Err = &beam.Error{Code: beam.Unavailable, Where: p.Name, What: fmt.Sprintf("worker %d was lost", w.id)}
	}
	p.workers[w.pos] = nil
	for _, st := range p.stages {
		e.moveOut(st, w)
	}
	for _, b := range slices.Clone(w.running) {
		e.ready.Abandon = append(e.ready.Abandon, b.id)
		e.stop(b)
		if e.failedEarly(b, ev.Err) {
			continue
		}
		e.dropConsumers(b)
		b.lostFails++
		e.retry(b, b.lostFails, e.LostRetries, 0, ev.Err)
	}
}
