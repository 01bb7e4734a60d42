package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"fresnel/internal/beam"
)

// formatVersion is the version of the rows of an image. docs/format.md describes
// them.
const formatVersion = 1

// The kinds of rows, the first byte of a key. What blocks refer to comes before
// them in the order of the keys.
const (
	formatRow = 'a'
	countRow  = 'c'
	outboxRow = 'e'
	gateRow   = 'g'
	blockRow  = 'p'
	shardRow  = 's'
	floorRow  = 'w'
)

// appendKey makes a key whose order is that of its numbers: each is its length in
// bytes, and then its bytes, the high ones first.
func appendKey(key []byte, kind byte, numbers ...uint64) []byte {
	key = append(key, kind)
	for _, n := range numbers {
		size := (bits.Len64(n) + 7) / 8
		key = append(key, byte(size))
		for i := size - 1; i >= 0; i-- {
			key = append(key, byte(n>>(8*i)))
		}
	}
	return key
}

// keyNumbers are the numbers of a key: no kind of row has more.
type keyNumbers [3]uint64

// parseKey reads the first n numbers of a key, which has no more.
func parseKey(key string, n int) (keyNumbers, error) {
	var numbers keyNumbers
	rest := key[1:]
	for k := range n {
		if len(rest) == 0 || rest[0] > 8 || len(rest) <= int(rest[0]) {
			return numbers, errors.New("its key is too short")
		}
		size := int(rest[0])
		if size > 0 && rest[1] == 0 {
			return numbers, errors.New("its key is not in the shortest form")
		}
		for i := range size {
			numbers[k] = numbers[k]<<8 | uint64(rest[1+i])
		}
		rest = rest[1+size:]
	}
	if len(rest) > 0 {
		return numbers, errors.New("its key is too long")
	}
	return numbers, nil
}

// value reads a row's value. After an error all reads give 0.
type value struct {
	rest []byte
	err  error
}

func (v *value) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf(format, args...)
		v.rest = nil
	}
}

func (v *value) byte() byte {
	if len(v.rest) == 0 {
		v.fail("its value is too short")
		return 0
	}
	b := v.rest[0]
	v.rest = v.rest[1:]
	return b
}

func (v *value) uint() uint64 {
	n, size := binary.Uvarint(v.rest)
	if size <= 0 {
		v.fail("its value is too short")
		return 0
	}
	v.rest = v.rest[size:]
	return n
}

func (v *value) int() int64 {
	n, size := binary.Varint(v.rest)
	if size <= 0 {
		v.fail("its value is too short")
		return 0
	}
	v.rest = v.rest[size:]
	return n
}

// below reads a number that must be less than limit.
func (v *value) below(limit uint64) uint64 {
	n := v.uint()
	if n >= limit {
		v.fail("%d is out of range", n)
		return 0
	}
	return n
}

func (v *value) event() beam.EventTime { return clampTime(beam.EventTime(v.int())) }
func (v *value) wall() wall            { return wall(v.below(uint64(lastWall) + 1)) }

// end is the error, if there was one or if something is left.
func (v *value) end() error {
	if len(v.rest) > 0 {
		v.fail("its value is too long")
	}
	return v.err
}

func appendEvent(b []byte, t beam.EventTime) []byte { return binary.AppendVarint(b, int64(t)) }
func appendWall(b []byte, w wall) []byte            { return binary.AppendUvarint(b, uint64(w)) }

// formatValue is the version, and what the image must fit to.
type formatValue struct{ shape, incarnation uint64 }

func (f formatValue) append(b []byte) []byte {
	b = append(b, formatVersion)
	b = binary.AppendUvarint(b, f.incarnation)
	return binary.BigEndian.AppendUint64(b, f.shape)
}

func parseFormat(raw []byte) (formatValue, error) {
	v := value{rest: raw}
	if version := v.byte(); v.err == nil && version != formatVersion {
		v.fail("version %d of the format is not known, only %d is", version, formatVersion)
	}
	f := formatValue{incarnation: v.below(mostIncarnations)}
	for range 8 {
		f.shape = f.shape<<8 | uint64(v.byte())
	}
	return f, v.end()
}

// countValue is the number of the commit, and whether the job drains.
type countValue struct {
	seq      CommitSeq
	draining bool
}

func (c countValue) append(b []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(c.seq)), bitIf(c.draining, 1))
}

func parseCount(raw []byte) (countValue, error) {
	v := value{rest: raw}
	c := countValue{seq: CommitSeq(v.below(math.MaxInt64))}
	c.draining = v.byte()&1 != 0
	return c, v.end()
}

