package jobservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/internal/beam"
)

// A job's states, and what leads from one to the next:
//
//	STOPPED ──Run──▶ STARTING ──Running()──▶ RUNNING ──────▶ DONE, FAILED
//	   │                │                       │
//	   │                └──────────Drain────────┴▶ DRAINING ─▶ DRAINED, FAILED
//	   └─Cancel─▶ CANCELLED ◀── CANCELLING ◀─Cancel─ any of the three
//
// A durable job that is stopped goes back from any of the three to STOPPED, and
// another Run goes on with it. One whose server ends stays in its state; the
// next server moves it to STARTING, or to DRAINING if it was asked to drain.
const (
	stopped    = jobpb.JobState_STOPPED
	starting   = jobpb.JobState_STARTING
	running    = jobpb.JobState_RUNNING
	draining   = jobpb.JobState_DRAINING
	drained    = jobpb.JobState_DRAINED
	cancelling = jobpb.JobState_CANCELLING
	cancelled  = jobpb.JobState_CANCELLED
	done       = jobpb.JobState_DONE
	failed     = jobpb.JobState_FAILED
)

// terminal tells whether a job in this state has ended.
func terminal(s jobpb.JobState_Enum) bool {
	switch s {
	case done, failed, cancelled, drained, jobpb.JobState_UPDATED:
		return true
	}
	return false
}

// job is one prepared, running or ended pipeline.
type job struct {
	id      beam.JobID
	name    string
	token   string // names the job to the staging service
	created time.Time
	log     *slog.Logger

	mu       sync.Mutex
	pipeline *pipepb.Pipeline // replaced as a whole, never modified
	options  *structpb.Struct
	state    jobpb.JobState_Enum
	since    time.Time // when the state began
	started  time.Time
	history  history // messages and states
	states   history // the states alone
	staging  bool    // a staging stream is open
	staged   bool    // one has ended well
	failure  string  // the error of a failed job
	reason   string  // why the job is cancelled

	cancel     context.CancelFunc // set by start
	drain      chan struct{}      // closed by requestDrain
	drainAsked bool
	halt       chan struct{} // closed by requestHalt; one for each run

	from    *job       // the job that this one begins with, until it has
	takenBy beam.JobID // the job that begins with this one

	dir     *jobDir // nil in a job that nobody knows of after this server
	epoch   int64   // of the run; see Submission
	resumed bool
	leaving leaving // why the run is being cut off
	idle    idle    // whether the job waits to go on

	metrics func() (attempted, committed []*pipepb.MonitoringInfo)
	final   *jobpb.MetricResults // set when the job has ended
	past    *past                // in place of pipeline, options and final once all is settled
	size    int                  // bytes of pipeline, options and final metrics
}

func newJob(id beam.JobID, token, name string, req *jobpb.PrepareJobRequest, log *slog.Logger) *job {
	j := &job{
		id: id, name: name, token: token,
		pipeline: req.GetPipeline(),
		options:  req.GetPipelineOptions(),
		created:  time.Now(),
		log:      log.With("job", string(id)),
		drain:    make(chan struct{}),
		halt:     make(chan struct{}),
		epoch:    1,
		size:     proto.Size(req),
	}
	j.enter(stopped)
	return j
}

// submission is what the Runner gets to see.
func (j *job) submission(retrieval string) *Submission {
	s, from := j.ownSubmission(retrieval)
	if from != nil {
		s.From, _ = from.ownSubmission(retrieval)
	}
	return s
}

// ownSubmission leaves the job out that this one begins with, and returns it.
func (j *job) ownSubmission(retrieval string) (*Submission, *job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &Submission{ID: j.id, Name: j.name, Pipeline: j.pipeline, Options: j.options,
		RetrievalEndpoint: retrieval, Epoch: j.epoch, Resumed: j.resumed, Halt: j.halt}
	if j.durable() {
		s.Dir, s.Begun = j.dir.statePath(), j.dir.record.Begun
	}
	return s, j.from
}

