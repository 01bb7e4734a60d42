package coder

import (
	"encoding/binary"
	"math"

	"fresnel/internal/beam"
)

// An interval window is its end, as a timestamp, then its span in milliseconds
// as a varint. The global window takes no bytes. A custom window is its
// maximum timestamp, then the window in the encoding of its component.
//
// A sequence of windows is written as an iterable of known length: a count of
// four bytes, big endian, then the windows.

const countSize = 4

// AppendIntervalWindow appends w.
func AppendIntervalWindow(dst []byte, w beam.Window) []byte {
	return AppendVarInt(AppendTimestamp(dst, w.End), int64(w.End-w.Start))
}

// DecodeIntervalWindow reads the interval window at the start of b.
func DecodeIntervalWindow(b []byte) (w beam.Window, n int, err error) {
	end, at, err := DecodeTimestamp(b)
	if err != nil {
		return beam.Window{}, 0, err
	}
	span, size, err := DecodeVarInt(b[at:])
	if err != nil {
		return beam.Window{}, 0, err
	}
	start := end - beam.EventTime(span)
	if span < 0 || start > end {
		return beam.Window{}, 0, malformed("a window that ends at %d with a span of %d ms", int64(end), span)
	}
	return beam.Window{Start: start, End: end}, at + size, nil
}

func skipIntervalWindow(b []byte) (int, error) {
	if len(b) < timestampSize {
		return 0, ErrShort
	}
	n, err := skipVarInt(b[timestampSize:])
	if err != nil {
		return 0, err
	}
	return timestampSize + n, nil
}

// MaxTimestamp returns the last instant of an encoded window, of which c is
// the coder: a global, an interval or a custom window.
func (c *Coder) MaxTimestamp(window []byte) (beam.EventTime, error) {
	switch c.kind {
	case KindGlobalWindow:
		return beam.EndOfGlobalWindow, nil
	case KindIntervalWindow:
		w, _, err := DecodeIntervalWindow(window)
		return clamp(w.MaxTimestamp()), whole(err)
	case KindCustomWindow:
		t, _, err := DecodeTimestamp(window)
		return clamp(t), whole(err)
	}
	return 0, c.unknown("has no maximum timestamp")
}

// skipWindows reads the count at the start of b and skips the windows behind
// it. The windows are b[4:n]. first is the least of their last instants,
// MaxEventTime if their coder does not tell.
func (c *Coder) skipWindows(b []byte) (count, n int, first beam.EventTime, err error) {
	if len(b) < countSize {
		return 0, 0, 0, ErrShort
	}
	count = int(int32(binary.BigEndian.Uint32(b)))
	first = beam.MaxEventTime
	switch {
	case c.kind == KindGlobalWindow && count == 1:
		return 1, countSize, first, nil
	case count < 0, count > 1 && c.fixed == 0:
		return 0, 0, 0, malformed("an element in %d windows of coder %s", count, c)
	case c.kind == KindIntervalWindow:
		n, first, err = skipIntervalWindows(b[countSize:], count)
	case c.kind == KindCustomWindow:
		n, first, err = skipCustomWindows(c.comps[0], b[countSize:], count)
	default:
		n, err = c.skipMany(b[countSize:], int64(count))
	}
	return count, countSize + n, first, err
}

// skipIntervalWindows skips count windows, and returns the least of their last
// instants.
func skipIntervalWindows(b []byte, count int) (n int, first beam.EventTime, err error) {
	end := uint64(math.MaxUint64)
	for range count {
		if len(b)-n < timestampSize {
			return 0, 0, ErrShort
		}
		end = min(end, binary.BigEndian.Uint64(b[n:])) // their order is that in time
		span, err := skipVarInt(b[n+timestampSize:])
		if err != nil {
			return 0, 0, err
		}
		n += timestampSize + span
	}
	return n, clamp(clamp(beam.EventTime(end^signBit)) - 1), nil // the end is not of the window
}

// skipCustomWindows is the same for windows in the encoding of content.
func skipCustomWindows(content *Coder, b []byte, count int) (n int, first beam.EventTime, err error) {
	first = beam.MaxEventTime
	for range count {
		last, at, err := DecodeTimestamp(b[n:])
		if err != nil {
			return 0, 0, err
		}
		size, err := content.Skip(b[n+at:])
		if err != nil {
			return 0, 0, err
		}
		n, first = n+at+size, min(first, clamp(last))
	}
	return n, first, nil
}

// eachWindow calls f for count windows that skipWindows found in raw.
func (c *Coder) eachWindow(raw []byte, count int, f func(raw []byte) error) error {
	for range count {
		n, err := c.Skip(raw)
		if err != nil {
			return whole(err)
		}
		if err := f(raw[:n:n]); err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}