// bitIf is the bit, if it is to be set.
func bitIf(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// blockValue is a pending block.
type blockValue struct {
	entry     entry
	gates     []GateID
	notBefore wall
}

// What a block need not have.
const (
	hasHold = 1 << iota // other than its least time
	hasInput
	hasNotBefore
	hasGates
)

func (b blockValue) append(to []byte) []byte {
	p := &b.entry
	flags := bitIf(p.hold != p.minTime, hasHold) | bitIf(p.input != 0, hasInput) |
		bitIf(b.notBefore != unsetWall, hasNotBefore) | bitIf(len(b.gates) > 0, hasGates)
	to = append(to, flags)
	to = binary.AppendUvarint(to, uint64(p.id))
	to = binary.AppendUvarint(to, uint64(p.count))
	to = binary.AppendUvarint(to, uint64(p.bytes))
	to = appendEvent(to, p.minTime)
	if flags&hasHold != 0 {
		to = appendEvent(to, p.hold)
	}
	if flags&hasInput != 0 {
		to = binary.AppendUvarint(to, uint64(p.input))
	}
	if flags&hasNotBefore != 0 {
		to = appendWall(to, b.notBefore)
	}
	if flags&hasGates != 0 {
		to = binary.AppendUvarint(to, uint64(len(b.gates)))
		for _, id := range b.gates {
			to = binary.AppendUvarint(to, uint64(id))
		}
	}
	return to
}

func parseBlock(raw []byte) (blockValue, error) {
	v := value{rest: raw}
	flags := v.byte()
	p := entry{id: BlockID(v.uint()), count: int32(v.below(mostElements + 1)), bytes: int(v.below(mostBytes + 1))}
	p.minTime = beam.EventTime(v.int())
	p.hold = clampTime(p.minTime)
	b := blockValue{}
	if flags&hasHold != 0 {
		p.hold = v.event()
	}
	if flags&hasInput != 0 {
		p.input = int32(v.below(mostElements + 1))
	}
	if flags&hasNotBefore != 0 {
		b.notBefore = v.wall()
	}
	if flags&hasGates != 0 {
		n := v.below(uint64(len(v.rest)) + 1)
		for range n {
			b.gates = append(b.gates, GateID(v.uint()))
		}
	}
	b.entry = p
	return b, v.end()
}

// outboxValue is how many entries a sink's shard has formed, and the blocks of
// the one that is out, in its order.
type outboxValue struct {
	n     int64
	ranks []rank
}

func (o outboxValue) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(o.n))
	b = binary.AppendUvarint(b, uint64(len(o.ranks)))
	last := rank(0)
	for _, r := range o.ranks {
		b = binary.AppendVarint(b, int64(r-last))
		last = r
	}
	return b
}

func parseOutbox(raw []byte) (outboxValue, error) {
	v := value{rest: raw}
	o := outboxValue{n: int64(v.below(math.MaxInt64))}
	n, last := v.below(uint64(len(v.rest))+1), rank(0)
	for range n {
		last += rank(v.int())
		o.ranks = append(o.ranks, last)
	}
	return o, v.end()
}

// gateValue is a gate that has not passed.
type gateValue struct {
	open bool
	// ends is set for a gate that was declared, with what follows.
	ends        bool
	stage, side int
	end         beam.EventTime
}

func (g gateValue) append(b []byte) []byte {
	b = append(b, bitIf(g.open, 1)|bitIf(g.ends, 2))
	if !g.ends {
		return b
	}
	b = binary.AppendUvarint(b, uint64(g.stage))
	b = binary.AppendUvarint(b, uint64(g.side))
	return appendEvent(b, g.end)
}

func parseGate(raw []byte) (gateValue, error) {
	v := value{rest: raw}
	flags := v.byte()
	g := gateValue{open: flags&1 != 0, ends: flags&2 != 0}
	if g.ends {
		g.stage, g.side = int(v.below(math.MaxInt32)), int(v.below(math.MaxInt32))
		g.end = beam.EventTime(v.int())
	}
	return g, v.end()
}

// shardValue is the times of a stateful shard, or how far a source's has come.
type shardValue struct {
	done      bool
	nextEvent beam.EventTime
	nextClock wall
	// holds is one of a stateful shard, or the watermarks of a source's outputs.
	holds []beam.EventTime
}

// idle tells whether a stateful shard holds nothing and waits for nothing.
func (s shardValue) idle() bool {
	return s.nextEvent >= NoEvent && s.nextClock == unsetWall && s.holds[0] >= beam.MaxEventTime
}

func (s shardValue) append(b []byte) []byte {
	b = append(b, bitIf(s.done, 1))
	b = appendEvent(b, s.nextEvent)
	b = appendWall(b, s.nextClock)
	for _, h := range s.holds {
		b = appendEvent(b, h)
	}
	return b
}

func parseShard(raw []byte, holds int) (shardValue, error) {
	v := value{rest: raw}
	s := shardValue{done: v.byte()&1 != 0}
	s.nextEvent = min(max(beam.EventTime(v.int()), beam.MinEventTime), NoEvent)
	s.nextClock = v.wall()
	for range holds {
		s.holds = append(s.holds, v.event())
	}
	return s, v.end()
}

// floorValue is what a stage's watermarks had reached.
type floorValue struct {
	input  beam.EventTime
	output []beam.EventTime
}

func (f floorValue) append(b []byte) []byte {
	b = appendEvent(b, f.input)
	for _, out := range f.output {
		b = appendEvent(b, out)
	}
	return b
}

func parseFloor(raw []byte, outputs int) (floorValue, error) {
	v := value{rest: raw}
	f := floorValue{input: v.event()}
	for range outputs {
		f.output = append(f.output, v.event())
	}
	return f, v.end()
}
