package window

import (
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Rewindow appends to dst the elements of block, which in encodes, with the
// windows that f assigns; timestamps, panes and values stay as they are. It
// returns their count and least timestamp (MaxEventTime if there are none): a
// sliding function whose period is above its size has instants without a
// window, whose elements vanish.
func (f Fn) Rewindow(dst []byte, in *coder.Windowed, block []byte) (out []byte, count int, least beam.EventTime, err error) {
	if !f.Standard() {
		return dst, 0, 0, &beam.Error{Code: beam.Internal, What: "only the SDK can assign the windows of " + f.describe()}
	}
	r := rewindower{fn: f}
	least = beam.MaxEventTime
	var e coder.Element
	for len(block) > 0 {
		n, err := in.Scan(block, &e)
		if err != nil {
			return dst, count, least, badBlock(err)
		}
		block = block[n:]
		r.assign(&e)
		if e.WindowCount > 0 {
			dst = coder.AppendElement(dst, &e)
			count, least = count+1, min(least, e.Timestamp)
		}
	}
	return dst, count, least, nil
}

// RewindowedSize is about what Rewindow makes of count elements of so many bytes.
func (f Fn) RewindowedSize(size, count int) int {
	windows := 1
	switch f.Kind {
	case Sliding:
		windows += int(f.Size / f.Period)
	case Global, Custom:
		return size
	}
	window := coder.AppendIntervalWindow(nil, windowAt(0, 0, f.Size))
	return size + count*windows*len(window)
}

// rewindower keeps the windows of the last element: neighbours mostly share them.
type rewindower struct {
	fn      Fn
	windows []beam.Window
	raw     []byte
	// The windows hold for all instants in [from, to).
	from, to beam.EventTime
}

func (r *rewindower) assign(e *coder.Element) {
	if !(r.from <= e.Timestamp && e.Timestamp < r.to) {
		r.compute(e.Timestamp)
	}
	e.Windows, e.WindowCount = r.raw, len(r.windows)
}

func (r *rewindower) compute(ts beam.EventTime) {
	r.windows, r.raw = r.fn.Assign(r.windows[:0], ts), r.raw[:0]
	r.from, r.to = ts, ts+1
	switch r.fn.Kind {
	case Global:
		r.from, r.to = beam.MinEventTime, beam.MaxEventTime+1
		return
	case Fixed:
		r.from, r.to = r.windows[0].Start, r.windows[0].End
	}
	for _, w := range r.windows {
		r.raw = coder.AppendIntervalWindow(r.raw, w)
	}
}
