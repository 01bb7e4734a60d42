package engine

import "time"

// Whether the code of a stage computes shows, where a worker is a process of this
// machine, in the CPU time that it takes: what it took over a span, against the
// clock. The engine asks for it before it widens a stage, and not otherwise.

const (
	// loadSpan is how long a worker is looked at; systems count CPU time in steps of
	// 10 ms.
	loadSpan = instant(100 * time.Millisecond)
	// loadFresh is for how long what was seen holds.
	loadFresh = instant(300 * time.Millisecond)
	// computing is the share of a core from which on a worker computes: with more
	// bundles its interpreter could do half as much again at most.
	computing = 0.65
)

// WorkerLoads answers Ready.Loads, all workers of a pool at once.
type WorkerLoads struct {
	Pool  int
	Loads []WorkerLoad
}

// WorkerLoad is the CPU time that a worker has taken since it began; negative if
// that cannot be seen.
type WorkerLoad struct {
	Worker int
	CPU    time.Duration
}

// load is what is known of the CPU time of a worker.
type load struct {
	// cpu was its CPU time at the time at, the beginning of a span.
	cpu, at instant
	// share of a core that it took over the last span, which ended at seen; unseen:
	// it cannot be told.
	share  float64
	seen   instant
	unseen bool
}

// look takes in the CPU time.
func (l *load) look(cpu time.Duration, now instant) {
	l.unseen = cpu < 0
	span := now - l.at
	switch {
	case l.unseen || l.at > 0 && span < loadSpan:
		return
	case l.at > 0 && span <= loadFresh:
		l.share, l.seen = float64(instant(cpu)-l.cpu)/float64(span), now
	}
	l.cpu, l.at = instant(cpu), now
}

// fresh tells whether the share is that of now.
func (l *load) fresh(now instant) bool { return l.seen > 0 && now-l.seen <= loadFresh }

// workerLoads takes in what the workers of a pool took.
func (e *Engine) workerLoads(ev *WorkerLoads) {
	p := e.pools[ev.Pool]
	p.asked, p.nextLook = false, e.now+loadSpan
	for _, l := range ev.Loads {
		if w := p.find(l.Worker); w != nil {
			w.cpu.look(l.CPU, max(e.now, 1))
		}
	}
}

// loadOf tells whether the workers of a pool compute; known is false while they
// are looked at, seen is false if they cannot be.
func (e *Engine) loadOf(p *pool) (computes, known, seen bool) {
	if !p.Measurable {
		return false, true, false
	}
	share, n := 0.0, 0
	for _, w := range p.workers {
		switch {
		case w == nil || w.leaving:
		case w.cpu.unseen:
			return false, true, false
		case !w.cpu.fresh(e.now):
			e.askLoads(p)
			return false, false, true
		default:
			share, n = share+w.cpu.share, n+1
		}
	}
	return n > 0 && share >= computing*float64(n), true, n > 0
}

// askLoads asks for the CPU times of a pool's workers, now and after a span.
func (e *Engine) askLoads(p *pool) {
	switch {
	case p.asked:
	case e.now < p.nextLook:
		e.wakeAt(p.nextLook)
	default:
		p.asked = true
		e.ready.Loads = append(e.ready.Loads, p.index)
	}
}
