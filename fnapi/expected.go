package fnapi

import (
	"context"
	"sync"
	"time"

	"fresnel/internal/beam"
)

// expected are the workers of jobs that are about to run. To start one takes about
// as long as its client needs from Prepare to Run, for staging: so one is done
// during the other, which is much of the time of a small job.
type expected struct {
	mu     sync.Mutex
	starts map[expectedFor]*earlyStart
}

// expectedFor is what a worker is started for.
type expectedFor struct {
	job beam.JobID
	env beam.EnvironmentID
}

// earlyStart is a worker that was asked for early. It belongs to who takes it out
// of the map.
type earlyStart struct {
	cancel context.CancelFunc
	taken  chan struct{}
	done   chan struct{} // closed when one of the next two is set
	hired  *hired
	err    error
}

// Expect starts a worker for a job that was prepared and will probably be run. The
// first pool of that job and environment takes it; if none does within
// ExpectPatience it is stopped. It is for workers that the job's own client serves
// (LOOPBACK): those of others may ask for artifacts that are not staged yet.
func (s *Server) Expect(env Environment) {
	chosen, err := resolve(env.Env)
	if err != nil || chosen.GetUrn() != urnExternal {
		return // the pool will tell
	}
	env.Env = chosen
	l, err := newExternal(chosen.GetPayload())
	if err != nil || !s.beginExpected() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	start := &earlyStart{cancel: cancel, taken: make(chan struct{}), done: make(chan struct{})}
	id := expectedFor{env.Job, env.ID}
	s.expected.put(id, start)
	s.running.Go(func() {
		defer close(start.done)
		start.hired, start.err = s.startWorker(ctx, l, newWorker(s, &env, l.endpoint(s.endpoint)))
	})
	go func() {
		defer s.running.Done()
		s.awaitTaken(id, start)
	}()
}

// beginExpected makes Close wait, unless it was called before.
func (s *Server) beginExpected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// awaitTaken lets a worker go that nobody takes.
func (s *Server) awaitTaken(id expectedFor, start *earlyStart) {
	late := time.NewTimer(s.cfg.ExpectPatience)
	defer late.Stop()
	select {
	case <-start.taken:
		return
	case <-late.C:
	case <-s.closing:
	}
	if s.expected.take(id) != start {
		return
	}
	select {
	case <-start.done: // a start that is cut off may leave a worker behind
	case <-s.closing:
	}
	s.giveUp(start)
}

// giveUp ends a start that was taken, and what has come of it.
func (s *Server) giveUp(start *earlyStart) {
	start.cancel()
	<-start.done
	if start.hired != nil {
		s.retire(start.hired, errClosed)
	}
}

func (x *expected) put(id expectedFor, start *earlyStart) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.starts[id] = start
}

// take returns what is being started, nil if nothing is.
func (x *expected) take(id expectedFor) *earlyStart {
	x.mu.Lock()
	defer x.mu.Unlock()
	start := x.starts[id]
	if start != nil {
		delete(x.starts, id)
		close(start.taken)
	}
	return start
}

// expected is the worker that was started early for this pool, nil if there is
// none. It waits for one that is being started.
func (p *pool) expected() (*hired, error) {
	start := p.server.expected.take(expectedFor{p.env.Job, p.env.ID})
	if start == nil {
		return nil, nil
	}
	select {
	case <-start.done:
		start.cancel()
	case <-p.ctx.Done():
		p.server.giveUp(start)
		return nil, errClosed
	}
	if start.err != nil {
		return nil, start.err
	}
	if !start.hired.idle() { // it is lost
		p.server.retire(start.hired, errClosed)
		return nil, nil
	}
	start.hired.lease(p)
	return start.hired, nil
}
