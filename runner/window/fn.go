package window

import (
	"time"

	"fresnel/internal/beam"
)

// Kind says which window function a Fn is.
type Kind uint8

// The kinds.
const (
	// Custom is a function of the SDK: its windows are opaque to the runner,
	// but for what their coder tells.
	Custom Kind = iota
	Global
	Fixed
	Sliding
	Session
)

var kindNames = [...]string{"custom", "global", "fixed", "sliding", "sessions"}

// String names the kind as plans print it.
func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// Fn is a window function. It is comparable, and equal functions assign equal
// windows.
type Fn struct {
	Kind Kind
	// Size is the length of a fixed or sliding window, or the gap of sessions.
	Size time.Duration
	// Period is the time between the starts of two sliding windows.
	Period time.Duration
	// Offset shifts fixed and sliding windows: one starts at Offset after the
	// epoch. It is in [0, Size) or [0, Period).
	Offset time.Duration
	// URN and payload tell functions apart that only the SDK can run.
	URN, payload string
}

// Standard says whether Assign and Rewindow can stand in for the SDK. Functions
// finer than a millisecond, longer than time.Duration or with very many
// windows for an instant are left to it.
func (f Fn) Standard() bool { return f.URN == "" && f.Kind != Custom }

// Assign appends the windows of an instant, for standard functions; none for
// others.
func (f Fn) Assign(dst []beam.Window, ts beam.EventTime) []beam.Window {
	if !f.Standard() {
		return dst
	}
	switch f.Kind {
	case Global:
		return append(dst, beam.GlobalWindow)
	case Session:
		return append(dst, windowAt(ts, ts, f.Size))
	case Sliding:
		return f.assignSliding(dst, ts)
	}
	start := startBefore(ts, f.Size, f.Offset)
	return append(dst, windowAt(start, ts, f.Size))
}

func (f Fn) assignSliding(dst []beam.Window, ts beam.EventTime) []beam.Window {
	size, period := beam.EventTime(f.Size.Milliseconds()), beam.EventTime(f.Period.Milliseconds())
	for start := startBefore(ts, f.Period, f.Offset); start > ts-size; start -= period {
		dst = append(dst, windowAt(start, ts, f.Size))
	}
	return dst
}

// startBefore is the last start at or before ts of windows that start every
// period, one of them at offset. It may be before MinEventTime.
func startBefore(ts beam.EventTime, period, offset time.Duration) beam.EventTime {
	p := period.Milliseconds()
	past := (int64(ts) - offset.Milliseconds()) % p
	if past < 0 {
		past += p
	}
	return ts - beam.EventTime(past)
}

// windowAt is the window of a size that holds ts. As in Java, it ends with the
// global window at the latest: a window that ended after the last watermark
// would never close.
func windowAt(start, ts beam.EventTime, size time.Duration) beam.Window {
	end := start + beam.EventTime(size.Milliseconds())
	return beam.Window{Start: start, End: min(end, max(beam.GlobalWindow.End, ts+1))}
}
