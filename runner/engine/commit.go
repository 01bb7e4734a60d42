package engine

import (
	"fmt"
	"slices"

	"fresnel/internal/beam"
)

func (e *Engine) nextSeq() CommitSeq {
	e.seq++
	return e.seq
}

// bundleDone takes in the outcome of a bundle, and commits it as soon as those
// before it have committed.
func (e *Engine) bundleDone(ev *BundleDone) {
	b := e.bundles[ev.Bundle]
	if err := e.declare(ev.Outcome.NewGates); err != nil && b != nil {
		e.broke(b.stage, err)
		return
	}
	if b == nil {
		return
	}
	e.stop(b)
	if b.dropped {
		b.outcome = &ev.Outcome
		e.letGo(b)
		return
	}
	e.timed(b, ev.Outcome.Elapsed)
	b.stage.pairing.ended()
	b.stage.cost.measure(b.size.elements, b.took(ev.Outcome.Elapsed, e.now))
	b.stage.yield.measure(b.size.elements, ev.Outcome.Outputs)
	b.state, b.outcome = finished, &ev.Outcome
	if err := b.check(e); err != nil {
		e.broke(b.stage, err)
		return
	}
	if e.broken == emitEarly {
		e.emit(ev.Outcome.Outputs)
	}
	e.settle(b)
}

// broke fails the job because an executor did not keep to the contract.
func (e *Engine) broke(st *stage, err error) {
	e.fail(&beam.Error{Code: beam.Internal, Where: st.Name, What: "the outcome of a bundle is not valid", Cause: err})
}

func (e *Engine) mayCommit(b *bundle) bool {
	switch {
	case b.state != finished:
		return false
	case b.producer != nil:
		return e.broken == hurryEarly
	}
	return b.first() || e.broken == commitAnyOrder
}

// settle commits a finished bundle, and then those that waited for it only.
func (e *Engine) settle(b *bundle) {
	if !e.mayCommit(b) {
		return
	}
	e.commit(b)
	e.settleConsumers(b)
	for i := range b.work {
		if order := b.stage.shards[b.work[i].Shard].order; len(order) > 0 {
			e.settle(order[0])
		}
	}
}

// commit makes an outcome take effect: all of it, in one step (I1).
func (e *Engine) commit(b *bundle) {
	st, out := b.stage, b.outcome
	c := Commit{Seq: e.nextSeq(), Bundle: b.id, Stage: st.index}
	b.state, b.outcome = committed, nil
	if e.broken != emitEarly {
		e.emitOf(b, out.Outputs)
	}
	e.takeBack(st, out.Residuals)
	c.Consumed = e.consume(b)
	st.bundles++
	st.consumed.plus(b.size)
	e.setTimes(st, out.Shards)
	if e.broken == delayProgress {
		e.sealImage(&c)
	}
	if st.reads() {
		e.progressed(st, out.Sources)
	}
	e.openGates(out)
	e.leave(b)
	if out.Finalize {
		st.finalizes = true
		e.ready.Finalize = append(e.ready.Finalize, Finalization{Bundle: b.id, After: c.Seq})
	}
	if e.broken != delayProgress {
		e.sealImage(&c)
	}
	e.ready.Commits = append(e.ready.Commits, c)
}

// emit queues blocks for their consumers.
func (e *Engine) emit(outputs []Output) {
	for i := range outputs {
		o := &outputs[i]
		// On a Side edge the runner puts it in the side input's state.
		if edge := &e.edges[o.Edge]; edge.Kind != Side {
			e.arrive(e.stages[edge.To], o.Shard, incoming(edge, o.Block))
		}
	}
}

// takeBack queues residuals, behind what waits already: whatever checkpoints
// itself takes turns with the rest.
func (e *Engine) takeBack(st *stage, residuals []ShardBlocks) {
	for _, r := range residuals {
		for _, in := range r.Blocks {
			e.arrive(st, r.Shard, in)
		}
	}
}

