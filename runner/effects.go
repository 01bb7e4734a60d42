package runner

import (
	"context"
	"fmt"

	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
)

// effects are what a finished bundle changes besides what the engine knows.
type effects struct {
	// txns hold state and timers.
	txns []*store.Txn
	// blocks were added to the store for the outcome: freed if it is dropped.
	blocks []engine.BlockID
	// sides are panes for side inputs, groups what groupings took in, position where
	// a source's split goes on.
	sides    []sideDelta
	groups   []groupNote
	position *positionNote
	// count adds up the bundle's metrics, which are part of the commit, lose those of
	// one that does not count; nil if it has none.
	count, lose func()
	// apply makes the rest of the changes, in the loop; nil if there are none.
	apply func()
	// finalize tells the harness that the bundle is durable.
	finalize func(context.Context)
}

// sideDelta is what is added to a side input, by its stage and number.
type sideDelta struct {
	stage, side int
	input       *state.SideInput
	delta       *state.SideDelta
}

// commit applies one commit atomically (I1).
func (j *job) commit(c *engine.Commit) error {
	var batch store.Batch
	fx := j.effects[c.Bundle]
	delete(j.effects, c.Bundle)
	if fx != nil {
		for _, t := range fx.txns {
			t.AppendTo(&batch)
		}
		if fx.count != nil {
			fx.count()
		}
	}
	if j.journal != nil {
		j.journal.record(&batch, c, fx)
	}
	for _, id := range c.Consumed {
		j.release(&batch, c.Stage, id)
	}
	if err := j.store.Apply(&batch); err != nil {
		return internal("the store", err)
	}
	if err := j.memory.trouble(); err != nil {
		j.warn(fmt.Sprintf("the job needs more memory than its limit: %v (make room there, or set TMPDIR to a directory that has it)", err))
	}
	j.applied = c.Seq
	if j.journal != nil {
		j.journal.syncSoon()
	}
	j.settle(c.Bundle, true)
	if fx == nil {
		return nil
	}
	for _, s := range fx.sides {
		s.input.Apply(s.delta)
	}
	if fx.apply != nil {
		fx.apply()
	}
	if fx.finalize != nil {
		j.finalizers[c.Bundle] = fx.finalize
	}
	return nil
}

// drop forgets a bundle whose result does not count (I6).
func (j *job) drop(id engine.BundleID) {
	fx := j.effects[id]
	delete(j.effects, id)
	if fx != nil {
		j.discard(fx)
	}
	j.settle(id, false)
}

// discard frees what a bundle has made whose result does not count.
func (j *job) discard(fx *effects) {
	if fx.lose != nil {
		fx.lose()
	}
	ids := fx.blocks
	for _, s := range fx.sides {
		ids = appendBlockIDs(ids, s.delta.Discard())
	}
	j.freeBlocks(ids)
}

func (j *job) freeBlocks(ids []engine.BlockID) {
	var batch store.Batch
	for _, id := range ids {
		j.free(&batch, id)
	}
	_ = j.store.Apply(&batch) // a store that fails will fail the next commit
}
