package runner

import (
	"encoding/json"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/state"
	"fresnel/runner/store"
)

// Look implements jobservice.Looker: an Inspection, in JSON, of a job that runs,
// or of one that was stopped.
func (r *Runner) Look(s *jobservice.Submission) (text []byte, err error) {
	defer guard(&err)
	r.mu.Lock()
	j := r.running[s.ID]
	r.mu.Unlock()
	var in *Inspection
	if j != nil {
		in, err = j.look()
	} else {
		in, err = r.inspectKept(s)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(in)
}

func (r *Runner) inspectKept(s *jobservice.Submission) (*Inspection, error) {
	r.carrying.Lock()
	defer r.carrying.Unlock()
	return r.Inspect(s)
}

// enlist has a job found by Look while it runs.
func (r *Runner) enlist(j *job) (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[j.sub.ID] = j
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, j.sub.ID)
	}
}

// look inspects a running job: the loop tells what belongs to it, and what is read
// of the store is read beside it.
func (j *job) look() (*Inspection, error) {
	in := &Inspection{}
	var entries store.Reader
	done := make(chan struct{})
	ask := func() { entries = j.lookInLoop(in); close(done) }
	for _, c := range []func() bool{
		func() bool { return offer(j.looks, ask, j.ctx.Done()) },
		func() bool { return wasClosed(done, j.ctx.Done()) },
	} {
		if !c() {
			return nil, &beam.Error{Code: beam.Unavailable, What: "the job has just ended, or is being cut off"}
		}
	}
	for i := range in.Stages {
		var err error
		if in.Stages[i].State, err = state.Look(entries, i); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func offer(c chan<- func(), f func(), end <-chan struct{}) bool {
	select {
	case c <- f:
		return true
	case <-end:
		return false
	}
}

func wasClosed(done, end <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-end:
		return false
	}
}

func (j *job) lookInLoop(in *Inspection) store.Reader {
	in.Commits = uint64(j.applied)
	if j.journal != nil {
		in.DiskBytes = j.journal.disk.DiskBytes()
	}
	snap := j.engine.Snapshot()
	for i, st := range j.stages {
		s := basicInspection(st, snap.Stages[i])
		switch x := st.executor.(type) {
		case *groupExecutor:
			for n := range x.sizes {
				s.Groups += int(x.sizes[n].keys.Load())
				s.GroupBytes += x.sizes[n].bytes.Load()
			}
		case *sourceExecutor:
			s.Splits = x.inspectSplits()
		}
		in.Stages = append(in.Stages, s)
	}
	return j.store.Entries()
}

// inspectSplits tells the positions, for people where the source knows how.
func (x *sourceExecutor) inspectSplits() []SplitInspection {
	var all []SplitInspection
	d, describes := x.source.(connectors.Describer)
	for _, sp := range x.splits {
		s := SplitInspection{ID: sp.split.ID, Position: sp.position}
		if describes {
			s.Text = d.DescribePosition(sp.position)
		}
		all = append(all, s)
	}
	return all
}
