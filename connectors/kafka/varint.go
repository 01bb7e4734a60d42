package kafka

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// errMalformed is what the decoders of this package return for bytes that are
// no record batch; readers add the topic, the partition and the offset.
var errMalformed = errors.New("malformed record batch")

// varint reads one zigzag varint of the record format (at most 64 bits) and
// returns what follows it; ok is false when b does not start with one.
func varint(b []byte) (v int64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		u := uint64(b[0])
		return int64(u>>1) ^ -int64(u&1), b[1:], true
	}
	u, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return int64(u>>1) ^ -int64(u&1), b[n:], true
}

// field reads a length-prefixed byte string; a negative length is nil.
func field(b []byte) (f, rest []byte, ok bool) {
	n, rest, ok := varint(b)
	switch {
	case !ok || n > int64(len(rest)):
		return nil, nil, false
	case n < 0:
		return nil, rest, true
	}
	return rest[:n:n], rest[n:], true
}

func appendVarint(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v<<1)^uint64(v>>63))
}

// varintLen is the number of bytes that appendVarint writes.
func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}
