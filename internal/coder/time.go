package coder

import (
	"encoding/binary"

	"fresnel/internal/beam"
)

// A timestamp is eight bytes, big endian: milliseconds since the epoch with
// the sign bit flipped, so that the order of the bytes is the order in time.

const (
	timestampSize = 8
	signBit       = 1 << 63
)

// AppendTimestamp appends t.
func AppendTimestamp(dst []byte, t beam.EventTime) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^signBit)
}

// DecodeTimestamp reads the timestamp at the start of b, as it is: a harness
// may send one out of the range of event time, and Java's timers without an
// output timestamp hold MaxEventTime+1.
func DecodeTimestamp(b []byte) (t beam.EventTime, n int, err error) {
	if len(b) < timestampSize {
		return 0, 0, ErrShort
	}
	return timestamp(b), timestampSize, nil
}

// timestamp reads eight bytes that are there.
func timestamp(b []byte) beam.EventTime {
	return beam.EventTime(binary.BigEndian.Uint64(b) ^ signBit)
}

// clamp keeps a timestamp of an element within the range of event time.
func clamp(t beam.EventTime) beam.EventTime {
	return min(max(t, beam.MinEventTime), beam.MaxEventTime)
}
