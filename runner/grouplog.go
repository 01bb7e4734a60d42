package runner

import (
	"encoding/binary"
	"time"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/store"
	"fresnel/runner/window"
)

// A shard of a grouping is kept as a snapshot and a log of what it took in since,
// each bundle with its time: what a grouping does depends on nothing else, so
// that the same again gives the same state. The blocks in the log stay on disk.
// A snapshot is made when the log has grown larger than what it stands for, so
// that all snapshots together cost as much as the input.
//
//	key            value
//	… 's'          first entry of the log, state
//	… 'l' entry    watermark, time, flags, count of blocks, for each: input, id
type groupLog struct {
	// first and next bound the entries of the log, bytes is the size of their
	// blocks.
	first, next uint64
	bytes       int64
	blocks      []engine.BlockID
}

// groupNote is what one bundle writes of one shard: an entry of its log, or a
// snapshot in place of all of them.
type groupNote struct {
	stage, shard int
	entry        uint64
	row          []byte
	// snapshot is the state, from which on the entries before entry, and their
	// blocks, are not needed.
	snapshot []byte
	first    uint64
	// in are the blocks of the bundle, old those of the log up to now.
	in, old []engine.BlockID
}

// The flags of a log's entry.
const (
	flagEventDue = 1 << iota
	flagProcessingDue
)

const (
	kindSnapshot = 's'
	kindEntry    = 'l'
	// minLog is the size of a log that is worth a snapshot, entryCost what an entry
	// adds to its blocks.
	minLog    = 4 << 20
	entryCost = 64
)

func groupKey(stage, shard int, kind byte) []byte {
	return append(appendStage(noteGroup, stage, shard), kind)
}

func groupEntryKey(stage, shard int, entry uint64) string {
	return string(binary.BigEndian.AppendUint64(groupKey(stage, shard, kindEntry), entry))
}

// logged notes what the bundle did to a shard, after it did it.
func (l *groupLog) logged(stage int, b engine.Bundle, work engine.ShardWork, sh *window.Shard, always bool) (groupNote, error) {
	n := groupNote{stage: stage, shard: work.Shard, entry: l.next, first: l.first}
	l.next++
	l.bytes += entryCost
	for _, in := range work.Blocks {
		n.in = append(n.in, in.Block.ID)
		l.bytes += int64(in.Block.Bytes)
	}
	if !always && l.bytes < minLog+sh.Size()+sh.Size()/4 {
		n.row = appendGroupEntry(nil, b, work)
		l.blocks = append(l.blocks, n.in...)
		return n, nil
	}
	var err error
	n.snapshot, err = sh.AppendState(binary.AppendUvarint(nil, l.next))
	n.old = l.blocks
	*l = groupLog{first: l.next, next: l.next}
	return n, err
}

func appendGroupEntry(dst []byte, b engine.Bundle, work engine.ShardWork) []byte {
	dst = binary.AppendVarint(dst, int64(b.Watermark))
	dst = binary.AppendVarint(dst, b.Now.UnixNano())
	flags := uint64(0)
	if work.EventDue {
		flags |= flagEventDue
	}
	if work.ProcessingDue {
		flags |= flagProcessingDue
	}
	dst = binary.AppendUvarint(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(work.Blocks)))
	for _, in := range work.Blocks {
		dst = binary.AppendUvarint(dst, uint64(in.Input))
		dst = binary.AppendUvarint(dst, uint64(in.Block.ID))
	}
	return dst
}

// recordGroup writes a bundle's note with its commit. What a snapshot makes
// needless goes.
func (l *journal) recordGroup(b *store.Batch, n groupNote) {
	if n.snapshot == nil {
		b.Note(groupEntryKey(n.stage, n.shard, n.entry), n.row)
		for _, id := range n.in {
			l.retain(id)
		}
		return
	}
	b.Note(string(groupKey(n.stage, n.shard, kindSnapshot)), n.snapshot)
	if n.first < n.entry {
		b.UnnoteRange(groupEntryKey(n.stage, n.shard, n.first), groupEntryKey(n.stage, n.shard, n.entry))
	}
	for _, id := range n.old {
		l.letGo(b, id)
	}
}

// recoverShard makes the state of a shard from its snapshot and its log.
func (x *groupExecutor) recoverShard(g *window.Grouping, shard int) (*window.Shard, *groupLog, error) {
	l := x.job.journal
	sh, gl := g.NewShard(), &groupLog{}
	stage := x.stage.index
	key := string(groupKey(stage, shard, kindSnapshot))
	err := l.disk.Notes(key, key+"\x00", func(_ string, v []byte) error {
		first, n := binary.Uvarint(v)
		if n <= 0 {
			return badNote("a grouping's state")
		}
		var err error
		gl.first, gl.next = first, first
		if sh, err = g.RestoreShard(v[n:]); err == nil {
			x.job.memory.hold(sh, &x.held[shard])
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	from := string(groupKey(stage, shard, kindEntry))
	to := string(groupKey(stage, shard, kindEntry+1))
	err = l.disk.Notes(from, to, func(k string, v []byte) error {
		err := x.replay(sh, gl, k[len(from):], v)
		x.job.memory.hold(sh, &x.held[shard])
		return err
	})
	return sh, gl, err
}

// replay has a shard take in once more what an entry of its log names. What it
// emits was committed then.
func (x *groupExecutor) replay(sh *window.Shard, gl *groupLog, key string, row []byte) error {
	if len(key) != 8 || binary.BigEndian.Uint64([]byte(key)) != gl.next {
		return badNote("the order of a grouping's log")
	}
	gl.next++
	gl.bytes += entryCost
	r := fields{b: row}
	wm, now, flags := beam.EventTime(r.int()), time.Unix(0, r.int()), r.uint()
	out := &window.Output{Panes: func(window.Block) {}, Compact: func(window.Block) {}}
	for range r.uint() {
		input, id := int(r.uint()), engine.BlockID(r.uint())
		data := x.job.store.Block(uint64(id))
		if r.bad || data == nil {
			return badNote("a block of a grouping's log")
		}
		gl.bytes += int64(len(data))
		gl.blocks = append(gl.blocks, id)
		if err := takeIn(sh, input, data, wm, now, out); err != nil {
			return err
		}
	}
	if flags&(flagEventDue|flagProcessingDue) != 0 {
		if err := sh.Advance(wm, now, out); err != nil {
			return err
		}
	}
	out.Flush()
	if r.bad || len(r.b) > 0 {
		return badNote("a grouping's log")
	}
	return nil
}

// badNote is the error for what was not written by this version.
func badNote(what string) error {
	return &beam.Error{Code: beam.BadData, What: "the job's state on disk does not parse: " + what,
		Cure: "it was damaged, or written by another version: cancel the job and start it anew"}
}
