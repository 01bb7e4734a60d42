package engine

import (
	"slices"

	"fresnel/internal/beam"
)

// A harness's output is complete some time before its response: Python's waits
// for a thread that samples, 2 ms after a small bundle and up to 200 ms after a
// long one. From then on the bundle takes no slot, and consumers may start early
// on what it has put out, on a worker that has nothing better to do:
//
//	producer ████████████▒▒▒▒▒▒│ commit
//	consumer             ██████│████  joins its shards' orders, and may commit
//
// An early bundle has taken nothing from a queue and has no place in an order. It
// gets both when its producer commits, in the step of that commit and before
// anything else; only then can it commit or be tried again. It falls with its
// producer: its worker is left to end it, and what comes of it is ignored (I6).
// Until that end it keeps the shards that it owns (I4).
//
// It is one stage deep: what an early bundle has put out waits for its own
// producer's commit. Sinks, stages that want stable input (I3) or ask for
// finalization, those behind gates, and those whose bundles linger, start on what
// is committed only.

// early is a bundle's part in this, as producer and as consumer.
type early struct {
	// outputs are what the bundle will put out, once that is known, heirs the stages
	// that may start on it, consumers the bundles that have.
	outputs   []Output
	heirs     []heir
	consumers []*bundle
	// producer is the bundle that must commit first, dropped is set when it failed.
	producer *bundle
	dropped  bool
	// failure is how the bundle ended, if badly, before its producer committed.
	failure error
}

// heir is a stage that may start early, with what there is for each of its shards,
// in the order in which that came.
type heir struct {
	stage *stage
	parts []heirPart
}

type heirPart struct {
	shard  int
	blocks []InputBlock
	// barred: it has to wait for something, or is taken.
	barred bool
}

// mostEarly is how many blocks a bundle has put out at most that is worth to be looked
// at: with more, there is work enough.
const mostEarly = 1024

// bundleEmitted gives the slot of a bundle to others that has put out all: what
// it waits for is hardly work.
func (e *Engine) bundleEmitted(ev *BundleEmitted) {
	b := e.bundles[ev.Bundle]
	if b == nil || b.emitted {
		return
	}
	for i := range ev.Outputs {
		if err := b.checkOutput(e, &ev.Outputs[i]); err != nil {
			e.broke(b.stage, err)
			return
		}
	}
	b.worker.hasEmitted(b, e.now)
	if len(ev.Outputs) <= mostEarly {
		b.outputs = ev.Outputs
		e.findHeirs(b)
	}
	if len(b.heirs) > 0 {
		e.emitted = append(e.emitted, b)
	}
}

func (e *Engine) findHeirs(b *bundle) {
	for i := range b.outputs {
		o := &b.outputs[i]
		edge := &e.edges[o.Edge]
		st := e.stages[edge.To]
		k := slices.IndexFunc(b.heirs, func(h heir) bool { return h.stage == st })
		if k < 0 {
			if !e.mayStartEarly(b.stage, st) {
				continue
			}
			k = len(b.heirs)
			b.heirs = append(b.heirs, heir{stage: st})
		}
		b.heirs[k].add(o, incoming(edge, o.Block))
	}
}

func (h *heir) add(o *Output, in InputBlock) {
	k := slices.IndexFunc(h.parts, func(p heirPart) bool { return p.shard == o.Shard })
	if k < 0 {
		k = len(h.parts)
		h.parts = append(h.parts, heirPart{shard: o.Shard})
	}
	p := entryOf(in)
	h.parts[k].blocks = append(h.parts[k].blocks, p.block())
	h.parts[k].barred = h.parts[k].barred || len(o.Block.Gates) > 0 || !o.Block.NotBefore.IsZero()
}

