package window

import (
	"bytes"
	"hash/maphash"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Grouping a closed window by hash, in two passes. The first finds key and
// value of each element and links it to its group; the second walks the
// groups in the order in which their keys came, and copies each key once and
// each value once, straight from the held blocks to the output:
//
//	table ──▶ groups: head, tail ──▶ refs: segment, offset, size, next ──▶ bytes in segments
//
// That is 16 bytes for an element, 24 for a group and 16 for its table entries.

// ref is one value, in the bytes of a segment.
type ref struct {
	segment, at, size uint32
	next              uint32 // index of the group's next ref, plus one
}

// group is one key; its bytes stand right before its first value.
type group struct {
	head, tail uint32
	count      uint32
	keySize    uint32
	size       int // of the values
}

type grouper struct {
	g      *Grouping
	b      *bucket
	window []byte // encoded
	refs   []ref
	groups []group
	// stamps are the groups' timestamps, where the elements decide.
	stamps []stamp
	// table has the index of a group, plus one, below the upper half of its
	// key's hash. Its length is a power of two.
	table []uint64
	used  int
}

var hashSeed = maphash.MakeSeed()

const (
	firstTable = 256
	indexMask  = 1<<32 - 1
)

// group emits the one pane that each key of a closed window has.
func (g *Grouping) group(b *bucket, out *Output) error {
	p := &grouper{g: g, b: b, window: []byte(b.raw), refs: make([]ref, 0, b.count), table: make([]uint64, firstTable)}
	for i := range b.segments {
		if err := p.scan(uint32(i)); err != nil {
			return err
		}
	}
	p.emit(out)
	return nil
}

// scan takes the elements of segment i.
func (p *grouper) scan(i uint32) error {
	s := &p.b.segments[i]
	if s.offsets == nil {
		for at := 0; at < len(s.data); {
			n, err := p.element(i, at)
			if err != nil {
				return err
			}
			at += n
		}
		return nil
	}
	for _, at := range s.offsets {
		if _, err := p.element(i, int(at)); err != nil {
			return err
		}
	}
	return nil
}

func (p *grouper) element(i uint32, at int) (int, error) {
	var e coder.Element
	s := &p.b.segments[i]
	n, err := p.g.Input.Scan(s.data[at:], &e)
	if err != nil {
		return 0, badBlock(err)
	}
	key, value, err := p.g.split(e.Value)
	if err != nil {
		return 0, err
	}
	to := p.find(key)
	p.link(to, ref{segment: i, at: uint32(at + n - len(value)), size: uint32(len(value))})
	if p.g.stamps() {
		p.stamps[to].add(p.g.stampOf(e.Timestamp, p.b.end, s.wm), p.g.Strategy.outputTime)
	}
	return n, nil
}

// find returns the index of the key's group. A new group has no ref yet: the
// caller links one.
func (p *grouper) find(key []byte) uint32 {
	hash := maphash.Bytes(hashSeed, key) >> 32
	mask := uint64(len(p.table) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		entry := p.table[i]
		if entry == 0 {
			return p.insert(i, hash, key)
		}
		if at := uint32(entry&indexMask) - 1; entry>>32 == hash && bytes.Equal(p.key(at), key) {
			return at
		}
	}
}

func (p *grouper) insert(i, hash uint64, key []byte) uint32 {
	at := uint32(len(p.groups))
	p.groups = append(p.groups, group{keySize: uint32(len(key))})
	if p.g.stamps() {
		p.stamps = append(p.stamps, stamp{})
	}
	p.table[i] = hash<<32 | uint64(at+1)
	if len(p.groups)*2 > len(p.table) {
		p.grow()
	}
	return at
}

func (p *grouper) grow() {
	old := p.table
	p.table = make([]uint64, 4*len(old))
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

// link appends a value to a group.
func (p *grouper) link(to uint32, r ref) {
	p.refs = append(p.refs, r)
	n := uint32(len(p.refs))
	g := &p.groups[to]
	if g.count == 0 {
		g.head = n
	} else {
		p.refs[g.tail-1].next = n
	}
	g.tail = n
	g.count++
	g.size += int(r.size)
}

// key returns the key of group i.
func (p *grouper) key(i uint32) []byte {
	g := &p.groups[i]
	r := &p.refs[g.head-1]
	return p.b.segments[r.segment].data[r.at-g.keySize : r.at]
}

func (p *grouper) value(r *ref) []byte {
	return p.b.segments[r.segment].data[r.at : r.at+r.size]
}

// emit writes the groups.
func (p *grouper) emit(out *Output) {
	out.panes.more = p.outputSize()
	for i := range p.groups {
		ts := p.b.end
		if p.g.stamps() {
			ts = p.stamps[i].or(ts)
		}
		w := out.pane(p.sizeOf(&p.groups[i]))
		w.buf = coder.AppendHeader(w.buf, ts, 1, p.window, onlyPane)
		p.write(w, uint32(i))
		out.endPane(ts)
	}
	out.panes.more = 0
}

// sizeOf is the size of a group's output: timestamp, count of windows, window,
// pane, key, count of values and values.
func (p *grouper) sizeOf(g *group) int {
	return 8 + 4 + len(p.window) + 1 + int(g.keySize) + 4 + g.size
}

func (p *grouper) outputSize() int {
	n := 0
	for i := range p.groups {
		n += p.sizeOf(&p.groups[i])
	}
	return n
}

// write appends a group's key and values.
func (p *grouper) write(w *blockWriter, i uint32) {
	count := int(p.groups[i].count)
	w.buf = append(w.buf, p.key(i)...)
	w.beginValues(count)
	for at := p.groups[i].head; at != 0; {
		r := &p.refs[at-1]
		w.buf = append(w.buf, p.value(r)...)
		at = r.next
	}
	w.endValues(count)
}

// onlyPane is the pane of a window that has no other.
var onlyPane = beam.Pane{First: true, Last: true, Timing: beam.OnTime}
