package jobservice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// place gives a job that is about to run its place in the data directory, and
// returns what the runner gets.
func (s *Service) place(j *job) (*Submission, error) {
	var err error
	switch {
	case s.data == nil:
		j.warnOfMemory()
	case j.dir == nil:
		err = s.enrol(j, s.asksDurable(j))
	default:
		err = j.saveRun()
	}
	sub := j.submission(s.getEndpoint())
	sub.Took = func() { s.took(j) }
	if sub.Dir != "" {
		sub.Began = j.began
	}
	return sub, err
}

// asksDurable asks the runner whether the job is to survive the server.
func (s *Service) asksDurable(j *job) (durable bool) {
	defer func() {
		if p := recover(); p != nil {
			j.log.Error("panic while the durability of a job was decided", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return s.runner.Durable(j.submission(s.getEndpoint()))
}

// enrol makes the job's directory. That a job in memory has none is a loss that
// it can live with.
func (s *Service) enrol(j *job, durable bool) error {
	if durable {
		if err := s.store.sync(j.artifacts()); err != nil {
			return enrolError(err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	dir := &jobDir{path: s.data.job(j.id), seal: s.data.seal, record: record{
		recordHead: recordHead{ID: j.id, Name: j.name, Prepared: j.created, Started: j.started,
			Durable: durable, Epoch: j.epoch, Phase: phaseRuns, From: j.fromID()},
		request: &jobpb.PrepareJobRequest{Pipeline: j.pipeline, PipelineOptions: j.options},
	}}
	err := dir.create(&j.history)
	if err == nil {
		j.dir = dir
		return nil
	}
	if dir.log != nil {
		_ = dir.log.close()
	}
	_ = dir.remove() // what is left of it is removed at the next start
	if durable {
		return enrolError(err)
	}
	j.log.Error("the job cannot be recorded: nobody knows of it after this server", "error", err)
	return nil
}

func enrolError(err error) error {
	return &beam.Error{Code: beam.ResourceExhausted, What: "the job cannot be written to the server's data directory", Cause: err,
		Cure: "see that it can be written and has room, or submit the job with --durability=memory"}
}

// warnOfMemory tells a job that asked for the disk that there is none.
func (j *job) warnOfMemory() {
	if ParseOptions(j.getOptions()).Str("durability", "") != "disk" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tell(Warning, time.Now(), "--durability=disk: the server has no data directory, so the job's state lives in memory and ends with the server")
}

// Recover reads the jobs of the data directory into the table, and goes on with
// those that an earlier server left unfinished. Those that cannot go on fail,
// with the reason. What cannot be read is left alone; the log tells of it. It is
// called once, before clients are served.
func (s *Service) Recover(ctx context.Context) error {
	if s.data == nil {
		return nil
	}
	entries, err := os.ReadDir(s.data.jobs())
	if err != nil {
		return dataDirError(s.data.path, err)
	}
	unreadable := 0
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.load(beam.JobID(e.Name())); err != nil {
			unreadable++
			s.log.Warn("a job of the data directory cannot be read, and is left alone", "path", s.data.job(beam.JobID(e.Name())), "error", err)
		}
	}
	if unreadable == 0 { // else nobody knows which artifacts are needed
		s.store.removeUploads()
		s.sweep()
	}
	s.reunite()
	s.tidy()
	return s.goOn()
}

// load puts a job of the data directory in the table.
func (s *Service) load(id beam.JobID) error {
	dir := &jobDir{path: s.data.job(id), seal: s.data.seal}
	r, request, err := openRecord(dir.recordPath(), id, s.data.seal)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(dir.path) // the rest of a job that began or ended in a crash
	}
	if err != nil {
		return err
	}
	var p *past
	if r.Phase == phaseEnded {
		p, err = pastOf(request)
	} else {
		err = r.parse(request)
	}
	if err != nil {
		return err
	}
	dir.record = *r
	t, err := dir.reopen(s)
	if err != nil {
		return err
	}
	j := restoredJob(dir, t, s)
	j.restore(p, t.metrics)
	j.sortOut()
	return s.add(j)
}

// restore gives a job of the data directory its pipeline, or its past, and the
// metrics in its log.
func (j *job) restore(p *past, metrics []byte) {
	if p != nil {
		p.metrics = metrics
		j.become(p)
		return
	}
	r := j.dir.record.request
	j.pipeline, j.options, j.size = r.GetPipeline(), r.GetPipelineOptions(), proto.Size(r)
	if terminal(j.state) {
		j.final = j.parseMetrics(metrics)
	}
}

// reopen reads the log, and opens it for more.
func (d *jobDir) reopen(s *Service) (*told, error) {
	t, err := readLog(d.logPath())
	if errors.Is(err, fs.ErrNotExist) {
		t = &told{}
		return t, d.newLog(&t.history)
	}
	if err != nil {
		return nil, err
	}
	if t.cutOff > 0 {
		s.log.Info("a job's log ends in what a crash cut off", "path", d.logPath(), "bytes", t.cutOff)
	}
	d.log, err = reopenLog(d.logPath(), t.size)
	return t, err
}

// restoredJob is the job as its directory has it.
func restoredJob(dir *jobDir, t *told, s *Service) *job {
	r := dir.record
	j := &job{
		id: r.ID, name: r.Name, token: randomHex(16),
		created: r.Prepared,
		started: r.Started,
		log:     s.log.With("job", string(r.ID)),
		history: t.history,
		states:  t.states,
		state:   t.state,
		since:   t.since,
		staged:  true,
		drain:   make(chan struct{}),
		halt:    make(chan struct{}),
		dir:     dir,
		epoch:   r.Epoch,
	}
	if t.state == failed {
		j.failure = t.lastError
	}
	if t.drained {
		j.drainAsked = true
		close(j.drain)
	}
	return j
}

// sortOut decides what becomes of a job that an earlier server had.
func (j *job) sortOut() {
	r := &j.dir.record
	switch {
	case terminal(j.state): // the log is right, whatever the record says
	case r.Phase == phaseEnded:
		j.fail("the job has ended, and its log is damaged: how it ended is not known")
	case r.Phase == phaseKept:
		if j.state != stopped {
			j.enter(stopped)
		}
		j.idle = idleKept
	case j.state == cancelling:
		j.close(cancelled, "the job was cancelled on request, and its server ended meanwhile")
	case ParseOptions(j.options).EnvironmentType() == "LOOPBACK":
		j.fail("the server was started again, and the workers of the job have gone with the program that submitted it " +
			"(submit it again; a job outlives its program with --environment_type=PROCESS, DOCKER or EXTERNAL)")
	case !r.Durable:
		j.fail("the server was started again, and the state of the job was in the memory of the one before " +
			"(submit it again; with --durability=disk a job outlives its server)")
	default:
		j.idle = idleLeft
	}
	j.settle()
}

func (j *job) fail(reason string) {
	j.failure = reason
	j.close(failed, reason)
}

// goOn runs the jobs that were left to this server.
func (s *Service) goOn() error {
	var errs []error
	for _, j := range s.all() {
		j.mu.Lock()
		left := j.idle == idleLeft
		j.mu.Unlock()
		if !left {
			continue
		}
		j.log.Info("job goes on", "name", j.name)
		if err := s.launch(j); err != nil {
			errs = append(errs, fmt.Errorf("job %s cannot go on: %w", j.id, err))
		}
	}
	return errors.Join(errs...)
}
