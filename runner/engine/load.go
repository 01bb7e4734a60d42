package engine

import (
	"slices"
	"time"
)

// Whether the code of a stage computes shows, where a worker is a process of this
// machine, in the CPU time that it takes: what it took over a span, against the
// time of that in which it had bundles. The engine asks for it before it widens a
// stage, and to see whether bundles should run in pairs, and not otherwise.

const (
	// loadSpan is how long a worker is looked at: interpreters stop for some
	// milliseconds to collect garbage, and some systems count CPU time in steps of
	// 10 ms.
	loadSpan = instant(100 * time.Millisecond)
	// loadFresh is for how long what was seen holds.
	loadFresh = instant(300 * time.Millisecond)
	// busyShare is the share of a core from which on a worker computes: with more
	// bundles its interpreter could do half as much again at most.
	busyShare = 0.65
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
	// busy is how much of the span so far it had bundles, bundles the same for each
	// of them, summed; stages are theirs.
	busy, bundles instant
	stages        []*stage
}

// pass notes that n bundles, one or more, were in flight for some time.
func (l *load) pass(dt instant, n int) {
	l.busy += dt
	l.bundles += dt * instant(n)
}

// begin notes that a bundle of the stage begins.
func (l *load) begin(st *stage) {
	if !slices.Contains(l.stages, st) {
		l.stages = append(l.stages, st)
	}
}

// look takes in the CPU time, and tells whether a span has ended that says
// something.
func (l *load) look(cpu time.Duration, now instant) bool {
	l.unseen = cpu < 0
	span := now - l.at
	switch {
	case l.unseen || l.at > 0 && span < loadSpan:
		return false
	case l.at > 0 && span <= loadFresh && l.busy >= loadSpan/2:
		l.share, l.seen = float64(instant(cpu)-l.cpu)/float64(l.busy), now
	}
	l.cpu, l.at = instant(cpu), now
	return l.seen == now
}

// anew begins a span with the bundles that are in flight.
func (l *load) anew(running []*bundle) {
	l.busy, l.bundles, l.stages = 0, 0, l.stages[:0]
	for _, b := range running {
		l.begin(b.stage)
	}
}

// fresh tells whether the share is that of now.
func (l *load) fresh(now instant) bool { return l.seen > 0 && now-l.seen <= loadFresh }

// workerLoads takes in what the workers of a pool took.
func (e *Engine) workerLoads(ev *WorkerLoads) {
	p := e.pools[ev.Pool]
	p.asked, p.nextLook = false, e.now+loadSpan
	for _, l := range ev.Loads {
		if w := p.find(l.Worker); w != nil {
			w.pass(e.now)
			w.look(l.CPU, max(e.now, 1))
			p.alone = p.alone && !w.cpu.unseen
		}
	}
}

// look takes in the CPU time of the worker.
func (w *worker) look(cpu time.Duration, now instant) {
	if w.cpu.look(cpu, now) {
		w.cpu.judge()
	}
	if w.cpu.at == now {
		w.cpu.anew(w.running)
	}
}

// sight is what shows of the workers of a pool.
type sight uint8

const (
	hidden    sight = iota // their CPU time cannot be seen
	lookedAt               // they are being looked at: it will show
	computing              // they compute
	idling                 // they have time left
)

// sightOf looks at the workers of a pool.
func (e *Engine) sightOf(p *pool) sight {
	share, n := 0.0, 0
	for _, w := range p.workers {
		switch {
		case w == nil || w.leaving:
		case !p.Measurable || w.cpu.unseen:
			return hidden
		case !w.cpu.fresh(e.now):
			e.askLoads(p)
			return lookedAt
		default:
			share, n = share+w.cpu.share, n+1
		}
	}
	switch {
	case n == 0:
		return hidden
	case share >= busyShare*float64(n):
		return computing
	}
	return idling
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
