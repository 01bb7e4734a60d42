package engine

import (
	"fmt"
	"slices"

	"fresnel/internal/beam"
)

// splitAsked is what a bundle has been asked.
type splitAsked struct {
	// waiting for an answer, to a checkpoint or to a plain split.
	waiting    bool
	checkpoint bool
	// full: it has put out too much to go on.
	full bool
	// next is the earliest time for another plain split, nextCheckpoint the time
	// of the next checkpoint; 0 before the first.
	next, nextCheckpoint instant
	// refused counts plain splits that were.
	refused int
}

// askSplits asks for checkpoints that are due, and for splits where a slot
// idles.
func (e *Engine) askSplits() {
	for _, p := range e.pools {
		hungry, asked := e.hungry(p), 0 // plain splits under way
		for _, w := range p.workers {
			if w == nil {
				continue
			}
			for _, b := range w.running {
				e.askSplit(b, hungry && (p.free(b.stage) > asked || asked == 0 && e.widenFor(b)))
				if b.asked.waiting && !b.asked.checkpoint {
					asked++
				}
			}
		}
	}
}

// widenFor makes room for a part of a bundle where that is worth a split.
func (e *Engine) widenFor(b *bundle) bool {
	return b.divides() && (b.stage.width.pays() || e.overdue(b)) && e.widen(b.stage)
}

// hungry tells whether nothing is ready that a slot could take: what is gathered
// is not.
func (e *Engine) hungry(p *pool) bool {
	for r := p.ready.next(0); r >= 0; r = p.ready.next(r + 1) {
		if !e.gathering(e.byRank[r]) {
			return false
		}
	}
	return true
}

// askSplit asks one bundle for what is due, a plain split only if a slot idles.
func (e *Engine) askSplit(b *bundle, idle bool) {
	switch {
	case b.asked.waiting || b.emitted || b.producer != nil || b.dropped:
	case e.checkpointDue(b):
		e.ask(b, 0, true)
	case b.asked.full && b.divides():
		b.asked.full = false
		e.ask(b, cutShort, false)
	case idle && e.splitDue(b):
		e.ask(b, 0.5, false)
	}
}

func (e *Engine) ask(b *bundle, fraction float64, checkpoint bool) {
	b.asked.waiting, b.asked.checkpoint = true, checkpoint
	e.ready.Splits = append(e.ready.Splits, SplitRequest{Bundle: b.id, Fraction: fraction})
}

// checkpointDue tells whether the bundle has run for CheckpointAfter, is full, or
// has been running when the drain began.
func (e *Engine) checkpointDue(b *bundle) bool {
	after := instant(b.stage.CheckpointAfter)
	if after <= 0 {
		return false
	}
	due := max(b.started+after, b.asked.nextCheckpoint)
	if b.asked.full || (e.state == Draining && !b.drains || e.state == Halting) && b.asked.nextCheckpoint == 0 {
		due = e.now
	}
	if due > e.now {
		e.wakeAt(due)
		return false
	}
	b.asked.nextCheckpoint, b.asked.full = e.now+after, false
	return true
}

// divides tells whether half of the bundle is something: of what has no end it
// is no use, unbounded restrictions are only checkpointed.
func (b *bundle) divides() bool {
	st := b.stage
	return st.Splittable && !st.Exclusive && st.CheckpointAfter == 0 && b.size.elements > 0
}

// splitDue tells whether the bundle has run long enough, and has enough to do,
// for a split to be worth its cost.
func (e *Engine) splitDue(b *bundle) bool {
	if !b.divides() {
		return false
	}
	st := b.stage
	least := max(instant(e.SplitAfter), instant(2*st.cost.fixed))
	due := max(b.started+least, b.asked.next)
	if due > e.now {
		e.wakeAt(due)
		return false
	}
	end := b.started + instant(st.cost.expected(b.size.elements))
	if end > e.now && end < e.now+least {
		e.wakeAt(end)
		return false // it is about to end, if all goes as expected
	}
	b.asked.next = e.now + least<<min(b.asked.refused, 10)
	return true
}

// splitDone takes in the answer. An accepted split is a commit of its own: from
// now on the bundle is its primary, whatever becomes of it.
func (e *Engine) splitDone(ev *SplitDone) {
	b := e.bundles[ev.Bundle]
	if b == nil || b.producer != nil || b.dropped {
		return // what is early is not asked
	}
	b.asked.waiting = false
	if !ev.Accepted {
		b.asked.refused++
		return
	}
	b.asked.full = b.asked.full && !b.asked.checkpoint // it is about to end
	if err := b.checkSplit(ev); err != nil {
		e.broke(b.stage, err)
		return
	}
	c := Commit{Seq: e.nextSeq(), Stage: b.stage.index, Split: ev}
	ev = &SplitDone{Primary: joined(ev.Primary), Residual: joined(ev.Residual)}
	b.after = c.Seq
	if !b.stage.StableInput {
		b.after = 0
	}
	ranks := e.rankSplit(b, ev)
	primary := e.holdPrimary(b, ev.Primary, ranks)
	e.placeResidual(b, ev.Residual, ranks)
	c.Consumed = e.replace(b, ev, primary)
	e.sealImage(&c)
	e.ready.Commits = append(e.ready.Commits, c)
}

