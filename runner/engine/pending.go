package engine

// PendingBlock is a block that waits in a shard, or stands in an outbox entry.
type PendingBlock struct {
	Stage, Shard int
	InputBlock
}

// Pending lists the blocks that wait, but those of bundles in flight: for who
// looks at a job that does not run.
func (e *Engine) Pending() []PendingBlock {
	var all []PendingBlock
	for _, st := range e.stages {
		for i := range st.shards {
			sh := &st.shards[i]
			waiting := sh.queue.waiting()
			for k := range waiting {
				all = append(all, PendingBlock{st.index, i, waiting[k].block()})
			}
			for _, w := range sh.gated {
				all = append(all, PendingBlock{st.index, i, w.entry.block()})
			}
			if sh.outbox != nil {
				for _, b := range sh.outbox.blocks {
					all = append(all, PendingBlock{st.index, i, InputBlock{Block: b}})
				}
			}
		}
	}
	for i := range e.delays {
		d := &e.delays[i]
		all = append(all, PendingBlock{d.stage.index, d.shard, d.entry.block()})
	}
	return all
}
