package jobservice

import (
	"errors"
	"fmt"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fresnel/internal/beam"
)

// This file is how a job outlives its run: what it writes into its directory,
// and how it is cut off and goes on.

// leaving is why a run is being cut off without the job's end.
type leaving uint8

const (
	notLeaving    leaving = iota
	leavingServer         // the server shuts down
	leavingKept           // somebody asked to stop the job
)

// idle is a job that was run, has not ended, and does not run.
type idle uint8

const (
	notIdle  idle = iota
	idleLeft      // the next server goes on with it
	idleKept      // it waits, in STOPPED, for another Run
)

// errIdle ends a stream of an idle job without an error.
var errIdle = errors.New("idle")

// streamEnd is what the streams of a job end with where there is nothing more
// to send; nil if they wait.
func (i idle) streamEnd(id beam.JobID) error {
	switch i {
	case idleLeft:
		return status.Errorf(codes.Unavailable, "job %s was cut off; it goes on when the server is started again", id)
	case idleKept:
		return errIdle
	}
	return nil
}

// durable tells whether the job is to survive the server. The caller holds the
// lock.
func (j *job) durable() bool { return j.dir != nil && j.dir.record.Durable }

// settled tells whether all that is kept of an ended job is on disk. The caller
// holds the lock.
func (j *job) settled() bool { return j.dir == nil || j.dir.log == nil }

// persist adds an entry of the history to the log. A disk that fails does not
// end the job: the server's log tells of it, once.
func (j *job) persist(e entry) {
	if j.dir == nil {
		return
	}
	before := j.dir.broken
	if err := j.dir.append(e.encode(), e.isState()); err != nil && !before {
		j.log.Error("the job's log cannot be written: what it tells now is lost with this server", "error", err)
	}
}

func (j *job) persistMetrics() {
	if payload := encodeMetrics(j.final); j.dir != nil && payload != nil {
		_ = j.dir.append(payload, false) // the state that follows tells of a disk that fails
	}
}

func (j *job) compactLog() {
	if j.dir == nil || j.dir.log == nil {
		return
	}
	if err := j.dir.log.compact(&j.history, j.durable()); err != nil {
		j.log.Error("the job's log cannot be written anew, and grows", "error", err)
	}
}

// settle brings the end of a job to its directory, and keeps little of it in memory.
func (j *job) settle() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !terminal(j.state) || j.past != nil && j.settled() {
		return
	}
	if !j.settled() {
		if err := j.dir.end(&j.history); err != nil {
			j.log.Error("the end of the job cannot be written", "error", err)
		}
	}
	if j.past == nil && j.settled() {
		j.pack()
	}
}

// suspend cuts a durable job off because the server shuts down; others are
// cancelled.
func (j *job) suspend() {
	j.mu.Lock()
	survives := j.durable() && (j.runs() || j.idle != notIdle)
	if survives && j.runs() {
		j.leaving = leavingServer
		j.cancel()
	}
	j.mu.Unlock()
	if !survives {
		j.requestCancel("the server was shut down")
	}
}

// runs tells whether the job runs and was not cancelled. The caller holds the lock.
func (j *job) runs() bool {
	return j.idle == notIdle && (j.state == starting || j.state == running || j.state == draining)
}

// requestStop cuts a durable job off on request, and returns its state, which
// is STOPPED a moment later.
func (j *job) requestStop() (jobpb.JobState_Enum, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.idle == idleKept || terminal(j.state) {
		return j.state, nil
	}
	err := j.stoppable()
	if err == nil {
		j.leaving = leavingKept
		j.cancel()
	}
	return j.state, err
}

// stoppable tells why the job cannot be stopped and kept. The caller holds the
// lock.
func (j *job) stoppable() error {
	switch {
	case !j.runs():
		return status.Errorf(codes.FailedPrecondition, "job %s does not run: there is nothing to stop", j.id)
	case !j.durable():
		return status.Errorf(codes.FailedPrecondition,
			"job %s lives in memory: nothing would be kept of it (cancel or drain it, or submit it with --durability=disk)", j.id)
	}
	return nil
}

// leave ends a run that was cut off, and tells whether it was. What the runner
// says then is of no interest, but for nil: the job was done before.
func (j *job) leave(err error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil || j.leaving == notLeaving || j.state == cancelling {
		return false
	}
	if !isCancellation(err) {
		j.log.Warn("the job failed while it was being cut off, and will be tried again", "error", err)
	}
	j.metrics = nil
	if j.leaving == leavingKept && j.keep() {
		return true
	}
	j.tell(Warning, time.Now(), "the job was cut off; it goes on when the server is started again")
	j.log.Info("job left for the next server", "state", j.state.String())
	j.rest(idleLeft)
	return true
}

// keep makes a job that was cut off wait for another Run.
func (j *job) keep() bool {
	j.dir.record.Phase = phaseKept
	if err := j.dir.save(); err != nil {
		j.dir.record.Phase = phaseRuns
		j.log.Error("the job cannot be stopped for longer than this server runs", "error", err)
		return false
	}
	j.tell(Error, time.Now(), "the job was stopped on request; its state is kept, and another Run of it goes on from there")
	j.enter(stopped)
	j.log.Info("job stopped, its state is kept")
	j.rest(idleKept)
	return true
}

// rest ends the streams of a job that does not run any more.
func (j *job) rest(i idle) {
	j.idle = i
	j.history.wakeAll()
	j.states.wakeAll()
}

// goOn moves an idle job to the state of one that runs. The caller holds the
// lock.
func (j *job) goOn() {
	j.idle, j.leaving, j.resumed, j.halt = notIdle, notLeaving, true, make(chan struct{})
	j.epoch++
	state := starting
	if j.drainAsked {
		state = draining
	}
	j.enter(state)
	j.tell(Basic, time.Now(), fmt.Sprintf("the job goes on from the state that is kept of it (run %d)", j.epoch))
}

// began notes that the runner has made the job's state.
func (j *job) began() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dir.record.Begun = true
	err := j.dir.save()
	if err != nil {
		j.dir.record.Begun = false
	}
	return err
}

// saveRun writes that a run begins. If that cannot be done, the job is left as
// it was.
func (j *job) saveRun() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := j.dir.record
	j.dir.record.Epoch, j.dir.record.Phase = j.epoch, phaseRuns
	err := j.dir.save()
	if err != nil {
		j.dir.record = before
		j.leaving = leavingServer
	}
	return err
}
