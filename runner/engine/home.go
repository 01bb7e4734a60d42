package engine

import (
	"slices"
	"time"
)

// An exclusive shard has a home, the worker that it sticks to, so that what
// the worker has cached of its state stays valid (I11).

// settleIn gives a new worker its share of the homes.
func (e *Engine) settleIn(st *stage, w *worker) {
	for len(st.lanes) < len(st.pool.workers) {
		st.lanes = append(st.lanes, newLane())
	}
	if !st.Exclusive {
		return
	}
	counts, workers := st.residents()
	for i := range st.shards {
		if st.shards[i].home < 0 {
			e.move(st, i, w.pos)
			counts[w.pos]++
		}
	}
	share := st.Shards / workers
	for i := st.Shards - 1; i >= 0 && counts[w.pos] < share; i-- {
		if from := st.shards[i].home; counts[from] > share {
			counts[from]--
			counts[w.pos]++
			e.move(st, i, w.pos)
		}
	}
}

// residents counts the shards at each position, and the workers.
func (st *stage) residents() (counts []int, workers int) {
	counts = make([]int, len(st.pool.workers))
	for i := range st.shards {
		if home := st.shards[i].home; home >= 0 {
			counts[home]++
		}
	}
	for _, w := range st.pool.workers {
		if w != nil && !w.leaving {
			workers++
		}
	}
	return counts, workers
}

// moveOut spreads the shards of a worker that is lost, or will be, over those that are left.
func (e *Engine) moveOut(st *stage, w *worker) {
	if !st.Exclusive {
		return
	}
	counts, _ := st.residents()
	for i := range st.shards {
		if st.shards[i].home == w.pos {
			to := st.pool.leastOf(counts)
			e.move(st, i, to)
			if to >= 0 {
				counts[to]++
			}
		}
	}
}

// leastOf is the position of the living worker with the least count, or -1.
func (p *pool) leastOf(counts []int) int {
	least := -1
	for pos, w := range p.workers {
		if w != nil && !w.leaving && (least < 0 || counts[pos] < counts[least]) {
			least = pos
		}
	}
	return least
}

// worthMoving is how much work must wait at a full worker, or how long work must
// have waited, before another takes shards over, and with them the cost of
// caches that are cold.
const worthMoving = 50 * time.Millisecond

// steal moves half of the ready shards of the fullest worker to one that has a
// free slot and nothing to do for the stage: a worker that is slow, or busy with
// something long, must not keep other shards waiting.
func (e *Engine) steal(st *stage) *worker {
	if !st.Exclusive {
		return nil
	}
	thief := st.pool.freest(st, e.now, func(w *worker) bool { return len(st.lanes[w.pos].shards) == 0 })
	if thief == nil {
		return nil
	}
	from := e.fullest(st)
	if from < 0 {
		return nil
	}
	ready := st.lanes[from].shards
	for _, i := range slices.Clone(ready[len(ready)/2:]) {
		e.move(st, i, thief.pos)
	}
	return thief
}

// fullest is the position of the worker without a free slot that has most
// ready work of the stage, if it is worth moving, or -1.
func (e *Engine) fullest(st *stage) int {
	fullest, most := -1, time.Duration(0)
	for pos, w := range st.pool.workers {
		if w == nil || w.free(st) > 0 || len(st.lanes[pos].shards) == 0 {
			continue
		}
		if work := st.workAt(pos); work > most && e.worthMoving(&st.lanes[pos], work) {
			fullest, most = pos, work
		}
	}
	return fullest
}

// workAt is the time that the ready work of a lane should take.
func (st *stage) workAt(pos int) time.Duration {
	elements := 0
	for _, i := range st.lanes[pos].shards {
		elements += st.shards[i].queue.elements
	}
	return max(st.cost.expected(elements), 1)
}

func (e *Engine) worthMoving(l *lane, work time.Duration) bool {
	if work >= worthMoving {
		return true
	}
	due := l.since + instant(worthMoving)
	if due > e.now {
		e.wakeAt(due)
	}
	return due <= e.now
}

// move gives a shard a new home, and its place in the lane there.
func (e *Engine) move(st *stage, i, to int) {
	sh := &st.shards[i]
	if sh.listed {
		from := st.lane(i)
		from.drop(i)
	}
	sh.home = to
	if sh.listed {
		st.lane(i).add(i, e.now)
	}
}

func (l *lane) drop(i int) {
	for k, s := range l.shards {
		if s == i {
			l.shards = append(l.shards[:k], l.shards[k+1:]...)
			return
		}
	}
}
