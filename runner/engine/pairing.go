package engine

import "time"

// pairing is whether a worker runs two bundles of a stage at once, or one after
// the other. Two keep an interpreter busy while one of them begins, ends or waits
// for an answer, and both cores where the code leaves the interpreter's lock. But
// where both compute under that lock, they only take turns, and turns are dear:
// Python took 4 to 12 % more CPU time for the same work (docs/decisions/076).
//
// Where the CPU time of workers can be seen, bundles run alone at first. If that
// leaves a worker time, they run in pairs. What a pair would put out on more than
// one core does not show while there is none: after some bundles it is tried.
//
// It is so in bounded jobs only: elsewhere what comes next should not wait.
type pairing struct {
	paired bool
	// rest is how many more bundles must end before the other way is tried, or a
	// pair is looked at; tried is how often pairs were found to be no better.
	rest, tried int
}

const (
	// parallelShare is the share of a core from which on a pair's code must be
	// running on more than one: what an interpreter's other threads do beside its
	// lock, for I/O, is less.
	parallelShare = 1.4
	// pairFrom is the mean number of bundles in flight from which on it was a pair.
	pairFrom = 1.5
	// tryAfter is after how many bundles a pair is tried for the first time.
	tryAfter = 16
	// firstLook is after how much time with bundles a worker is looked at for the
	// first time, idleLook the same where no other bundle waits: to find its process may
	// take 10 ms, a fifth of what a small job does. nextLook is how often it is
	// looked at later, while bundles run alone.
	firstLook = instant(20 * time.Millisecond)
	idleLook  = instant(100 * time.Millisecond)
	nextLook  = instant(200 * time.Millisecond)
)

func newPairing() pairing { return pairing{rest: tryAfter} }

// judge takes in the share of a core that a worker took with so many bundles in
// flight, all of the stage.
func (p *pairing) judge(share, inFlight float64) {
	switch {
	case share < busyShare: // there is time for another
		*p = pairing{paired: true, rest: restFor, tried: p.tried}
	case !p.paired || inFlight < pairFrom:
	case share > parallelShare:
		p.rest = restFor
	default:
		p.tried++
		*p = pairing{rest: tryAfter << min(p.tried, 6), tried: p.tried}
	}
}

// ended notes the end of a bundle of the stage.
func (p *pairing) ended() {
	if p.rest--; p.rest <= 0 {
		p.paired = true
	}
}

// alone tells whether a worker that runs a bundle of the stage takes no other.
func (st *stage) alone() bool {
	return !st.pairing.paired && st.pool.alone && !st.waits() && !st.lingers()
}

// judge takes in what the worker's CPU time tells of the stages that it was taken
// for.
func (l *load) judge() {
	for _, st := range l.stages {
		// Of several nobody can tell whose it was, but that there is time.
		if len(l.stages) == 1 || l.share < busyShare {
			st.pairing.judge(l.share, float64(l.bundles)/float64(l.busy))
		}
	}
}

// watch has the CPU times of workers told that may say how bundles should run.
func (e *Engine) watch(p *pool) {
	if !p.alone {
		return
	}
	for _, w := range p.workers {
		if w != nil && w.load > 0 && e.telling(p, w) {
			e.askLoads(p)
			return
		}
	}
}

// telling tells whether the worker's CPU time is worth asking for now.
func (e *Engine) telling(p *pool, w *worker) bool {
	st := w.running[0].stage
	if st.lingers() || st.waits() {
		return false
	}
	if st.pairing.paired {
		return st.pairing.rest <= 0 && len(w.running) > 1
	}
	next := w.cpu.at + nextLook
	switch {
	case w.cpu.at == 0 && p.ready.empty():
		next = w.seen + idleLook - w.cpu.busy
	case w.cpu.at == 0:
		next = w.seen + firstLook - w.cpu.busy
	case w.cpu.seen == 0:
		next = w.cpu.at + loadSpan
	}
	if next > e.now {
		e.wakeAt(next)
		return false
	}
	return true
}
