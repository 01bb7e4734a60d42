package engine

import "time"

// schedule starts what may start.
func (e *Engine) schedule() {
	for _, p := range e.pools {
		for !p.ready.empty() && e.startOne(p) {
		}
		e.watch(p)
	}
}

// patience is how many bundles of others a ready stage lets pass.
const patience = 8

// startOne starts the bundle that matters most: of a stage that has waited too
// long, otherwise of the one farthest downstream, so that what is under way is
// finished before more is begun.
func (e *Engine) startOne(p *pool) bool {
	for r := p.ready.next(0); r >= 0; r = p.ready.next(r + 1) {
		if st := e.byRank[r]; p.picks-st.since > patience && e.startStage(st) {
			return true
		}
	}
	for r := p.ready.before(len(e.byRank)); r >= 0; r = p.ready.before(r) {
		if e.startStage(e.byRank[r]) {
			return true
		}
	}
	return false
}

// startStage starts a bundle of the stage, if there is a place for it now.
func (e *Engine) startStage(st *stage) bool {
	if st.idle() {
		st.pool.ready.clear(st.rank)
		return false
	}
	b, w := e.next(st)
	if b == nil {
		return false
	}
	e.start(b, w)
	st.pool.picks++
	st.since = st.pool.picks
	return true
}

// next returns the bundle that the stage would start, and where.
func (e *Engine) next(st *stage) (*bundle, *worker) {
	b, w := e.nextNow(st)
	if b == nil && e.widen(st) {
		b, w = e.nextNow(st)
	}
	return b, w
}

func (e *Engine) nextNow(st *stage) (*bundle, *worker) {
	if e.stays(st) {
		return nil, nil
	}
	if len(st.again) > 0 {
		w := st.pool.freest(st, e.now, anyWorker)
		if w == nil {
			return nil, nil
		}
		b := st.again[0]
		st.again = st.again[1:]
		return b, w
	}
	if st.Role == Source && e.rests() {
		return nil, nil
	}
	w := st.pool.freest(st, e.now, func(w *worker) bool { return e.suits(st, w) })
	if w == nil {
		w = e.steal(st)
	}
	if w == nil {
		return nil, nil
	}
	b := e.form(st, st.laneAt(w), e.room(st))
	if len(b.work) == 0 {
		return nil, nil
	}
	return b, w
}

func anyWorker(*worker) bool { return true }

// laneAt is the lane that the worker takes from.
func (st *stage) laneAt(w *worker) *lane {
	if st.Exclusive {
		return &st.lanes[w.pos]
	}
	return &st.lanes[0]
}

// room is the size of the stage's next bundle: its fair share of what is
// pending, at least what is worth the fixed cost, at most what the target time
// allows.
func (e *Engine) room(st *stage) room {
	limit := e.limit(st)
	if st.waits() && st.cost.seen == 0 {
		limit = min(probe, limit)
	}
	share := ceil(st.queued.elements, st.pool.slotsOf(st))
	return room{
		want: amount{
			elements: min(max(share, st.enough()), limit),
			bytes:    e.MaxBundleBytes,
		},
		limit: amount{elements: e.most(st, limit), bytes: e.MaxBundleBytes},
	}
}

// enough is how many elements make a bundle worth its fixed cost. Of restrictions,
// of which none has been measured, one may.
func (st *stage) enough() int {
	if st.Restrictions && st.cost.seen == 0 {
		return 1
	}
	return st.cost.enough()
}

// most is how much one shard may give to a bundle.
func (e *Engine) most(st *stage, limit int) int {
	if e.Streaming || !st.Exclusive {
		return limit
	}
	return min(max(limit, st.cost.limitOf(gatheredFirst, gatheredTargets*e.TargetBundle)), e.cap(st))
}

// cap is how many elements a bundle of the stage has at most, whatever was measured.
func (e *Engine) cap(st *stage) int {
	if st.MaxElements > 0 {
		return min(st.MaxElements, e.MaxBundleElements)
	}
	return e.MaxBundleElements
}

func ceil(a, b int) int { return (a + b - 1) / b }

// suits tells whether the worker should take a bundle of the stage now. A small
// bundle may have to wait a little, for more to come.
func (e *Engine) suits(st *stage, w *worker) bool {
	l := st.laneAt(w)
	if len(l.shards) == 0 || st.pool.spares(w, st) || e.gathers(st, w) {
		return false
	}
	if w.wide || e.worthwhile(st, l) {
		return true
	}
	longest := longestWait * st.cost.fixed
	wait := instant(e.crowding(w) * longest)
	if wait <= 0 {
		return true
	}
	if l.deferred == never {
		l.deferred = e.now
	}
	start := l.deferred + wait
	if w.load == 0 {
		start = min(max(l.deferred, w.idleSince)+wait, l.deferred+instant(2*longest))
	}
	if e.now >= start {
		return true
	}
	e.wakeAt(max(start, e.now+shortestWait))
	return false
}

// longestWait is for how many times its fixed cost a small bundle is held back:
// then it costs less than a tenth of the worker's time.
const longestWait = 10

// crowding tells how much a small bundle would keep the worker from better
// work, from 0 (start at once) to 1 (wait as long as may be).
//
// An idle worker that is busy for less than BusyLimit of the time takes all at
// once; above that the wait grows with the square of the excess, so that close
// to the limit it is too short to be felt, and a worker with far too many
// small bundles settles a few per cent above it.
func (e *Engine) crowding(w *worker) float64 {
	if w.load > 0 {
		if !e.Streaming || w.busy > e.BusyLimit/2 {
			return 1 // wait for the one in flight
		}
		return 0
	}
	if !e.Streaming || w.busy <= e.BusyLimit {
		return 0
	}
	excess := (w.busy - e.BusyLimit) / (1 - e.BusyLimit)
	return excess * excess
}

// worthwhile tells whether the bundle that a lane would give is not small.
func (e *Engine) worthwhile(st *stage, l *lane) bool {
	enough := min(st.enough(), e.limit(st))
	elements := 0
	for _, i := range l.shards {
		if st.class(i) != st.class(l.shards[0]) {
			continue
		}
		if elements += st.shards[i].queue.elements; elements >= enough {
			return true
		}
	}
	return false
}

// wakeAt asks for a tick.
func (e *Engine) wakeAt(t instant) { e.wake = min(e.wake, t) }

// rests tells whether a source must wait for what it has produced to be worked
// off (I9). It may go on where nothing else moves, and now and then in any
// case: what is pending may wait for a watermark that only the source can move.
func (e *Engine) rests() bool {
	if e.MaxPendingBytes <= 0 || e.held <= e.MaxPendingBytes || !e.moves() {
		return false
	}
	next := e.lastRead + instant(sourceTrickle)
	if e.now >= next {
		return false
	}
	e.wakeAt(next)
	return true
}

// sourceTrickle is how often a source goes on above the limit.
const sourceTrickle = time.Second
