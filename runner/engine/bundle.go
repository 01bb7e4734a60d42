package engine

import (
	"slices"
	"time"

	"fresnel/internal/beam"
)

// bundle is a unit of work from when it is formed until it commits. A failed
// bundle stays the same one, with another id for each attempt: it keeps its
// blocks and its place in the order of its shards.
type bundle struct {
	id     BundleID
	stage  *stage
	worker *worker
	state  bundleState
	work   []ShardWork
	// ranks are those of the blocks of each of work (Options.Durable).
	ranks [][]rank
	size  amount
	// outcome is there once it is finished.
	outcome *Outcome

	// userFails and lostFails count what went wrong; notBefore is when it may be
	// tried again.
	userFails, lostFails int
	notBefore            instant
	// after is the commit that must be durable before it starts (StableInput).
	after CommitSeq
	// drains is set for a bundle that was started to end things.
	drains bool

	// emitted: all that it puts out is there, only its end is still to come.
	emitted bool
	early

	started  instant
	servedAt instant // of the worker's served time, at the start
	asked    splitAsked
}

type bundleState uint8

const (
	// formed bundles wait for a slot, or for their time.
	formed bundleState = iota
	running
	// finished bundles wait for those before them in a shard.
	finished
	committed
)

func (b *bundle) attempt() int { return b.userFails + b.lostFails }

// first tells whether nothing has to commit before the bundle (I13). One that is
// early, or was dropped, has no place in any order.
func (b *bundle) first() bool {
	for i := range b.work {
		if order := b.stage.shards[b.work[i].Shard].order; len(order) == 0 || order[0] != b {
			return false
		}
	}
	return true
}

// room is how much a bundle may take: more work is added until want is reached,
// and no more than limit is in it, unless its first block is larger.
type room struct{ want, limit amount }

// form takes work of a lane's shards: the first one and those that may share a
// bundle with it.
func (e *Engine) form(st *stage, l *lane, r room) *bundle {
	b := &bundle{stage: st, work: make([]ShardWork, 0, min(len(l.shards), 64))}
	left := e.spare[:0]
	for _, i := range l.shards {
		switch {
		case !e.takeable(st, i):
			st.shards[i].listed = false
		case e.accepts(b, i, r):
			e.take(i, b, r)
		default:
			left = append(left, i)
		}
	}
	l.shards, e.spare = append(l.shards[:0], left...), left
	l.deferred, l.since = never, e.now
	for i := range b.work {
		e.refresh(st, b.work[i].Shard)
	}
	return b
}

// accepts tells whether work of shard i may and should go in too.
func (e *Engine) accepts(b *bundle, i int, r room) bool {
	if len(b.work) == 0 {
		return true
	}
	st := b.stage
	if st.reads() || st.class(i) != st.class(b.work[0].Shard) && e.broken != mixShards ||
		b.size.elements >= r.want.elements || b.size.bytes >= r.want.bytes {
		return false
	}
	q := &st.shards[i].queue
	return q.len() == 0 || b.fits(q.front(), r)
}

// fits tells whether one more block stays within the room. An exclusive shard
// gives all that the limit allows: elements of one key belong together, and no
// other bundle can have them meanwhile.
func (b *bundle) fits(p *entry, r room) bool {
	if b.size.blocks == 0 {
		return true
	}
	most := r.want
	if b.stage.Exclusive {
		most = r.limit
	}
	return b.size.elements+int(p.count) <= most.elements && b.size.bytes+p.bytes <= most.bytes
}

// take moves what a shard has into a bundle.
func (e *Engine) take(i int, b *bundle, r room) {
	st := b.stage
	sh := &st.shards[i]
	sh.listed = false
	if e.Durable {
		b.ranks = append(b.ranks, nil)
	}
	b.work = append(b.work, ShardWork{Shard: i, Blocks: e.takeBlocks(sh, b, r)})
	sh.order = append(sh.order, b)
	if st.Exclusive || st.reads() {
		e.silence(st, i)
	}
}

func (e *Engine) takeBlocks(sh *shard, b *bundle, r room) []InputBlock {
	n := e.count(sh, b, r)
	if n == 0 {
		return nil
	}
	blocks := make([]InputBlock, n)
	for k := range blocks {
		p := sh.queue.pop()
		b.stage.queued.sub(&p)
		if e.broken == ignoreFlight {
			b.stage.pending.remove(p.hold)
		}
		blocks[k] = p.block()
		if e.Durable {
			last := len(b.ranks) - 1
			b.ranks[last] = append(b.ranks[last], p.rank)
		}
	}
	return blocks
}

// count adds the blocks to the bundle's size that it has room for.
func (e *Engine) count(sh *shard, b *bundle, r room) int {
	waiting := sh.queue.waiting()
	for k := range waiting {
		if !e.isStable(&waiting[k]) || !b.fits(&waiting[k], r) {
			return k
		}
		b.size.add(&waiting[k])
	}
	return len(waiting)
}

// start gives a bundle to a worker under a new id.
func (e *Engine) start(b *bundle, w *worker) {
	e.lastBundle++
	b.id, b.state = e.lastBundle, running
	b.asked, b.emitted, b.failure = splitAsked{}, false, nil
	b.drains = e.state == Draining && (b.stage.Role == Source || b.stage.checkpoints())
	if b.stage.Role == Source {
		e.lastRead = e.now
	}
	w.begin(b, e.now)
	e.bundles[b.id] = b
	b.stage.running++
	e.due(b)
	e.ready.Start = append(e.ready.Start, Bundle{
		ID: b.id, Stage: b.stage.index, Worker: w.id, Attempt: b.attempt(), Work: b.work,
		Watermark: e.told(b.stage), Now: e.time(e.now),
		Drain: b.drains,
	})
}

// told is the input watermark that a bundle goes by. It is held by the blocks
// that the bundle did not take, so that it matters to nobody which those were
// (I12).
func (e *Engine) told(st *stage) beam.EventTime {
	if e.broken == runAhead {
		return st.producers.min()
	}
	return st.input
}

// due marks the timers that are due. What was given out before stays as it is.
func (e *Engine) due(b *bundle) {
	if !b.stage.Exclusive || b.stage.reads() || b.producer != nil {
		return // what is early comes without timers
	}
	if b.attempt() > 0 {
		b.work = slices.Clone(b.work)
	}
	for i := range b.work {
		sh := &b.stage.shards[b.work[i].Shard]
		b.work[i].EventDue = sh.nextEvent <= b.stage.input
		b.work[i].ProcessingDue = e.clockDue(b.stage, sh)
	}
}

// stop frees the bundle's slot.
func (e *Engine) stop(b *bundle) {
	if b.emitted {
		e.emitted = slices.DeleteFunc(e.emitted, func(o *bundle) bool { return o == b })
	}
	b.worker.end(b, e.now)
	b.stage.running--
	delete(e.bundles, b.id)
}

// took is the time that a bundle had of its worker: where several share a
// harness, and with it an interpreter, each is charged its part, but for those
// that wait.
func (b *bundle) took(elapsed time.Duration, now instant) time.Duration {
	wall := now - b.started
	if b.worker.wide || b.stage.waits() || wall <= 0 {
		return elapsed
	}
	share := float64(b.worker.served-b.servedAt) / float64(wall)
	return time.Duration(float64(elapsed) * min(share, 1))
}
