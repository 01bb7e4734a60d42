package coder

import (
	"encoding/binary"

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

// firstEnd is the least last instant of count windows that skipWindows found in
// raw; MaxEventTime if their coder does not tell.
func (c *Coder) firstEnd(raw []byte, count int) beam.EventTime {
	if c.kind != KindIntervalWindow && c.kind != KindCustomWindow {
		return beam.MaxEventTime
	}
	first := beam.MaxEventTime
	for range count {
		last := clamp(timestamp(raw))
		if c.kind == KindIntervalWindow {
			last = clamp(last - 1) // it is encoded by its end, which is not of it
		}
		first = min(first, last)
		if count == 1 {
			break
		}
		n, err := c.Skip(raw)
		if err != nil {
			break // it was skipped before
		}
		raw = raw[n:]
	}
	return first
}

// skipWindows reads the count at the start of b and skips the windows behind
// it. The windows are b[4:n].
func (c *Coder) skipWindows(b []byte) (count, n int, err error) {
	if len(b) < countSize {
		return 0, 0, ErrShort
	}
	count = int(int32(binary.BigEndian.Uint32(b)))
	switch {
	case c.kind == KindGlobalWindow && count == 1:
		return 1, countSize, nil
	case count < 0, count > 1 && c.fixed == 0:
		return 0, 0, malformed("an element in %d windows of coder %s", count, c)
	}
	n, err = c.skipMany(b[countSize:], int64(count))
	return count, countSize + n, err
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