// mayStartEarly tells whether bundles of a stage may start on what has not been
// committed of another.
func (e *Engine) mayStartEarly(from, st *stage) bool {
	if st.Role != Process || st.StableInput && e.broken != earlyUnstable || st.CheckpointAfter > 0 || st.finalizes || st.pool.Native {
		return false
	}
	return !slices.ContainsFunc(e.edges, func(edge EdgeSpec) bool {
		return edge.To == st.index && edge.From == from.index && edge.Kind != Main
	})
}

// startEarly starts consumers on the outputs of bundles that have not committed.
func (e *Engine) startEarly() {
	for _, b := range e.emitted {
		if e.state > Draining || !b.first() && e.broken != earlyDeep {
			continue
		}
		for k := range b.heirs {
			e.startHeir(b, &b.heirs[k])
		}
	}
}

// startHeir starts bundles of a stage on workers that have nothing better to do.
func (e *Engine) startHeir(b *bundle, h *heir) {
	for _, w := range h.stage.pool.workers {
		if w == nil || w.free(h.stage) <= 0 || w.occupied() > 0 || e.gathers(h.stage, w) {
			continue
		}
		if c := e.formEarly(h, w); c != nil {
			c.producer = b
			b.consumers = append(b.consumers, c)
			e.reserve(c)
			e.start(c, w)
		}
	}
}

// formEarly makes a bundle of what there is for a worker, shard by shard: of each it
// takes all or nothing.
func (e *Engine) formEarly(h *heir, w *worker) *bundle {
	st := h.stage
	limit := amount{elements: e.limit(st), bytes: e.MaxBundleBytes}
	c := &bundle{stage: st}
	for i := range h.parts {
		p := &h.parts[i]
		if p.barred || !e.open(st, p.shard, w) || len(c.work) > 0 && st.class(p.shard) != st.class(c.work[0].Shard) {
			continue
		}
		size := c.size
		size.addAll(p.blocks)
		if size.blocks > 1 && (size.elements > limit.elements || size.bytes > limit.bytes) {
			continue
		}
		p.barred, c.size = true, size
		c.work = append(c.work, ShardWork{Shard: p.shard, Blocks: p.blocks})
		if e.Durable {
			c.ranks = append(c.ranks, nil)
		}
	}
	if len(c.work) == 0 {
		return nil
	}
	return c
}

// open tells whether nothing stands before what would come early to a shard: what
// waits, is on its way and may be put back by a split, or is due.
func (e *Engine) open(st *stage, i int, w *worker) bool {
	sh := &st.shards[i]
	if sh.queue.len() > 0 || len(sh.gated) > 0 || len(sh.order) > 0 && e.broken != earlyBehind {
		return false
	}
	return !st.Exclusive || sh.early == nil && sh.home == w.pos && !e.rings(st, sh)
}

// reserve keeps the shards that an early bundle owns from others (I4).
func (e *Engine) reserve(c *bundle) {
	if !c.stage.Exclusive || e.broken == earlyShared {
		return
	}
	for i := range c.work {
		c.stage.shards[c.work[i].Shard].early = c
		e.refresh(c.stage, c.work[i].Shard)
	}
}

// incoming is a block as it arrives by an edge.
func incoming(edge *EdgeSpec, b Block) InputBlock {
	b.Hold = min(b.MinTime, beam.LastHold)
	if edge.Kind == Feedback {
		b.Hold = beam.MaxEventTime
	}
	return InputBlock{Input: edge.Input, Block: b}
}

// confirm tells whether a bundle has put out what it announced, in the same order;
// what comes after that is no harm.
func (b *bundle) confirm(outputs []Output) bool {
	return len(outputs) >= len(b.outputs) && slices.EqualFunc(b.outputs, outputs[:len(b.outputs)], func(x, y Output) bool {
		return x.Edge == y.Edge && x.Shard == y.Shard && x.Block.ID == y.Block.ID
	})
}

