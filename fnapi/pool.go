package fnapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/internal/beam"
)

// pool keeps a number of workers up for one job. One goroutine for each place:
// it hires a worker, waits for its end, hires the next.
type pool struct {
	server   *Server
	env      *Environment
	hash     string
	launcher launcher
	size     int // how many workers it should have
	events   *eventQueue

	ctx    context.Context
	cancel context.CancelFunc
	places sync.WaitGroup
	once   sync.Once

	mu          sync.Mutex
	descriptors map[string]bool
	up          int
	proven      bool      // a worker was up once
	failing     time.Time // of the first failed start since a worker was up
	failures    int       // since then
	failed      bool
}

// hired is a worker that was started, and what it was started as.
type hired struct {
	*worker
	handle handle
}

// Pool starts workers for an environment, or takes warm ones. It returns
// before they are up. The pool closes when ctx ends, if it was not closed.
func (s *Server) Pool(ctx context.Context, env Environment, events PoolEvents) (Pool, error) {
	chosen, err := resolve(env.Env)
	if err != nil {
		return nil, err
	}
	env.Env = chosen
	l, err := s.newLauncher(ctx, &env)
	if err != nil {
		return nil, err
	}
	p := &pool{
		server: s, env: &env, hash: env.hash(), launcher: l,
		events: newEventQueue(events), descriptors: make(map[string]bool),
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	if err := s.open(p); err != nil {
		p.cancel()
		p.events.close()
		return nil, err
	}
	p.start()
	return p, nil
}

func (s *Server) open(p *pool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &beam.Error{Code: beam.Cancelled, What: "the server is closing"}
	}
	s.pools[p] = true
	s.running.Add(1)
	return nil
}

func (p *pool) start() {
	if p.size = p.env.Parallelism; p.size <= 0 {
		p.size = p.choose()
	}
	if text := meaningless(p.env.Env); text != "" {
		p.warn(text)
	}
	for place := range p.size {
		p.places.Go(func() { p.keep(place) })
	}
	p.places.Go(func() {
		if text := p.launcher.notice(p.ctx); text != "" {
			p.warn(text)
		}
	})
	context.AfterFunc(p.ctx, p.Close)
}

// choose is the number of workers where nobody has said it.
func (p *pool) choose() int {
	n := p.launcher.parallelism()
	if _, elsewhere := p.launcher.(*external); elsewhere {
		return n
	}
	fits, why := fitting(p.env.Env, n)
	if why != "" {
		p.warn(fmt.Sprintf("%s, so there is room for %d in place of %d. --sdk_worker_parallelism sets another number.",
			strings.ToUpper(why[:1])+why[1:], fits, n))
	}
	return fits
}

// Close ends the pool. Idle workers that may be kept are warm when it returns;
// the others end by themselves.
func (p *pool) Close() {
	p.once.Do(func() {
		p.events.close()
		p.cancel()
		p.places.Wait()
		p.mu.Lock()
		p.server.descriptors.remove(p.descriptors)
		p.mu.Unlock()
		p.server.mu.Lock()
		delete(p.server.pools, p)
		p.server.mu.Unlock()
		p.server.running.Done()
	})
}

// Settle waits for the last log lines, if there may be some on their way.
func (p *pool) Settle() {
	if p.talks() {
		p.events.awaitSilence()
	}
	p.events.flush()
}

// talks tells that a worker of the pool sends its log here. In LOOPBACK Python
// writes it to the client's terminal.
func (p *pool) talks() bool {
	p.server.mu.Lock()
	workers := slices.Collect(maps.Values(p.server.workers))
	p.server.mu.Unlock()
	return slices.ContainsFunc(workers, func(w *worker) bool { return w.talks.Load() && w.leased() == p })
}

// uses remembers a descriptor, to forget it with the pool.
func (p *pool) uses(descriptor string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.descriptors[descriptor] = true
}

// keep keeps one place filled.
func (p *pool) keep(place int) {
	var pause backoff
	for p.ctx.Err() == nil {
		h, err := p.hire(place)
		switch {
		case err == nil:
			if p.employ(h) > steady {
				pause = 0
			}
		case p.ctx.Err() != nil || p.gaveUp(err):
			return
		}
		pause.wait(p.ctx)
	}
}

// steady is how long a worker must have lived for its successor to be hired at
// once.
const steady = 10 * time.Second

// backoff is the next pause, 0 for none so far.
type backoff time.Duration

func (b *backoff) wait(ctx context.Context) {
	next := min(max(2*time.Duration(*b), 50*time.Millisecond), 5*time.Second)
	*b = backoff(next)
	select {
	case <-time.After(next):
	case <-ctx.Done():
	}
}

// hire takes a worker that is warm or was expected, or starts one and waits until
// it is connected.
func (p *pool) hire(place int) (*hired, error) {
	if h := p.server.warm.take(p.hash); h != nil {
		h.lease(p)
		return h, nil
	}
	if place == 0 {
		if h, err := p.expected(); h != nil || err != nil {
			return h, err
		}
	}
	w := newWorker(p.server, p.env, p.launcher.endpoint(p.server.endpoint))
	w.place = place
	w.lease(p)
	return p.server.startWorker(p.ctx, p.launcher, w)
}

// startWorker has a worker started and waits until it is connected.
func (s *Server) startWorker(ctx context.Context, l launcher, w *worker) (*hired, error) {
	s.enlist(w)
	handle, err := l.launch(ctx, w)
	if err != nil {
		s.dismiss(w)
		w.end(err)
		return nil, err
	}
	h := &hired{w, handle}
	if err := s.awaitConnected(ctx, w); err != nil {
		s.retire(h, err)
		return nil, err
	}
	return h, nil
}

