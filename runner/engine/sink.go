package engine

// outbox is an entry of a sink's shard that was given out and is not
// acknowledged: its content never changes again.
type outbox struct {
	n      int64
	blocks []Block
	// ranks are the blocks' (Options.Durable).
	ranks []rank
}

// entry is the entry as it is given out.
func (o *outbox) entry(stage, shard int, after CommitSeq) *Entry {
	en := &Entry{Stage: stage, Shard: shard, N: o.n, After: after, Blocks: make([]BlockID, 0, len(o.blocks))}
	for k := range o.blocks {
		en.Blocks = append(en.Blocks, o.blocks[k].ID)
	}
	return en
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
	sh.outbox = &outbox{n: sh.entries}
	e.takeEntry(st, sh)
	e.entries++
	entry := sh.outbox.entry(st.index, i, e.nextSeq())
	c := Commit{Seq: entry.After, Stage: st.index, Entry: entry}
	if e.broken != reformEntries {
		e.writeOutbox(st, i)
	}
	e.sealImage(&c)
	e.ready.Commits = append(e.ready.Commits, c)
	e.ready.Entries = append(e.ready.Entries, *entry)
}

// takeEntry takes whole blocks up to the sink's bounds, at least one.
func (e *Engine) takeEntry(st *stage, sh *shard) {
	out, rows, bytes := sh.outbox, 0, 0
	for e.stableFront(sh) {
		p := sh.queue.front()
		if len(out.blocks) > 0 && (rows+int(p.count) > st.MaxEntryRows || bytes+p.bytes > st.MaxEntryBytes) {
			break
		}
		rows += int(p.count)
		bytes += p.bytes
		st.queued.sub(p)
		if e.broken == ignoreFlight {
			st.pending.remove(p.hold)
		}
		out.blocks = append(out.blocks, p.block().Block)
		if e.Durable {
			out.ranks = append(out.ranks, p.rank)
		}
		sh.queue.pop()
	}
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
	if e.Durable {
		e.image.deleteBlocks(st, ev.Shard, sh.outbox.ranks)
	}
	sh.outbox = nil
	e.entries--
	e.writeOutbox(st, ev.Shard)
	e.sealImage(&c)
	e.ready.Commits = append(e.ready.Commits, c)
	e.refresh(st, ev.Shard)
}
