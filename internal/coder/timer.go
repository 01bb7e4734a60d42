package coder

import "fresnel/internal/beam"

// A timer is the user's key, the dynamic tag, the windows, the clear bit, and
// unless that is set the time to fire at, the time that it holds the output
// watermark at, and a pane:
//
//	| key ... | tag: length, bytes | count, 4 bytes | windows ... | clear |
//	                        | fire, 8 bytes | hold, 8 bytes | pane, 1.. bytes |

// Timer is one timer, as slices of the input.
type Timer struct {
	// Key is the encoded key, in the nested form.
	Key []byte
	// Tag tells the timers of one family apart; empty for plain timers.
	Tag string
	// Windows holds the encoded windows one after another.
	Windows     []byte
	WindowCount int
	// Clear: the timer is to be deleted; the fields below are not set.
	Clear bool
	// Fire and Hold are not clamped to the range of event time: Java has a
	// timer without output timestamp hold at MaxEventTime+1.
	Fire, Hold beam.EventTime
	Pane       []byte
}

// ScanTimer reads the first timer of b and returns its size; c must be of
// KindTimer. With an error, t is unchanged.
func (c *Coder) ScanTimer(b []byte, t *Timer) (int, error) {
	if c.kind != KindTimer {
		return 0, c.unknown("is not one of timers")
	}
	var read Timer
	tag, n, err := c.scanTimer(b, &read)
	if err != nil {
		return 0, err
	}
	read.Tag = string(tag)
	*t = read
	return n, nil
}

// scanTimer sets all of t but the tag, which would be an allocation.
func (c *Coder) scanTimer(b []byte, t *Timer) (tag []byte, n int, err error) {
	key, window := c.comps[0], c.comps[1]
	at, err := key.Skip(b)
	if err != nil {
		return nil, 0, err
	}
	t.Key = b[:at:at]
	tag, size, err := DecodeLengthPrefixed(b[at:])
	if err != nil {
		return nil, 0, err
	}
	at += size
	count, size, _, err := window.skipWindows(b[at:])
	if err != nil {
		return nil, 0, err
	}
	t.WindowCount, t.Windows = count, b[at+countSize:at+size:at+size]
	at += size
	if size, err = t.scanTimes(b[at:]); err != nil {
		return nil, 0, err
	}
	return tag, at + size, nil
}

// scanTimes reads the clear bit and what follows it.
func (t *Timer) scanTimes(b []byte) (int, error) {
	switch {
	case len(b) == 0:
		return 0, ErrShort
	case b[0] == 1:
		t.Clear = true
		return 1, nil
	case b[0] != 0:
		return 0, malformed("a timer with a clear bit of %d", b[0])
	}
	const paneAt = 1 + 2*timestampSize
	if len(b) < paneAt {
		return 0, ErrShort
	}
	size, err := skipPane(b[paneAt:])
	if err != nil {
		return 0, err
	}
	n := paneAt + size
	t.Fire, t.Hold = timestamp(b[1:]), timestamp(b[1+timestampSize:])
	t.Pane = b[paneAt:n:n]
	return n, nil
}

// AppendTimer appends t.
func AppendTimer(dst []byte, t *Timer) []byte {
	dst = appendLengthPrefixedString(append(dst, t.Key...), t.Tag)
	dst = appendWindows(dst, t.WindowCount, t.Windows)
	if t.Clear {
		return append(dst, 1)
	}
	dst = AppendTimestamp(append(dst, 0), t.Fire)
	return append(AppendTimestamp(dst, t.Hold), t.Pane...)
}

// EachTimerWindow calls f with each encoded window of a timer that c scanned.
func (c *Coder) EachTimerWindow(t *Timer, f func(raw []byte) error) error {
	if c.kind != KindTimer {
		return c.unknown("is not one of timers")
	}
	return c.comps[1].eachWindow(t.Windows, t.WindowCount, f)
}
