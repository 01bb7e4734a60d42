package kafka

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"fresnel/internal/beam"
)

// topicPartition names a partition.
type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string {
	return tp.topic + "-" + strconv.Itoa(int(tp.partition))
}

// position is where a split's reading stands. It says itself which partitions
// are the split's: partition p of a topic belongs to split (first + p) mod
// splits, so that with the partitions that the job found at its beginning every
// split has one, and a partition that is added later belongs to exactly one of
// them, whichever notices it when.
//
//	1                   version, a byte; all that follows are uvarints
//	split, splits
//	returned, end       of a bounded read: the records so far; when it ends,
//	                    in milliseconds, 0 for never
//	topics              for each of them:
//	  length, name
//	  first, known      known: how many partitions the topic is known to have
//	  offset...         of the next record, for each of the split's partitions
//
// docs/format.md has it too.
type position struct {
	split, splits int64
	returned, end int64
	topics        []topicPosition
}

type topicPosition struct {
	name    string
	first   int64
	known   int32
	offsets []int64
}

const positionVersion = 1

// own returns the first of a topic's partitions that is the split's, and how
// many of the first known ones are.
func (p *position) own(t *topicPosition, known int32) (least, count int64) {
	least = ((p.split-t.first)%p.splits + p.splits) % p.splits
	if int64(known) > least {
		count = (int64(known)-least-1)/p.splits + 1
	}
	return least, count
}

// offsets walks over the split's partitions.
func (p *position) offsets() iter.Seq2[topicPartition, int64] {
	return func(yield func(topicPartition, int64) bool) {
		for i := range p.topics {
			t := &p.topics[i]
			least, _ := p.own(t, t.known)
			for n, offset := range t.offsets {
				if !yield(topicPartition{t.name, int32(least + int64(n)*p.splits)}, offset) {
					return
				}
			}
		}
	}
}

// grow takes in that a topic has more partitions than are known, and returns
// how many of the new ones are the split's. All their records came after the
// job's beginning.
func (p *position) grow(topic string, count int32) (added int) {
	for i := range p.topics {
		t := &p.topics[i]
		if t.name != topic || count <= t.known {
			continue
		}
		t.known = count
		for _, want := p.own(t, count); int64(len(t.offsets)) < want; added++ {
			t.offsets = append(t.offsets, 0)
		}
	}
	return added
}

func (p *position) encode() []byte {
	b := []byte{positionVersion}
	for _, v := range []int64{p.split, p.splits, p.returned, p.end, int64(len(p.topics))} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	for _, t := range p.topics {
		b = append(binary.AppendUvarint(b, uint64(len(t.name))), t.name...)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(t.first)), uint64(t.known))
		for _, offset := range t.offsets {
			b = binary.AppendUvarint(b, uint64(offset))
		}
	}
	return b
}

// decodePosition reads a position.
func decodePosition(b []byte) (position, error) {
	d := positionDecoder{rest: b}
	if len(b) == 0 || b[0] != positionVersion {
		return position{}, badPosition(b)
	}
	d.rest = b[1:]
	p := position{split: d.number(), splits: d.number(), returned: d.number(), end: d.number()}
	count := d.number()
	if d.bad || p.splits < 1 || p.splits > math.MaxInt32 || p.split >= p.splits {
		return position{}, badPosition(b)
	}
	for ; count > 0 && !d.bad; count-- {
		p.topics = append(p.topics, d.topic(&p))
	}
	if d.bad || len(d.rest) > 0 {
		return position{}, badPosition(b)
	}
	return p, nil
}

func badPosition(b []byte) error {
	return &beam.Error{Code: beam.Internal, What: fmt.Sprintf("%d bytes are no position of a Kafka source", len(b))}
}

// positionDecoder reads numbers; bad tells that there was none.
type positionDecoder struct {
	rest []byte
	bad  bool
}

func (d *positionDecoder) number() int64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > math.MaxInt64 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return int64(v)
}

func (d *positionDecoder) topic(p *position) (t topicPosition) {
	size := d.number()
	if size > int64(len(d.rest)) {
		d.bad = true
	}
	if d.bad {
		return t
	}
	t.name, d.rest = string(d.rest[:size]), d.rest[size:]
	t.first = d.number()
	known := d.number()
	if t.first >= p.splits || known > math.MaxInt32 {
		d.bad = true
		return t
	}
	t.known = int32(known)
	_, count := p.own(&t, t.known)
	if count > int64(len(d.rest)) { // an offset is a byte at least
		d.bad = true
		return t
	}
	for ; count > 0; count-- {
		t.offsets = append(t.offsets, d.number())
	}
	return t
}

// eventNow is now as the watermarks see it.
func eventNow() beam.EventTime { return beam.FromTime(time.Now()) }