// enter moves the job to a state. The caller holds the lock, or the only
// reference to the job.
func (j *job) enter(state jobpb.JobState_Enum) {
	j.state, j.since = state, time.Now()
	j.states.addState(state, j.since)
	j.persist(j.history.addState(state, j.since))
}

// tell adds a message to the history. The caller holds the lock.
func (j *job) tell(level Level, at time.Time, text string) {
	j.persist(j.history.addMessage(level, at, text))
}

// current returns the state and the time since when it holds.
func (j *job) current() (jobpb.JobState_Enum, time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state, j.since
}

// start moves a prepared job to STARTING and tells whether it is the caller
// who has to run it. A second Run of the same preparation, as a client sends
// that lost the first answer, changes nothing.
func (j *job) start(cancel context.CancelFunc) (first bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.takenBy != "":
		return false, status.Errorf(codes.FailedPrecondition, "job %s goes on from the state of job %s", j.takenBy, j.id)
	case j.staging:
		return false, status.Errorf(codes.FailedPrecondition, "job %s: its artifacts are still being staged", j.id)
	case j.idle != notIdle:
		j.cancel = cancel
		j.goOn()
		return true, nil
	case j.state == stopped:
		j.cancel, j.started = cancel, time.Now()
		j.warnOfUnstaged()
		j.enter(starting)
		return true, nil
	case j.started.IsZero():
		return false, status.Errorf(codes.FailedPrecondition, "job %s was cancelled before it ran", j.id)
	}
	return false, nil
}

// warnOfUnstaged tells of artifacts that only the client has. A harness that
// the client itself started may not need them, so this is no error yet.
func (j *job) warnOfUnstaged() {
	if j.staged {
		return
	}
	for id, env := range j.pipeline.GetComponents().GetEnvironments() {
		if n := countUnstaged(env.GetDependencies()); n > 0 {
			j.tell(Warning, time.Now(), fmt.Sprintf(
				"%d artifacts of environment %s were not staged: workers that Fresnel starts cannot get them", n, id))
		}
	}
}

// run runs the job to its end, whatever the Runner does.
func (j *job) run(ctx context.Context, r Runner, s *Submission) {
	err := error(&beam.Error{Code: beam.Internal, What: "the job's goroutine ended unexpectedly"})
	defer func() {
		if p := recover(); p != nil {
			j.log.Error("panic in the runner", "panic", p, "stack", string(debug.Stack()))
			err = &beam.Error{Code: beam.Internal, What: fmt.Sprintf("panic: %v", p),
				Cure: "this is a fault of Fresnel: please report it with the stack from the server's log"}
		}
		j.end(err)
	}()
	err = r.Run(ctx, s, j.drain, reporter{j})
}

// end publishes the outcome: metrics first, then the error, then the terminal
// state, since clients ask and stop reading in that order.
func (j *job) end(err error) {
	final := j.readMetrics()
	if j.leave(err) {
		return
	}
	outcome, text := j.publish(err, final)
	j.settle()
	j.log.Info("job ended", "state", outcome.String(), "error", text, "took", time.Since(j.started))
}

func (j *job) publish(err error, final *jobpb.MetricResults) (jobpb.JobState_Enum, string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.final, j.metrics = final, nil
	j.size += proto.Size(final)
	outcome, text := j.outcome(err)
	j.persistMetrics()
	j.close(outcome, text)
	return outcome, text
}

// close enters the last state, after the error that led to it.
func (j *job) close(outcome jobpb.JobState_Enum, text string) {
	if text != "" {
		j.tell(Error, time.Now(), text)
	}
	j.enter(outcome)
}

