package engine

import (
	"bytes"

	"fresnel/internal/beam"
)

// image collects what a commit changes of the job's image: keys and values one
// behind the other, so that a commit costs a few allocations however many rows
// it has.
type image struct {
	keys, values []byte
	ends         []rowEnd
	// incarnation counts restorations; begun is set once the format row of this one
	// has been written.
	incarnation uint64
	begun       bool
	shape       uint64
}

// rowEnd is where a row's key and value end.
type rowEnd struct {
	key, value int
	deleted    bool
}

// set ends a row whose key and value have been appended.
func (im *image) set() {
	im.ends = append(im.ends, rowEnd{key: len(im.keys), value: len(im.values)})
}

func (im *image) delete() {
	im.ends = append(im.ends, rowEnd{key: len(im.keys), value: len(im.values), deleted: true})
}

// sealImage gives a commit its changes.
func (e *Engine) sealImage(c *Commit) {
	if e.Durable {
		e.writeCounts(c.Seq)
		c.Image = e.image.take()
	}
}

// mostKept bounds the space that is kept from one commit to the next.
const mostKept = 1 << 20

func (im *image) take() []Change {
	keys, values := string(im.keys), bytes.Clone(im.values)
	changes := make([]Change, len(im.ends))
	var from rowEnd
	for i, end := range im.ends {
		changes[i].Key = keys[from.key:end.key]
		if !end.deleted {
			changes[i].Value = values[from.value:end.value:end.value]
		}
		from = end
	}
	if cap(im.keys)+cap(im.values) > mostKept {
		im.keys, im.values, im.ends = nil, nil, nil
	}
	im.keys, im.values, im.ends = im.keys[:0], im.values[:0], im.ends[:0]
	return changes
}

func (e *Engine) writeCounts(seq CommitSeq) {
	im := &e.image
	if !im.begun {
		im.begun = true
		im.keys = appendKey(im.keys, formatRow)
		im.values = formatValue{im.shape, im.incarnation}.append(im.values)
		im.set()
	}
	im.keys = appendKey(im.keys, countRow)
	im.values = countValue{seq, e.state == Draining && e.broken != loseDrain}.append(im.values)
	im.set()
}

// keep gives a block that arrives its rank, and its row.
func (e *Engine) keep(st *stage, i int, p *entry, b Block) {
	p.rank = e.rankArrival(&st.shards[i])
	e.writeBlock(st, i, p, b)
}

// writeBlock writes a pending block's row; b tells what it has to wait for.
func (e *Engine) writeBlock(st *stage, i int, p *entry, b Block) {
	im := &e.image
	im.keys = appendKey(im.keys, blockRow, uint64(st.index), uint64(i), uint64(p.rank))
	im.values = blockValue{entry: *p, gates: b.Gates, notBefore: wallOf(b.NotBefore)}.append(im.values)
	im.set()
}

func (im *image) deleteBlocks(st *stage, i int, ranks []rank) {
	for _, r := range ranks {
		im.deleteBlock(st, i, r)
	}
}

func (im *image) deleteBlock(st *stage, i int, r rank) {
	im.keys = appendKey(im.keys, blockRow, uint64(st.index), uint64(i), uint64(r))
	im.delete()
}

// writeOutbox writes how many entries a sink's shard has formed, and what is in
// the one that is out.
func (e *Engine) writeOutbox(st *stage, i int) {
	if !e.Durable {
		return
	}
	im, sh := &e.image, &st.shards[i]
	im.keys = appendKey(im.keys, outboxRow, uint64(st.index), uint64(i))
	v := outboxValue{n: sh.entries}
	if sh.outbox != nil {
		v.ranks = sh.outbox.ranks
	}
	im.values = v.append(im.values)
	im.set()
}

// writeGate writes what is known of a gate.
func (e *Engine) writeGate(g *gate) {
	if !e.Durable || e.broken == loseGates {
		return
	}
	im := &e.image
	im.keys = appendKey(im.keys, gateRow, uint64(g.id))
	im.values = gateValue{open: g.open, ends: g.ends, stage: g.stage, side: g.side, end: g.end}.append(im.values)
	im.set()
}

func (e *Engine) deleteGate(id GateID) {
	if e.Durable {
		e.image.keys = appendKey(e.image.keys, gateRow, uint64(id))
		e.image.delete()
	}
}

// writeShard writes the times of a stateful shard, or how far a source's has
// come. A stateful shard without timers and holds has no row.
func (e *Engine) writeShard(st *stage, i int) {
	if !e.Durable {
		return
	}
	im, sh := &e.image, &st.shards[i]
	im.keys = appendKey(im.keys, shardRow, uint64(st.index), uint64(i))
	v := shardValue{nextEvent: sh.nextEvent, nextClock: e.wall(sh.nextClock), done: sh.done}
	if st.reads() && sh.nextClock <= e.now {
		v.nextClock = unsetWall
	}
	for o := range st.holds {
		if e.broken == loseHolds && !st.reads() {
			v.holds = append(v.holds, beam.MaxEventTime)
			continue
		}
		v.holds = append(v.holds, st.holds[o].get(i))
	}
	if !st.reads() && v.idle() {
		im.delete()
		return
	}
	im.values = v.append(im.values)
	im.set()
}

// writeFloor notes how far a stage's watermarks have come, where something has
// arrived that would draw them back, if they were computed from what is there.
func (e *Engine) writeFloor(st *stage) {
	if e.broken == loseFloor {
		return
	}
	im := &e.image
	im.keys = appendKey(im.keys, floorRow, uint64(st.index))
	im.values = floorValue{st.input, st.output}.append(im.values)
	im.set()
}

// floorOutput is writeFloor where a hold is behind an output watermark.
func (e *Engine) floorOutput(st *stage, hold beam.EventTime) {
	if !e.Durable {
		return
	}
	for _, out := range st.output {
		if hold < out {
			e.writeFloor(st)
			return
		}
	}
}
