package engine

import "fresnel/internal/beam"

// refresh looks again at what a shard has to do, and lists it or sets its
// alarms. It is called whenever something of the shard has changed.
func (e *Engine) refresh(st *stage, i int) {
	switch {
	case st.Role == Sink:
		e.offer(st, i)
	case e.takeable(st, i):
		e.list(st, i)
	default:
		e.alarm(st, i)
	}
}

// takeable tells whether a shard has work that may start.
func (e *Engine) takeable(st *stage, i int) bool {
	sh := &st.shards[i]
	if (st.Exclusive || st.reads()) && (len(sh.order) > 0 || sh.early != nil) && e.broken != shareShards {
		return false // I4
	}
	if len(sh.order) >= maxAhead {
		return false
	}
	switch st.Role {
	case Source:
		return !sh.done && sh.nextClock <= e.now
	case Process:
		return e.stableFront(sh) || st.Exclusive && e.state != Halting && e.rings(st, sh)
	}
	return false
}

// maxAhead bounds the bundles of one shard that are on their way: those that
// have finished keep their outcome until the first of them has.
const maxAhead = 32

// rings tells whether a timer of the shard is due.
func (e *Engine) rings(st *stage, sh *shard) bool {
	return sh.nextEvent <= st.input || e.clockDue(st, sh)
}

// clockDue tells whether a processing-time timer of the shard is due. Where a drain
// has brought the stage's input to its end, none waits for its time: who drains
// wants to see the end of the job.
func (e *Engine) clockDue(st *stage, sh *shard) bool {
	return sh.nextClock <= e.now || sh.nextClock != never && e.state == Draining && st.input >= beam.MaxEventTime
}

// nextEventOf is when the shard rings by its stage's watermark.
func (e *Engine) nextEventOf(st *stage, sh *shard) beam.EventTime {
	if sh.nextClock != never && e.state == Draining && !st.reads() {
		return min(sh.nextEvent, beam.MaxEventTime)
	}
	return sh.nextEvent
}

// hurry has the shards that wait for the clock wait for the end of their input
// too.
func (e *Engine) hurry() {
	for _, st := range e.stages {
		for i := range st.shards {
			if st.Role == Process && st.Exclusive && st.shards[i].nextClock != never {
				e.refresh(st, i)
			}
		}
	}
}

// list puts a shard at the end of its lane.
func (e *Engine) list(st *stage, i int) {
	sh := &st.shards[i]
	if sh.listed {
		return
	}
	sh.listed = true
	e.silence(st, i)
	st.lane(i).add(i, e.now)
	e.wakeStage(st)
}

// wakeStage has the pool consider the stage.
func (e *Engine) wakeStage(st *stage) {
	if !st.pool.ready.has(st.rank) {
		st.pool.ready.set(st.rank)
		st.since = st.pool.picks
	}
}

// alarm sets the times at which the shard will be ready by itself.
func (e *Engine) alarm(st *stage, i int) {
	sh := &st.shards[i]
	if len(sh.order) > 0 || sh.early != nil || sh.done || e.state == Halting {
		e.silence(st, i)
		return
	}
	if st.Exclusive || st.reads() {
		st.events.set(i, e.nextEventOf(st, sh))
		e.setClock(st, i, sh.nextClock)
	}
}

// silence takes the alarms back: the shard is ready, or busy.
func (e *Engine) silence(st *stage, i int) {
	st.events.set(i, NoEvent)
	e.setClock(st, i, never)
}

func (e *Engine) setClock(st *stage, i int, at instant) {
	st.clocks.set(i, at)
	e.clocks.set(st.index, st.clocks.min())
}

// ringClocks makes shards ready whose time has come.
func (e *Engine) ringClocks() {
	if e.clocks.min() > e.now {
		return
	}
	for _, s := range e.clocks.upTo(e.now, nil) {
		st := e.stages[s]
		for _, i := range st.clocks.upTo(e.now, nil) {
			if st.Role == Script {
				e.silence(st, i) // it is asked when nothing else can happen
			} else {
				e.refresh(st, i)
			}
		}
	}
}