// outcome decides how the job ended, and what its last error is. The Python
// client raises for every terminal state but DONE, and shows the last message
// of level Error with it: so that is what tells why.
func (j *job) outcome(err error) (jobpb.JobState_Enum, string) {
	switch {
	case err == nil && j.drainAsked:
		return drained, "the job was drained on request: its sources stopped, and all that was under way is finished"
	case err == nil:
		return done, ""
	case j.state == cancelling && isCancellation(err):
		return cancelled, j.reason
	case j.state == cancelling:
		return cancelled, j.reason + "; while it was being stopped: " + err.Error()
	}
	j.failure = cut(err.Error(), maxMessageBytes)
	return failed, err.Error()
}

func isCancellation(err error) bool {
	return errors.Is(err, context.Canceled) || beam.CodeOf(err) == beam.Cancelled
}

// requestCancel begins to end the job, for the reason given, and returns its
// state. A job that never ran has nothing to wait for.
func (j *job) requestCancel(reason string) jobpb.JobState_Enum {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch j.state {
	case stopped:
		if j.takenBy != "" {
			break // it is another job's now
		}
		j.idle = notIdle
		j.close(cancelled, reason)
	case starting, running, draining:
		j.reason = reason
		j.enter(cancelling)
		j.cancel()
	}
	return j.state
}

// giveUp ends a job that was not run, and tells whether the job has ended.
func (j *job) giveUp() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state == stopped && j.idle == notIdle {
		j.close(cancelled, "the job was prepared, and given up since it was not run")
	}
	return terminal(j.state) && j.settled()
}

// requestDrain asks the job to stop its sources and finish, and returns its
// state.
func (j *job) requestDrain() (jobpb.JobState_Enum, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch j.state {
	case stopped:
		return j.state, status.Errorf(codes.FailedPrecondition, "job %s does not run: there is nothing to drain", j.id)
	case starting, running:
		j.enter(draining)
		j.drainAsked = true
		close(j.drain)
	}
	return j.state, nil
}

// readMetrics asks the running job, or returns what it left behind.
func (j *job) readMetrics() (results *jobpb.MetricResults) {
	j.mu.Lock()
	read, final := j.metrics, j.finalMetrics()
	j.mu.Unlock()
	if final != nil {
		return final
	}
	results = &jobpb.MetricResults{}
	if read == nil {
		return results
	}
	defer func() {
		if p := recover(); p != nil {
			j.log.Error("panic while metrics were read", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	results.Attempted, results.Committed = read()
	return results
}

// info is the job as others get to see it.
func (j *job) info() JobInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	return JobInfo{ID: j.id, Name: j.name, State: j.state, Since: j.since,
		Prepared: j.created, Started: j.started, Error: j.failure,
		Durable: j.durable(), Epoch: j.epoch, Kept: j.idle == idleKept}
}

// bytes is the memory that the job takes in the table, about.
func (j *job) bytes() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size + j.history.bytes()
}

// read returns the next entries of a history after position seq. If there are
// none yet, more is closed when there are; err is errIdle if there will be none
// as things are.
func (j *job) read(h *history, seq int64) (next []entry, more <-chan struct{}, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if next = h.from(seq, readBatch); len(next) == 0 {
		more, err = h.changed(), j.idle.streamEnd(j.id)
	}
	return next, more, err
}

// readBatch is the number of entries that a stream copies out of the history
// under the job's lock.
const readBatch = 128

// reporter is the job as its runner sees it.
type reporter struct{ *job }

// Running implements Reporter.
func (r reporter) Running() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == starting {
		r.enter(running)
	}
}

// Message implements Reporter. After the end there is nobody to tell.
func (r reporter) Message(level Level, at time.Time, text string) {
	if r.takeEcho(level, text) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !terminal(r.state) {
		r.tell(level, at, text)
		r.compactLog()
	}
}

// Metrics implements Reporter.
func (r reporter) Metrics(read func() (attempted, committed []*pipepb.MonitoringInfo)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !terminal(r.state) {
		r.metrics = read
	}
}
