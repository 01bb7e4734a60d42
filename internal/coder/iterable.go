package coder

import "encoding/binary"

// An iterable of known length is a count of four bytes, big endian, then the
// values. One of unknown length has the count -1, then blocks, each a varint
// count and as many values; it ends with a count of 0. A state-backed iterable
// may end with a count of -1 instead and a length-prefixed token, under which
// the State API has the rest of it.

const (
	countUnknown = -1 // the count before blocks
	blockEnd     = 0
	blockToken   = -1 // the count before a token
)

// AppendIterableCount begins an iterable of n values; n is -1 if blocks
// follow, each begun with AppendVarInt.
func AppendIterableCount(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(int32(n)))
}

// AppendStateToken ends an iterable in blocks whose rest is kept under token.
func AppendStateToken(dst, token []byte) []byte {
	return AppendLengthPrefixed(AppendVarInt(dst, blockToken), token)
}

func (c *Coder) skipIterable(b []byte) (int, error) {
	count, err := decodeCount(b)
	if err != nil {
		return 0, err
	}
	elem, n := c.comps[0], countSize
	if count >= 0 {
		size, err := elem.skipMany(b[n:], int64(count))
		if err != nil {
			return 0, err
		}
		return n + size, nil
	}
	if count != countUnknown {
		return 0, malformed("an iterable of %d values", count)
	}
	for {
		block, size, err := DecodeVarInt(b[n:])
		if err != nil {
			return 0, err
		}
		n += size
		if block <= 0 {
			return c.skipBlocksEnd(b, n, block)
		}
		if size, err = elem.skipMany(b[n:], block); err != nil {
			return 0, err
		}
		n += size
	}
}

// skipBlocksEnd skips what follows the last block, whose count is at b[:n].
func (c *Coder) skipBlocksEnd(b []byte, n int, count int64) (int, error) {
	switch {
	case count == blockEnd:
		return n, nil
	case count == blockToken && c.kind == KindStateBackedIterable:
		size, err := skipLengthPrefixed(b[n:])
		if err != nil {
			return 0, err
		}
		return n + size, nil
	}
	return 0, malformed("an iterable with a block of %d values", count)
}
