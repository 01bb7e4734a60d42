package fnapi

import (
	"slices"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// frameBytes is how much payload goes into one Elements message: a
	// harness reads 64 KB to 4 MB equally fast.
	frameBytes = 1 << 20
	// copyBelow is the size under which a run is copied next to its
	// neighbours rather than handed over by reference.
	copyBelow = 2 << 10
)

// feed is the input of one bundle on its way out: first the timers to fire,
// then the elements, then an empty is_last for each stream. It is used by the
// sending goroutine of its data stream only.
//
// Timers go first since they are due: an element of the same bundle may set
// them anew. Data is never put in an entry with is_last, which Python drops.
type feed struct {
	bundle   string
	source   string
	timers   []TimerData
	input    [][]byte
	families []TimerFamily

	state atomic.Uint32 // set by others
}

// What others may wish of a feed.
const (
	feedWhole   uint32 = iota
	feedCut            // the rest is not wanted, but the ends are
	feedDropped        // nothing more is wanted
)

func (f *feed) now() uint32 { return f.state.Load() }
func (f *feed) cut()        { f.state.CompareAndSwap(feedWhole, feedCut) }
func (f *feed) drop()       { f.state.Store(feedDropped) }

func newFeed(b *Bundle) *feed {
	return &feed{
		bundle: b.ID, source: string(b.Source),
		timers: b.Timers, input: b.Input, families: allFamilies(b),
	}
}

// allFamilies are the families that the harness expects an end of: those it
// may set, and those it is sent.
func allFamilies(b *Bundle) []TimerFamily {
	families := b.TimerFamilies
	for _, t := range b.Timers {
		if !slices.Contains(families, t.TimerFamily) {
			families = append(slices.Clip(families), t.TimerFamily)
		}
	}
	return families
}

// truncate drops what was not sent yet; the ends are sent still, so that the
// harness finishes.
func (f *feed) truncate() { f.timers, f.input = nil, nil }

// next is the next frame, and whether it is the last one.
func (f *feed) next() (msg *elementsOut, last bool) {
	var w wireWriter
	size := 0
	for len(f.timers) > 0 && size < frameBytes {
		t := f.timers[0]
		f.timers = f.timers[1:]
		size += w.timers(f.bundle, t.TimerFamily, t.Data)
	}
	if size < frameBytes && len(f.input) > 0 {
		n := takeRuns(f.input, frameBytes-size)
		w.data(f.bundle, f.source, f.input[:n])
		f.input = f.input[n:]
	}
	if len(f.timers) > 0 || len(f.input) > 0 {
		return w.message(), false
	}
	f.ends(&w)
	return w.message(), true
}

func (f *feed) ends(w *wireWriter) {
	for _, t := range f.families {
		w.timersEnd(f.bundle, t)
	}
	if f.source != "" {
		w.dataEnd(f.bundle, f.source)
	}
}

// takeRuns is the number of leading runs that fill limit bytes, at least one.
func takeRuns(runs [][]byte, limit int) int {
	size := 0
	for i, run := range runs {
		size += len(run)
		if i > 0 && size > limit {
			return i
		}
	}
	return len(runs)
}

// wireWriter builds an Elements message out of buffers of its own for what is
// small and references to runs that are not.
type wireWriter struct {
	done mem.BufferSlice
	open []byte
}

func (w *wireWriter) message() *elementsOut {
	w.flush()
	return &elementsOut{wire: w.done}
}

func (w *wireWriter) flush() {
	if len(w.open) > 0 {
		w.done = append(w.done, mem.SliceBuffer(w.open))
		w.open = nil
	}
}

// data writes one Elements.Data of all runs.
func (w *wireWriter) data(bundle, source string, runs [][]byte) {
	payload := 0
	for _, run := range runs {
		payload += len(run)
	}
	if payload == 0 {
		return
	}
	size := sizeString(1, bundle) + sizeString(2, source) + protowire.SizeTag(3) + protowire.SizeBytes(payload)
	w.open = appendLen(w.open, 1, size)
	w.open = appendString(w.open, 1, bundle)
	w.open = appendString(w.open, 2, source)
	w.open = appendLen(w.open, 3, payload)
	for _, run := range runs {
		w.bytes(run)
	}
}

// timers writes one Elements.Timers and returns the bytes of its payload.
func (w *wireWriter) timers(bundle string, t TimerFamily, run []byte) int {
	if len(run) == 0 {
		return 0
	}
	size := sizeTimers(bundle, t) + protowire.SizeTag(4) + protowire.SizeBytes(len(run))
	w.timersHead(bundle, t, size)
	w.open = appendLen(w.open, 4, len(run))
	w.bytes(run)
	return len(run)
}

func (w *wireWriter) dataEnd(bundle, source string) {
	w.open = appendLen(w.open, 1, sizeString(1, bundle)+sizeString(2, source)+2)
	w.open = appendString(w.open, 1, bundle)
	w.open = appendString(w.open, 2, source)
	w.open = appendTrue(w.open, 4)
}

func (w *wireWriter) timersEnd(bundle string, t TimerFamily) {
	w.timersHead(bundle, t, sizeTimers(bundle, t)+2)
	w.open = appendTrue(w.open, 5)
}

func (w *wireWriter) timersHead(bundle string, t TimerFamily, size int) {
	w.open = appendLen(w.open, 2, size)
	w.open = appendString(w.open, 1, bundle)
	w.open = appendString(w.open, 2, string(t.Transform))
	w.open = appendString(w.open, 3, t.Family)
}

func (w *wireWriter) bytes(run []byte) {
	if len(run) < copyBelow {
		w.open = append(w.open, run...)
		return
	}
	w.flush()
	w.done = append(w.done, mem.SliceBuffer(run))
}

func sizeTimers(bundle string, t TimerFamily) int {
	return sizeString(1, bundle) + sizeString(2, string(t.Transform)) + sizeString(3, t.Family)
}

func sizeString(num protowire.Number, s string) int {
	return protowire.SizeTag(num) + protowire.SizeBytes(len(s))
}

func appendLen(b []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(n))
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendTrue(b []byte, num protowire.Number) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), 1)
}