// emitOf has what a bundle has put out arrive: in the bundles that have started on
// it, or in their shards' queues.
func (e *Engine) emitOf(b *bundle, outputs []Output) {
	if len(b.consumers) > 0 && !b.confirm(outputs) {
		e.dropConsumers(b)
	}
	if len(b.consumers) == 0 {
		e.emit(outputs)
		return
	}
	places := b.places()
	for i := range outputs {
		o := &outputs[i]
		edge := &e.edges[o.Edge]
		if at, ok := places[place{edge.To, o.Shard}]; ok && i < len(b.outputs) {
			e.arriveEarly(at.bundle, at.part, incoming(edge, o.Block))
		}
	}
	e.adopt(b)
	for i := range outputs {
		o := &outputs[i]
		if _, ok := places[place{e.edges[o.Edge].To, o.Shard}]; !ok || i >= len(b.outputs) {
			e.emit(outputs[i : i+1])
		}
	}
}

// place is a shard of a stage, taken is which part of which early bundle has it.
type (
	place struct{ stage, shard int }
	taken struct {
		bundle *bundle
		part   int
	}
)

// places finds what the consumers of a bundle have taken.
func (b *bundle) places() map[place]taken {
	all := map[place]taken{}
	for _, c := range b.consumers {
		for k := range c.work {
			all[place{c.stage.index, c.work[k].Shard}] = taken{c, k}
		}
	}
	return all
}

// arriveEarly takes a block, which its producer's commit brings, into the bundle
// that has started on it.
func (e *Engine) arriveEarly(c *bundle, part int, in InputBlock) {
	p := entryOf(in)
	e.account(c.stage, &p)
	if e.Durable {
		e.keep(c.stage, c.work[part].Shard, &p, in.Block)
		c.ranks[part] = append(c.ranks[part], p.rank)
	}
}

// adopt gives the consumers of a bundle that commits their place in the order.
func (e *Engine) adopt(b *bundle) {
	for _, c := range b.consumers {
		c.producer = nil
		for i := range c.work {
			sh := &c.stage.shards[c.work[i].Shard]
			sh.order = append(sh.order, c)
			sh.early = nil
			e.refresh(c.stage, c.work[i].Shard)
		}
	}
}

// part is where a bundle has its work of a shard, or -1.
func (b *bundle) part(shard int) int {
	return slices.IndexFunc(b.work, func(w ShardWork) bool { return w.Shard == shard })
}

// settleConsumers goes on with consumers that have ended before their producer
// has committed.
func (e *Engine) settleConsumers(b *bundle) {
	for _, c := range b.disown() {
		if c.failure != nil {
			e.failed(c, c.failure)
		} else {
			e.settle(c)
		}
	}
}

// failedEarly takes in the bad end of a bundle without a place in any order: it is
// forgotten, or waits for its producer. It returns false for all others.
func (e *Engine) failedEarly(b *bundle, err error) bool {
	switch {
	case b.dropped:
		e.letGo(b)
	case b.producer != nil:
		b.state, b.failure = formed, err
	default:
		return false
	}
	return true
}

// dropConsumers lets the consumers of a bundle fall that has failed.
func (e *Engine) dropConsumers(b *bundle) {
	if e.broken == keepFallen {
		e.adopt(b)
		e.settleConsumers(b)
		return
	}
	for _, c := range b.disown() {
		c.producer, c.dropped = nil, true
		if c.state != running {
			e.letGo(c)
		}
	}
}

// letGo frees the shards of a dropped bundle that has ended.
func (e *Engine) letGo(c *bundle) {
	if c.outcome != nil {
		e.ready.Abandon = append(e.ready.Abandon, c.id)
	}
	c.state, c.outcome = committed, nil
	for i := range c.work {
		if sh := &c.stage.shards[c.work[i].Shard]; sh.early == c {
			sh.early = nil
			e.refresh(c.stage, c.work[i].Shard)
		}
	}
}

// disown returns the consumers of a bundle, which are not its any more.
func (b *bundle) disown() []*bundle {
	consumers := b.consumers
	b.consumers, b.heirs, b.outputs = nil, nil, nil
	return consumers
}
