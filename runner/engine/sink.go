package engine

// outbox is an entry of a sink's shard that was given out and is not
// acknowledged: its content never changes again.
type outbox struct {
	n      int64
	blocks []Block
}

// offer notes that a sink's shard may be able to form an entry.
func (e *Engine) offer(st *stage, i int) {
	sh := &st.shards[i]
	if e.mayForm(sh) && sh.queue.len() > 0 && !sh.listed {
		sh.listed = true
		e.offers = append(e.offers, sinkShard{st, i})
	}
}

type sinkShard struct {
	stage *stage
	shard int
}

// formEntries moves pending blocks of sinks into outbox entries, each by a
// commit of its own.
func (e *Engine) formEntries() {
	for _, o := range e.offers {
		o.stage.shards[o.shard].listed = false
		e.formEntry(o.stage, o.shard)
	}
	e.offers = e.offers[:0]
}

// mayForm tells whether the shard's last entry has been acknowledged.
func (e *Engine) mayForm(sh *shard) bool { return sh.outbox == nil || e.broken == ignoreOutbox }

func (e *Engine) formEntry(st *stage, i int) {
	sh := &st.shards[i]
	if !e.mayForm(sh) || !e.stableFront(sh) {
		return
	}
	sh.entries++
	sh.outbox = &outbox{n: sh.entries, blocks: e.takeEntry(st, sh)}
	e.entries++
	entry := &Entry{Stage: st.index, Shard: i, N: sh.outbox.n, After: e.nextSeq()}
	entry.Blocks = make([]BlockID, 0, len(sh.outbox.blocks))
	for k := range sh.outbox.blocks {
		entry.Blocks = append(entry.Blocks, sh.outbox.blocks[k].ID)
	}
	e.ready.Commits = append(e.ready.Commits, Commit{Seq: entry.After, Stage: st.index, Entry: entry})
	e.ready.Entries = append(e.ready.Entries, *entry)
}

// takeEntry takes whole blocks up to the sink's bounds, at least one.
func (e *Engine) takeEntry(st *stage, sh *shard) []Block {
	var taken []Block
	rows, bytes := 0, 0
	for e.stableFront(sh) {
		p := sh.queue.front()
		if len(taken) > 0 && (rows+p.count > st.MaxEntryRows || bytes+p.bytes > st.MaxEntryBytes) {
			break
		}
		rows += p.count
		bytes += p.bytes
		st.queued.sub(p)
		if e.broken == ignoreFlight {
			st.pending.remove(p.hold)
		}
		taken = append(taken, p.block().Block)
		sh.queue.pop()
	}
	return taken
}

// entryWritten frees an entry; an acknowledgement of any other is ignored.
func (e *Engine) entryWritten(ev EntryWritten) {
	if ev.Stage < 0 || ev.Stage >= len(e.stages) {
		return
	}
	st := e.stages[ev.Stage]
	if ev.Shard < 0 || ev.Shard >= len(st.shards) {
		return
	}
	sh := &st.shards[ev.Shard]
	if sh.outbox == nil || sh.outbox.n != ev.N {
		return
	}
	c := Commit{Seq: e.nextSeq(), Stage: st.index, Freed: &ev,
		Consumed: make([]BlockID, 0, len(sh.outbox.blocks))}
	for k := range sh.outbox.blocks {
		c.Consumed = e.release(st, &sh.outbox.blocks[k], c.Consumed)
	}
	st.bundles++
	for k := range sh.outbox.blocks {
		b := &sh.outbox.blocks[k]
		st.consumed.plus(amount{1, b.Count, b.Bytes})
	}
	sh.outbox = nil
	e.entries--
	e.ready.Commits = append(e.ready.Commits, c)
	e.refresh(st, ev.Shard)
}