// consume releases the bundle's input.
func (e *Engine) consume(b *bundle) []BlockID {
	if b.size.blocks == 0 {
		return nil
	}
	consumed := make([]BlockID, 0, b.size.blocks)
	for i := range b.work {
		for k := range b.work[i].Blocks {
			consumed = e.release(b.stage, &b.work[i].Blocks[k].Block, consumed)
		}
		if e.Durable {
			e.image.deleteBlocks(b.stage, b.work[i].Shard, b.ranks[i])
		}
	}
	return consumed
}

func (e *Engine) setTimes(st *stage, all []ShardTimes) {
	for _, t := range all {
		sh := &st.shards[t.Shard]
		before := shardTimes{sh.nextEvent, sh.nextClock, st.holds[0].get(t.Shard)}
		sh.nextEvent = t.NextEvent
		e.timers += pendingClock(t.NextProcessing.IsZero()) - pendingClock(sh.nextClock == never)
		sh.nextClock = never
		if !t.NextProcessing.IsZero() {
			sh.nextClock = e.instant(t.NextProcessing)
		}
		st.holds[0].set(t.Shard, clampTime(t.Hold))
		e.touch(st)
		if before != (shardTimes{sh.nextEvent, sh.nextClock, st.holds[0].get(t.Shard)}) {
			e.writeShard(st, t.Shard)
			e.floorOutput(st, st.holds[0].get(t.Shard))
		}
	}
}

// shardTimes are ShardTimes as the engine has them.
type shardTimes struct {
	nextEvent beam.EventTime
	nextClock instant
	hold      beam.EventTime
}

// without takes b out.
func without(order []*bundle, b *bundle) []*bundle {
	return slices.DeleteFunc(order, func(o *bundle) bool { return o == b })
}

func pendingClock(none bool) int {
	if none {
		return 0
	}
	return 1
}

// leave takes the bundle out of the order of its shards.
func (e *Engine) leave(b *bundle) {
	st := b.stage
	for i := range b.work {
		s := b.work[i].Shard
		sh := &st.shards[s]
		sh.order = without(sh.order, b)
		if e.state == Draining && st.reads() {
			e.endShard(st, s)
		}
		e.refresh(st, s)
	}
}

// check tells whether the outcome keeps to the contract, so that nothing that
// an executor sends can break the engine (I7).
func (b *bundle) check(e *Engine) error {
	for i := range b.outcome.Outputs {
		if err := b.checkOutput(e, &b.outcome.Outputs[i]); err != nil {
			return err
		}
	}
	for _, r := range b.outcome.Residuals {
		if b.stage.Role != Process || !b.has(r.Shard) {
			return fmt.Errorf("a residual is for shard %d, which is not in the bundle", r.Shard)
		}
	}
	for _, t := range b.outcome.Shards {
		if !b.stage.Exclusive || b.stage.Role != Process || !b.has(t.Shard) {
			return fmt.Errorf("times are told for shard %d, which the bundle does not own", t.Shard)
		}
	}
	for _, p := range b.outcome.Sources {
		if !b.stage.reads() || !b.has(p.Shard) {
			return fmt.Errorf("progress is told for shard %d, which is not in the bundle", p.Shard)
		}
	}
	return nil
}

func (b *bundle) checkOutput(e *Engine, o *Output) error {
	if o.Edge < 0 || o.Edge >= len(e.edges) || e.edges[o.Edge].From != b.stage.index {
		return fmt.Errorf("an output is for edge %d, which does not start here", o.Edge)
	}
	edge := e.edges[o.Edge]
	if edge.Kind == Side {
		return nil
	}
	shards := e.stages[edge.To].Shards
	if o.Shard < 0 || o.Shard >= shards {
		return fmt.Errorf("an output is for shard %d of %d", o.Shard, shards)
	}
	if edge.Keep && o.Shard != b.work[0].Shard%shards {
		return fmt.Errorf("an output leaves shard %d for %d on an edge that keeps it", b.work[0].Shard, o.Shard)
	}
	return nil
}

// has tells whether the bundle has work of the shard.
func (b *bundle) has(shard int) bool {
	if b.producer != nil {
		return b.part(shard) >= 0
	}
	return shard >= 0 && shard < len(b.stage.shards) && slices.Contains(b.stage.shards[shard].order, b)
}
