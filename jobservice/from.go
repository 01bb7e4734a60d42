package jobservice

import (
	"fmt"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fresnel/internal/beam"
)

// A job may begin with the state of one that was stopped (option restore_from).
// The state moves, it is not copied: once the new job has it the old one is
// UPDATED, so that there are never two that write to one sink by one name.
//
//	old  STOPPED, kept ───reserved by Run───▶ UPDATED, its state is removed
//	new  Prepare ──▶ Run ──▶ the runner writes its own state ──Took()──┘
//
// The new job's record names the old one before that begins, and the runner knows
// whether it has done it: a crash at any point repeats what was not.

// restoreOption names the job to begin with.
const restoreOption = "restore_from"

// findKept returns the job that a client wants to begin with: by its id, the
// beginning of one, or by its name the newest.
func (s *Service) findKept(word string) (*job, error) {
	if s.data == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "--%s=%s: the server has no data directory, and so keeps no job's state", restoreOption, word)
	}
	var byID, byName []*job
	for _, j := range s.all() {
		switch {
		case string(j.id) == word:
			return j, j.mayBeTaken()
		case strings.HasPrefix(string(j.id), word):
			byID = append(byID, j)
		case j.name == word && j.mayBeTaken() == nil:
			byName = append(byName, j)
		}
	}
	switch {
	case len(byID) == 1:
		return byID[0], byID[0].mayBeTaken()
	case len(byName) > 0:
		return byName[0], nil
	case len(byID) > 1:
		return nil, status.Errorf(codes.InvalidArgument, "--%s=%s: %d jobs begin with that", restoreOption, cut(word, 200), len(byID))
	}
	return nil, status.Errorf(codes.NotFound, "--%s=%s: there is no such job here (`fresnel jobs` lists them)", restoreOption, cut(word, 200))
}

// mayBeTaken tells why another job cannot begin with this one's state.
func (j *job) mayBeTaken() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.takeable()
}

func (j *job) takeable() error {
	switch {
	case j.takenBy != "":
		return status.Errorf(codes.FailedPrecondition, "job %s is being taken over by job %s", j.id, j.takenBy)
	case j.idle == idleKept:
		return nil
	case terminal(j.state):
		return status.Errorf(codes.FailedPrecondition, "job %s is %s: nothing is kept of it", j.id, j.state)
	}
	return status.Errorf(codes.FailedPrecondition, "job %s is %s: stop it first, with `fresnel jobs stop --savepoint %s`", j.id, j.state, j.id)
}

// fromID names the job that this one begins with. The caller holds the lock.
func (j *job) fromID() beam.JobID {
	if j.from == nil {
		return ""
	}
	return j.from.id
}

// beginsWith notes the job that this one begins with.
func (j *job) beginsWith(old *job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.from = old
}

// reserve keeps the job that j begins with for it, if there is one. Epochs go on
// from that one's, so that what is left of it is fenced.
func (s *Service) reserve(j *job) error {
	j.mu.Lock()
	old, began := j.from, j.idle != notIdle
	j.mu.Unlock()
	if old == nil {
		return nil
	}
	epoch, err := old.lend(j.id)
	if err != nil || began {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.epoch = epoch + 1
	return nil
}

// lend keeps the job for another one, and returns its epoch.
func (j *job) lend(to beam.JobID) (epoch int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.takenBy != to {
		if err := j.takeable(); err != nil {
			return 0, err
		}
		j.takenBy = to
	}
	return j.epoch, nil
}

// release gives the job back that j was to begin with, and did not.
func (s *Service) release(j *job) {
	j.mu.Lock()
	old, ended := j.from, terminal(j.state)
	if ended {
		j.from = nil
	}
	j.mu.Unlock()
	if old == nil || !ended {
		return
	}
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.takenBy == j.id {
		old.takenBy = ""
	}
}

// took is the end of the job that j has begun with.
func (s *Service) took(j *job) {
	j.mu.Lock()
	old := j.from
	j.from = nil
	j.mu.Unlock()
	if old == nil {
		return
	}
	old.mu.Lock()
	old.idle = notIdle
	old.tell(Basic, time.Now(), fmt.Sprintf("job %s has taken over the state of this one, and goes on from there", j.id))
	old.enter(jobpb.JobState_UPDATED)
	old.mu.Unlock()
	old.settle()
}

// reunite finds the jobs that jobs of the data directory were to begin with.
func (s *Service) reunite() {
	for _, j := range s.all() {
		j.mu.Lock()
		id, waits := beam.JobID(""), j.idle != notIdle
		if j.dir != nil {
			id = j.dir.record.From
		}
		j.mu.Unlock()
		s.mu.Lock()
		old := s.jobs[id]
		s.mu.Unlock()
		if id == "" || !waits || old == nil {
			continue
		}
		old.mu.Lock()
		kept := old.idle == idleKept
		if kept {
			old.takenBy = j.id
		}
		old.mu.Unlock()
		if kept {
			j.beginsWith(old)
		}
	}
}

// requestHalt has a durable job come to a rest, and then stop; it returns the
// state, which is STOPPED once that is done.
func (j *job) requestHalt() (jobpb.JobState_Enum, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.idle == idleKept || terminal(j.state) || j.leaving == leavingKept:
		return j.state, nil
	case j.state == draining:
		return j.state, status.Errorf(codes.FailedPrecondition, "job %s drains, and ends by itself: nothing would be kept of it", j.id)
	}
	if err := j.stoppable(); err != nil {
		return j.state, err
	}
	j.leaving = leavingKept
	j.tell(Basic, time.Now(), "the job comes to a rest: sources are not read any more, and what is under way is finished")
	close(j.halt)
	return j.state, nil
}
