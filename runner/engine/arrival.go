package engine

import (
	"time"
)

// arrive takes a block into the backlog of a shard: it has a reader more, it
// holds the watermark at hold, and it waits for the clock, for gates, or in the
// shard's queue.
func (e *Engine) arrive(st *stage, i int, in InputBlock) {
	p := entryOf(in)
	e.account(st, &p)
	if e.Durable {
		e.keep(st, i, &p, in.Block)
	}
	e.settleAt(st, i, p, in.Block.NotBefore, in.Block.Gates)
}

// settleAt has a block that is accounted for wait where it has to.
func (e *Engine) settleAt(st *stage, i int, p entry, notBefore time.Time, gates []GateID) {
	if e.late(notBefore) {
		e.delay(st, i, p, notBefore, gates)
		return
	}
	e.admit(st, i, p, gates)
}

func entryOf(in InputBlock) entry {
	b := &in.Block
	return entry{id: b.ID, count: clampCount(b.Count), bytes: clamp(b.Bytes), minTime: b.MinTime,
		hold: clampTime(b.Hold), input: clampCount(in.Input)}
}

// account notes all that is true of a pending block wherever it waits.
func (e *Engine) account(st *stage, p *entry) {
	if st.StableInput {
		p.after = e.seq
	}
	e.read(p.id, p.bytes)
	st.pending.add(p.hold)
	e.blocks++
	e.touch(st)
	if p.hold < st.input && e.Durable {
		e.writeFloor(st)
	}
}

// The most that is believed of one block.
const (
	mostElements = 1<<31 - 1
	mostBytes    = 1 << 40
)

// clamp and clampCount keep sums of what comes from outside within range.
func clamp(n int) int        { return min(max(n, 0), mostBytes) }
func clampCount(n int) int32 { return int32(min(max(n, 0), mostElements)) }

// admit puts a block whose time has come behind its gates, or in the queue.
func (e *Engine) admit(st *stage, i int, p entry, gates []GateID) {
	if len(gates) > 0 && e.waits(st, i, p, gates) {
		return
	}
	e.enqueue(st, i, p)
}

func (e *Engine) enqueue(st *stage, i int, p entry) {
	sh := &st.shards[i]
	sh.queue.push(p)
	st.queued.add(&p)
	e.awaitDurable(st, i, p.after)
	e.refresh(st, i)
}

// enqueueFront puts blocks before all others, in their order: they stand in for
// what they were cut from.
func (e *Engine) enqueueFront(st *stage, i int, ps []entry) {
	if len(ps) == 0 {
		return
	}
	sh := &st.shards[i]
	sh.queue.pushFront(ps)
	for k := range ps {
		st.queued.add(&ps[k])
	}
	e.awaitDurable(st, i, ps[len(ps)-1].after)
	e.refresh(st, i)
}

// read gives a block a reader more.
func (e *Engine) read(id BlockID, bytes int) {
	if e.readers[id]++; e.readers[id] == 1 {
		e.held += int64(bytes)
	}
}

// unread takes a reader away, and tells in consumed when it was the last (I8).
func (e *Engine) unread(id BlockID, bytes int, consumed []BlockID) []BlockID {
	if n := e.readers[id]; n > 1 && e.broken != freeEarly {
		e.readers[id] = n - 1
		return consumed
	}
	delete(e.readers, id)
	e.held = max(e.held-int64(max(bytes, 0)), 0)
	return append(consumed, id)
}

// release ends what a block of a bundle or an outbox entry held.
func (e *Engine) release(st *stage, b *Block, consumed []BlockID) []BlockID {
	if e.broken != ignoreFlight {
		st.pending.remove(b.Hold)
	}
	e.blocks--
	e.touch(st)
	return e.unread(b.ID, b.Bytes, consumed)
}

// delayed is a block that must not run before its time.
type delayed struct {
	at    instant
	order uint64
	stage *stage
	shard int
	entry entry
	gates []GateID
}

func (d delayed) Before(o delayed) bool {
	if d.at != o.at {
		return d.at < o.at
	}
	return d.order < o.order
}

func (e *Engine) late(t time.Time) bool {
	return !t.IsZero() && e.state != Draining && e.instant(t) > e.now && e.broken != ignoreRest
}

func (e *Engine) delay(st *stage, i int, p entry, until time.Time, gates []GateID) {
	st.apart.add(&p)
	e.delays.push(delayed{at: e.instant(until), order: uint64(e.seq)<<20 | uint64(len(e.delays)),
		stage: st, shard: i, entry: p, gates: gates})
}

// undelay admits the blocks whose time has come: all of them in a drain, so
// that what polls is told to end.
func (e *Engine) undelay() {
	for len(e.delays) > 0 && (e.delays[0].at <= e.now || e.state == Draining) {
		d := e.delays.pop()
		d.stage.apart.sub(&d.entry)
		e.admit(d.stage, d.shard, d.entry, d.gates)
	}
}

// stableWait is a shard whose blocks wait for a commit to be durable.
type stableWait struct {
	after CommitSeq
	stage *stage
	shard int
}

// awaitDurable has the shard looked at again when the commit is durable.
func (e *Engine) awaitDurable(st *stage, i int, after CommitSeq) {
	if after <= e.durable {
		return
	}
	w := stableWait{after: after, stage: st, shard: i}
	if n := len(e.stable); n > 0 && e.stable[n-1] == w {
		return
	}
	e.stable = append(e.stable, w)
}

// madeDurable lets blocks of stable-input stages go.
func (e *Engine) madeDurable(seq CommitSeq) {
	e.durable = max(e.durable, min(seq, e.seq))
	for len(e.stable) > 0 && e.stable[0].after <= e.durable {
		w := e.stable[0]
		e.stable = e.stable[1:]
		e.refresh(w.stage, w.shard)
	}
	if len(e.stable) == 0 {
		e.stable = nil
	}
}

// stableFront tells whether the first block of a shard may be given out.
func (e *Engine) stableFront(sh *shard) bool {
	return sh.queue.len() > 0 && e.isStable(sh.queue.front())
}

// isStable tells whether the commit that brought a block is durable, if it has to
// be (I3).
func (e *Engine) isStable(p *entry) bool { return p.after <= e.durable || e.broken == ignoreDurable }
