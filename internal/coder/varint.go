package coder

import "math"

// A varint (beam:coder:varint:v1) is a 64-bit integer in two's complement, cut
// into groups of seven bits, the lowest first; all bytes but the last have the
// top bit set. Negative numbers take all ten bytes.

const (
	maxVarIntBytes = 10
	// maxLength bounds what a length prefix may announce. No SDK can make
	// larger values: Java's arrays and gRPC's messages end at 2 GiB.
	maxLength = math.MaxInt32
)

// AppendVarInt appends v in the shortest form.
func AppendVarInt(dst []byte, v int64) []byte {
	u := uint64(v)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// DecodeVarInt reads the varint at the start of b and returns how many bytes
// it takes.
func DecodeVarInt(b []byte) (v int64, n int, err error) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]), 1, nil
	}
	n, err = skipVarInt(b)
	var u uint64
	for i := range n {
		u |= uint64(b[i]&0x7f) << (7 * i)
	}
	return int64(u), n, err
}

// skipVarInt returns the size of the varint at the start of b, 0 with an error.
func skipVarInt(b []byte) (int, error) {
	for i, x := range b {
		switch {
		case i == maxVarIntBytes-1 && x > 1:
			return 0, malformed("a varint of more than 64 bits")
		case x < 0x80:
			return i + 1, nil
		}
	}
	return 0, ErrShort
}

// varIntSize returns the size of v as AppendVarInt writes it.
func varIntSize(v int64) int {
	n := 1
	for u := uint64(v); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// DecodeLengthPrefixed reads a varint length and as many bytes. The content is
// a slice of b; n counts the prefix too.
func DecodeLengthPrefixed(b []byte) (content []byte, n int, err error) {
	length, at, err := decodeLength(b)
	if err != nil {
		return nil, 0, err
	}
	n = at + length
	if n > len(b) {
		return nil, 0, ErrShort
	}
	return b[at:n:n], n, nil
}

// AppendLengthPrefixed appends the length of b as a varint, then b.
func AppendLengthPrefixed(dst, b []byte) []byte {
	return append(AppendVarInt(dst, int64(len(b))), b...)
}

func appendLengthPrefixedString(dst []byte, s string) []byte {
	return append(AppendVarInt(dst, int64(len(s))), s...)
}

// decodeLength reads a varint that is a length or a count of things in memory.
func decodeLength(b []byte) (length, n int, err error) {
	if len(b) > 0 && b[0] < 0x80 {
		return int(b[0]), 1, nil
	}
	v, n, err := DecodeVarInt(b)
	if err != nil {
		return 0, 0, err
	}
	if v < 0 || v > maxLength {
		return 0, 0, malformed("a length of %d bytes", v)
	}
	return int(v), n, nil
}

// skipLengthPrefixed returns the size of a length-prefixed value.
func skipLengthPrefixed(b []byte) (int, error) {
	if len(b) > 0 && int(b[0]) < min(len(b), 0x80) {
		return 1 + int(b[0]), nil
	}
	return skipLongPrefixed(b)
}

func skipLongPrefixed(b []byte) (int, error) {
	length, n, err := decodeLength(b)
	if err != nil {
		return 0, err
	}
	if length > len(b)-n {
		return 0, ErrShort
	}
	return n + length, nil
}