func (s *Server) awaitConnected(ctx context.Context, w *worker) error {
	late := time.NewTimer(s.cfg.ConnectPatience)
	defer late.Stop()
	select {
	case <-w.connected:
		return nil
	case <-w.gone:
		return diedEarly{w.fateNow()}
	case <-ctx.Done():
		return errClosed
	case <-late.C:
		return &beam.Error{Code: beam.Unavailable, Where: "SDK harness " + w.id,
			What: fmt.Sprintf("it was started, but did not connect to %s within %s", w.endpoint, s.cfg.ConnectPatience),
			Cure: "check that this address can be reached from where the worker runs"}
	}
}

var errClosed = &beam.Error{Code: beam.Cancelled, What: "the pool of SDK harnesses was closed"}

// employ has the worker work until it is lost or the pool is closed, and tells
// how long that was.
func (p *pool) employ(h *hired) time.Duration {
	began := time.Now()
	p.counted(1)
	p.events.tell(func(e PoolEvents) { e.WorkerUp(h.worker) })
	nurse := newNurse(p, h)
	rounds := time.NewTicker(roundEvery)
	defer rounds.Stop()
	meeting := time.NewTimer(meetAfter)
	defer meeting.Stop()
	for {
		select {
		case <-meeting.C:
			nurse.meet()
		case <-h.gone:
			p.counted(-1)
			err := h.fateNow()
			p.events.tell(func(e PoolEvents) { e.WorkerLost(h.worker, err) })
			p.server.retire(h, err)
			return time.Since(began)
		case <-p.ctx.Done():
			p.release(h)
			return time.Since(began)
		case <-rounds.C:
			nurse.round()
		}
	}
}

func (p *pool) counted(change int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up += change
	p.proven = true
	p.failures, p.failing = 0, time.Time{}
}

// release gives up a worker that works. One with bundles under way, which
// nobody waits for any more, is first left to come to their ends.
func (p *pool) release(h *hired) {
	h.lease(nil)
	settled := h.abandon(errClosed)
	if h.idle() {
		p.letGo(h)
		return
	}
	p.server.running.Go(func() {
		p.server.awaitEnds(h, settled)
		p.letGo(h)
	})
}

// letGo keeps a worker for the next job, or ends it.
func (p *pool) letGo(h *hired) {
	if p.launcher.keep() && h.idle() && p.server.warm.put(p.hash, h) {
		return
	}
	if _, elsewhere := p.launcher.(*external); elsewhere && h.python {
		p.server.part(h) // a process of ours gets its time when it is stopped
	}
	p.server.retire(h, errClosed)
}

// endsPatience is how long a harness may take to end bundles that were
// abandoned. Their input has ended, so most take no longer than an element. A
// Python harness whose control stream ends before prints a traceback for each,
// which in LOOPBACK is in the user's terminal, over the error that matters.
const endsPatience = 3 * time.Second

func (s *Server) awaitEnds(h *hired, settled <-chan struct{}) {
	late := time.NewTimer(endsPatience)
	defer late.Stop()
	select {
	case <-settled:
	case <-h.gone:
	case <-s.closing:
	case <-late.C:
	}
}

// retire ends a worker for good; what was started for it ends in the
// background.
func (s *Server) retire(h *hired, why error) {
	h.end(why)
	s.running.Go(func() {
		h.handle.stop()
		s.dismiss(h.worker)
	})
}

// maxFailures is how many workers in a row may end before they connect, where
// none has ever worked.
const maxFailures = 3

// gaveUp counts a failed start, and tells if the pool, or this place in it, is
// to be given up.
func (p *pool) gaveUp(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed {
		return true
	}
	if p.failures++; p.failing.IsZero() {
		p.failing = time.Now()
	}
	giveUp := isHopeless(err) || !p.proven && isEarlyDeath(err) && p.failures >= maxFailures ||
		time.Since(p.failing) > p.patience()
	if p.up > 0 || !giveUp {
		if p.failures == 1 {
			p.warn("An SDK harness could not be started, trying again: " + err.Error())
		}
		return false
	}
	p.failed = true
	p.events.tell(func(e PoolEvents) { e.PoolFailed(err) })
	return true
}

// patience is how long no worker may be there. Called with p.mu held.
func (p *pool) patience() time.Duration {
	if p.proven && p.env.ComesBack {
		return p.server.cfg.AwayPatience
	}
	return p.server.cfg.StartPatience
}

func (p *pool) warn(text string) {
	p.events.log(LogEntry{Severity: int(fnpb.LogEntry_Severity_WARN), At: time.Now(), Message: text})
}

// diedEarly is the error of a worker that ended before it connected.
type diedEarly struct{ error }

func (d diedEarly) Unwrap() error { return d.error }

func isEarlyDeath(err error) bool {
	var d diedEarly
	return errors.As(err, &d)
}

// hopeless is the error of a start that another try would meet as well.
type hopeless struct{ error }

func (h hopeless) Unwrap() error { return h.error }

func isHopeless(err error) bool {
	var h hopeless
	return errors.As(err, &h)
}

func droppedLogs(last LogEntry, n int) LogEntry {
	return LogEntry{
		Worker: last.Worker, At: last.At, Severity: int(fnpb.LogEntry_Severity_WARN),
		Message: fmt.Sprintf("%d log lines of SDK harnesses were dropped: they came faster than they could be shown", n),
	}
}