// joined has each shard once.
func joined(parts []ShardBlocks) []ShardBlocks {
	all := make([]ShardBlocks, 0, len(parts))
	for _, p := range parts {
		if k := slices.IndexFunc(all, func(s ShardBlocks) bool { return s.Shard == p.Shard }); k >= 0 {
			all[k].Blocks = slices.Concat(all[k].Blocks, p.Blocks)
			continue
		}
		all = append(all, p)
	}
	return all
}

func (b *bundle) checkSplit(ev *SplitDone) error {
	if b.stage.reads() {
		return fmt.Errorf("a bundle of a source was split")
	}
	for _, list := range [][]ShardBlocks{ev.Primary, ev.Residual} {
		for _, s := range list {
			if !b.has(s.Shard) {
				return fmt.Errorf("a split names shard %d, which is not in the bundle", s.Shard)
			}
		}
	}
	return nil
}

// placed is a block of a shard.
type placed struct {
	shard int
	block BlockID
}

// holds indexes the bundle's input.
func (b *bundle) holds() map[placed]beam.EventTime {
	holds := make(map[placed]beam.EventTime, b.size.blocks)
	for i := range b.work {
		for k := range b.work[i].Blocks {
			block := &b.work[i].Blocks[k].Block
			holds[placed{b.work[i].Shard, block.ID}] = block.Hold
		}
	}
	return holds
}

// holdPrimary accounts for the primaries; a block that is kept as it is keeps
// its hold.
func (e *Engine) holdPrimary(b *bundle, parts []ShardBlocks, ranks cuts) map[int]part {
	holds := b.holds()
	primary := make(map[int]part, len(parts))
	for _, s := range parts {
		for _, in := range s.Blocks {
			if hold, ok := holds[placed{s.Shard, in.Block.ID}]; ok {
				in.Block.Hold = hold
			}
			p := e.piece(b.stage, s.Shard, in, ranks)
			primary[s.Shard] = primary[s.Shard].with(&p)
		}
	}
	return primary
}

// part is what a bundle has of a shard.
type part struct {
	blocks []InputBlock
	ranks  []rank // Options.Durable
}

func (p part) with(in *entry) part {
	p.blocks = append(p.blocks, in.block())
	if in.rank != 0 {
		p.ranks = append(p.ranks, in.rank)
	}
	return p
}

// piece accounts for a block that a split has left or made, which waits for
// nothing any more.
func (e *Engine) piece(st *stage, shard int, in InputBlock, ranks cuts) entry {
	p := entryOf(in)
	e.account(st, &p)
	if e.Durable {
		p.rank = ranks.next(shard)
	}
	if e.Durable && e.broken != loseSplit {
		e.writeBlock(st, shard, &p, Block{})
	}
	return p
}

// replace gives the bundle its new input in the shards that the split names.
func (e *Engine) replace(b *bundle, ev *SplitDone, primary map[int]part) []BlockID {
	var consumed []BlockID
	b.work = slices.Clone(b.work)
	b.size = amount{}
	for i := range b.work {
		w := &b.work[i]
		if (names(ev.Primary, w.Shard) || names(ev.Residual, w.Shard)) && e.broken != ignoreSplits {
			for k := range w.Blocks {
				consumed = e.release(b.stage, &w.Blocks[k].Block, consumed)
			}
			w.Blocks = primary[w.Shard].blocks
			if e.Durable {
				b.ranks[i] = primary[w.Shard].ranks
			}
		}
		b.size.addAll(w.Blocks)
	}
	return consumed
}

func names(list []ShardBlocks, shard int) bool {
	return slices.ContainsFunc(list, func(s ShardBlocks) bool { return s.Shard == shard })
}

// placeResidual puts residuals in the place of what they were cut from: before
// what is queued, or, where later bundles of the shard are on their way, into a
// bundle of their own that commits before those (I13). What is checkpointed, or
// asks to be resumed later, goes behind what is queued.
func (e *Engine) placeResidual(b *bundle, parts []ShardBlocks, ranks cuts) {
	st := b.stage
	rest := &bundle{stage: st, after: b.after}
	for _, part := range parts {
		order := st.shards[part.Shard].order
		switch {
		case b.asked.checkpoint:
			e.takeBack(st, []ShardBlocks{part})
		case order[len(order)-1] == b, e.broken == queueResiduals:
			e.putFront(st, part, ranks)
		default:
			e.follow(b, rest, part, ranks)
		}
	}
	if len(rest.work) > 0 {
		e.putBack(rest)
	}
}

func (e *Engine) putFront(st *stage, s ShardBlocks, ranks cuts) {
	var front []entry
	for _, in := range s.Blocks {
		if e.late(in.Block.NotBefore) {
			ranks.next(s.Shard) // it arrives anew, with another
			e.arrive(st, s.Shard, in)
			continue
		}
		front = append(front, e.piece(st, s.Shard, in, ranks))
	}
	e.enqueueFront(st, s.Shard, front)
}

// follow adds a part of b's input to a bundle that stands right behind b.
func (e *Engine) follow(b, rest *bundle, s ShardBlocks, ranks cuts) {
	var in part
	for i := range s.Blocks {
		p := e.piece(b.stage, s.Shard, s.Blocks[i], ranks)
		rest.size.add(&p)
		in = in.with(&p)
	}
	rest.work = append(rest.work, ShardWork{Shard: s.Shard, Blocks: in.blocks})
	if e.Durable {
		rest.ranks = append(rest.ranks, in.ranks)
	}
	sh := &b.stage.shards[s.Shard]
	at := slices.Index(sh.order, b) + 1
	sh.order = slices.Insert(sh.order, at, rest)
}
