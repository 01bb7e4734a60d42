package engine

import "fresnel/internal/beam"

// entry is a block in a queue: 56 bytes, and none for its elements.
type entry struct {
	id      BlockID
	count   int32
	input   int32
	bytes   int
	minTime beam.EventTime
	// hold is what the block holds its stage's watermark at, while it is pending
	// and while it is in flight.
	hold beam.EventTime
	// after is the commit that must be durable first (StableInput).
	after CommitSeq
	// rank is the block's place in the image (Options.Durable).
	rank rank
}

func (p *entry) block() InputBlock {
	return InputBlock{Input: int(p.input), Block: Block{
		ID: p.id, Count: int(p.count), Bytes: p.bytes, MinTime: p.minTime, Hold: p.hold,
	}}
}

// queue is what waits in a shard, first in, first out.
type queue struct {
	head int
	all  []entry
	// elements counts what is in the blocks.
	elements int
}

func (q *queue) len() int         { return len(q.all) - q.head }
func (q *queue) waiting() []entry { return q.all[q.head:] }
func (q *queue) front() *entry    { return &q.all[q.head] }

func (q *queue) push(p entry) {
	if len(q.all) == cap(q.all) && q.head > len(q.all)/4 {
		q.slide(0)
	}
	q.all = append(q.all, p)
	q.elements += int(p.count)
}

// pushFront puts ps, in their order, before everything else.
func (q *queue) pushFront(ps []entry) {
	if q.head < len(ps) {
		more := make([]entry, len(ps)+len(q.all))
		copy(more[len(ps)+q.head:], q.all[q.head:])
		q.all, q.head = more, q.head+len(ps)
	}
	q.head -= len(ps)
	for i := range ps {
		q.elements += int(ps[i].count)
	}
	copy(q.all[q.head:], ps)
}

func (q *queue) pop() entry {
	p := q.all[q.head]
	q.head++
	q.elements -= int(p.count)
	switch {
	case q.head < len(q.all):
	case cap(q.all) > 256:
		q.all, q.head = nil, 0
	default:
		q.all, q.head = q.all[:0], 0
	}
	return p
}

// slide moves what is left to the front of the array.
func (q *queue) slide(to int) {
	n := copy(q.all[to:], q.all[q.head:])
	q.all, q.head = q.all[:to+n], to
}
