package window

import (
	"bytes"
	"hash/maphash"
	"slices"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Grouping a closed window by hash, in two passes over its elements:
//
//	1  find the group of each key, and measure the groups
//	   lay the groups out in blocks, in the order in which their keys came
//	2  copy each value from where it is held to its group's place
//
// Both passes read in the order of the elements, and the second writes at as
// many places as there are groups; to gather the values group by group would
// miss the cache for every one of them. What that takes beside the output is 12
// bytes for an element, and 32 for a group with 16 to 32 for its table entry
// and a copy of its key. The second pass is run for batches of groups, so that
// not all of the output is in the making at once.
//
// Values of a group beyond Output.RestAbove are given away in the first pass (see
// rest.go): a hot key takes no more memory than another.

// ref is one value, in the bytes of the segment that the pass is at.
type ref struct {
	group, at, size uint32
}

// group is one key of a window.
type group struct {
	// keyAt is where the key stands in the grouper's keys.
	keyAt int
	// size is that of the values; from the layout on, where the next goes.
	size    int
	count   uint32
	keySize uint32
	// block has the group's output.
	block uint32
	// hot: the values to come are the rest.
	hot bool
}

type grouper struct {
	g      *Grouping
	b      *bucket
	window []byte  // encoded
	refs   [][]ref // of each segment
	groups []group
	keys   []byte
	// stamps are the groups' timestamps, where the elements decide.
	stamps []stamp
	// table has the index of a group, plus one, below the upper half of its
	// key's hash. Its length is a power of two.
	table []uint64
	// blocks are the full ones of the batch.
	blocks []Block
	rests  rests
	// buf has the segment that a pass is at, if that was on disk.
	buf []byte
}

var hashSeed = maphash.MakeSeed()

const (
	firstGroups = 128 // a power of two
	indexMask   = 1<<32 - 1
	// batchSize is how much output is in the making at once.
	batchSize = 32 << 20
)

// onlyPane is the pane of a window that has no other.
var onlyPane = beam.Pane{First: true, Last: true, Timing: beam.OnTime}

// group emits the one pane that each key of a closed window has.
func (g *Grouping) group(b *bucket, out *Output) error {
	p := &grouper{g: g, b: b, window: []byte(b.raw), rests: newRests(out)}
	p.enlarge()
	for i := range b.segments {
		if err := p.scan(&b.segments[i]); err != nil {
			return err
		}
	}
	p.rests.seal()
	for from := 0; from < len(p.groups); {
		to := p.layOut(from, out)
		if err := p.fill(uint32(from), uint32(to), &out.panes); err != nil {
			return err
		}
		p.handOver(out)
		from = to
	}
	return nil
}

// scan is the first pass over a segment.
func (p *grouper) scan(s *segment) error {
	data, err := p.load(s)
	if err != nil {
		return err
	}
	p.refs = append(p.refs, make([]ref, 0, s.count))
	defer p.trim()
	if s.offsets == nil {
		for at := 0; at < len(data); {
			n, err := p.element(s, data, at)
			if err != nil {
				return err
			}
			at += n
		}
		return nil
	}
	for _, at := range s.offsets {
		if _, err := p.element(s, data, int(at)); err != nil {
			return err
		}
	}
	return nil
}

func (p *grouper) element(s *segment, data []byte, at int) (int, error) {
	var e coder.Element
	n, err := p.g.Input.Scan(data[at:], &e)
	if err != nil {
		return 0, badBlock(err)
	}
	key, value, err := p.g.split(e.Value)
	if err != nil {
		return 0, err
	}
	to := p.find(key)
	if p.g.stamps() {
		p.stamps[to].add(p.g.stampOf(e.Timestamp, p.b.end, s.wm), p.g.Strategy.outputTime)
	}
	g := &p.groups[to]
	if g.hot || g.size > 0 && g.size+len(value) > p.rests.above {
		g.hot = true
		p.rests.add(to, value)
		return n, nil
	}
	last := &p.refs[len(p.refs)-1]
	*last = append(*last, ref{group: to, at: uint32(at + n - len(value)), size: uint32(len(value))})
	g.count++
	g.size += len(value)
	return n, nil
}

// trim gives back the room for references that the last segment did not need.
func (p *grouper) trim() {
	last := &p.refs[len(p.refs)-1]
	if len(*last) < cap(*last)/2 {
		*last = append([]ref(nil), *last...)
	}
}

// find returns the index of the key's group.
func (p *grouper) find(key []byte) uint32 {
	hash := maphash.Bytes(hashSeed, key) >> 32
	mask := uint64(len(p.table) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		entry := p.table[i]
		if entry == 0 {
			if len(p.groups) == cap(p.groups) {
				p.enlarge()
				return p.find(key)
			}
			return p.insert(i, hash, key)
		}
		if at := uint32(entry&indexMask) - 1; entry>>32 == hash && bytes.Equal(p.key(&p.groups[at]), key) {
			return at
		}
	}
}

func (p *grouper) key(g *group) []byte { return p.keys[g.keyAt : g.keyAt+int(g.keySize)] }

func (p *grouper) insert(i, hash uint64, key []byte) uint32 {
	at := uint32(len(p.groups))
	p.groups = append(p.groups, group{keyAt: len(p.keys), keySize: uint32(len(key))})
	p.keys = append(p.keys, key...)
	if p.g.stamps() {
		p.stamps = append(p.stamps, stamp{})
	}
	p.table[i] = hash<<32 | uint64(at+1)
	return at
}

// enlarge makes room for more groups, and for as many again if most elements
// until now had a new key. The table stays half empty.
func (p *grouper) enlarge() {
	n := max(firstGroups, 2*len(p.groups))
	if len(p.refs) < n {
		n *= 2
	}
	p.groups = append(make([]group, 0, n), p.groups...)
	p.keys = slices.Grow(p.keys, len(p.keys))
	if 2*n > len(p.table) {
		p.rehash(2 * n)
	}
}

func (p *grouper) rehash(size int) {
	old := p.table
	p.table = make([]uint64, size)
	mask := uint64(len(p.table) - 1)
	for _, entry := range old {
		if entry == 0 {
			continue
		}
		i := entry >> 32 & mask
		for p.table[i] != 0 {
			i = (i + 1) & mask
		}
		p.table[i] = entry
	}
}

// layOut writes all but the values of a batch of groups, leaves room for these,
// and returns where the batch ends.
func (p *grouper) layOut(from int, out *Output) (to int) {
	w, size := &out.panes, 0
	for to = from; to < len(p.groups) && (size < batchSize || to == from); to++ {
		size += p.sizeOf(&p.groups[to])
	}
	w.more = size
	for i := from; i < to; i++ {
		g := &p.groups[i]
		if g.hot {
			w.flush(p.keep)
		}
		w.begin(p.sizeOf(g), out.blockSize(), p.keep)
		ts := p.b.end
		if p.g.stamps() {
			ts = p.stamps[i].or(ts)
		}
		w.buf = coder.AppendHeader(w.buf, ts, 1, p.window, onlyPane)
		w.buf = append(w.buf, p.key(g)...)
		p.leaveRoom(w, uint32(i))
		w.end(ts, out.blockSize(), p.keep)
		if g.hot {
			w.flush(p.keep)
		}
	}
	w.more = 0
	return to
}

// leaveRoom writes the count of a group's values and makes room for those that go
// into the element.
func (p *grouper) leaveRoom(w *blockWriter, at uint32) {
	g := &p.groups[at]
	g.block = uint32(len(p.blocks))
	if g.hot {
		w.beginHot(int(g.count))
	} else {
		w.beginValues(int(g.count))
	}
	g.size, w.buf = len(w.buf), w.buf[:len(w.buf)+g.size]
	if g.hot {
		w.endHot(p.rests.of(at))
	} else {
		w.endValues(int(g.count))
	}
}

func (p *grouper) keep(b Block) { p.blocks = append(p.blocks, b) }

// sizeOf is the size of a group's output before the layout: timestamp, count
// of windows, window, pane, key, count of values and values.
func (p *grouper) sizeOf(g *group) int {
	size := 8 + 4 + len(p.window) + 1 + int(g.keySize) + 4 + g.size
	if g.hot {
		size += hotRoom
	}
	return size
}

// fill is the second pass, for the groups of a batch. What is not in a full
// block is still in w.
func (p *grouper) fill(from, to uint32, w *blockWriter) error {
	for i, refs := range p.refs {
		if len(refs) == 0 {
			continue
		}
		data, err := p.load(&p.b.segments[i])
		if err != nil {
			return err
		}
		for j := range refs {
			r := &refs[j]
			if r.group < from || r.group >= to {
				continue
			}
			g := &p.groups[r.group]
			block := w.buf
			if int(g.block) < len(p.blocks) {
				block = p.blocks[g.block].Data
			}
			g.size += copy(block[g.size:], data[r.at:r.at+r.size])
		}
	}
	return nil
}

// handOver gives away the full blocks.
func (p *grouper) handOver(out *Output) {
	for i, b := range p.blocks {
		out.Panes(b)
		p.blocks[i] = Block{}
	}
	p.blocks = p.blocks[:0]
}
