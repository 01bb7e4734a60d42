package state

import (
	"bytes"
	"slices"

	"fresnel/internal/coder"
)

// SideDelta is what one bundle adds to a side input. Of what comes it holds a few
// megabytes, and shelves the rest. Who does not apply it discards it.
type SideDelta struct {
	side    *SideInput
	windows map[string]*deltaWindow
	// held is how many bytes are not shelved yet.
	held int
	// last is the window of the last element: neighbours mostly share it.
	last    *deltaWindow
	lastRaw string
}

// deltaWindow is what is added to one window.
type deltaWindow struct {
	layers []*layer
	// chunks are elements that are not in a layer yet, pairs those of a multimap.
	chunks [][]byte
	pairs  []pairOf
}

type pairOf struct{ key, value []byte }

// maxHeld is how much a delta holds.
const maxHeld = 4 << 20

// NewDelta begins a delta.
func (s *SideInput) NewDelta() *SideDelta {
	return &SideDelta{side: s}
}

// Empty tells that nothing was added.
func (d *SideDelta) Empty() bool { return len(d.windows) == 0 }

// Windows calls f with the encoded windows that have elements.
func (d *SideDelta) Windows(f func(raw string)) {
	for w := range d.windows {
		f(w)
	}
}

// Add puts one element's value into the delta, for one of its windows. For a
// multimap c is the coder of its KVs, and value is kept; otherwise c is nil.
func (d *SideDelta) Add(window []byte, value []byte, c *coder.Coder) error {
	if c == nil {
		d.window(window).addChunk(value)
	} else {
		key, val, err := c.SplitKV(value)
		if err != nil {
			return err
		}
		w := d.window(window)
		w.pairs = append(w.pairs, pairOf{key, val})
	}
	if d.held += len(value); d.held >= maxHeld {
		d.Seal()
	}
	return nil
}

func (d *SideDelta) window(window []byte) *deltaWindow {
	if d.last != nil && d.lastRaw == string(window) {
		return d.last
	}
	w := d.windows[string(window)]
	if w == nil {
		if d.windows == nil {
			d.windows = map[string]*deltaWindow{}
		}
		w = &deltaWindow{}
		d.windows[string(window)] = w
	}
	d.last, d.lastRaw = w, string(window)
	return w
}

// addChunk adds a run of whole elements to the last chunk, or as a new one.
func (w *deltaWindow) addChunk(data []byte) {
	if n := len(w.chunks); n > 0 && len(w.chunks[n-1])+len(data) <= MaxPage {
		w.chunks[n-1] = append(w.chunks[n-1], data...)
		return
	}
	w.chunks = append(w.chunks, append([]byte(nil), data...))
}

// Seal shelves what the delta holds. It must have been called before the delta is
// applied.
func (d *SideDelta) Seal() {
	if d.held == 0 {
		return
	}
	for _, w := range d.windows {
		d.side.seal(w)
	}
	d.held = 0
}

func (s *SideInput) seal(w *deltaWindow) {
	out := s.newWriter(true)
	for _, c := range w.chunks {
		out.chunk(c)
	}
	out.sorted(w.pairs)
	w.chunks, w.pairs = nil, nil
	l := out.done()
	if l == nil {
		return
	}
	old := w.layers
	l.refs++
	w.layers = s.coalesce(append(slices.Clip(old), l), true)
	hold(w.layers)
	s.letGo(append(slices.Clip(old), l))
}

// sorted adds pairs in the order of their keys, those of one key as they came.
func (w *layerWriter) sorted(pairs []pairOf) {
	slices.SortStableFunc(pairs, func(a, b pairOf) int { return bytes.Compare(a.key, b.key) })
	var values []byte
	n := 0
	for i, p := range pairs {
		values = appendBytes(values, p.value)
		n++
		last := i == len(pairs)-1 || !bytes.Equal(p.key, pairs[i+1].key)
		if last || len(values) >= pairPage {
			w.pair(p.key, n, values)
			values, n = values[:0], 0
		}
	}
}

// Discard gives up a delta that will not be applied. Blocks are those of a durable
// job's store that it has filled.
func (d *SideDelta) Discard() (blocks []uint64) {
	for _, w := range d.windows {
		for _, l := range w.layers {
			blocks = appendBlocks(blocks, l)
		}
		d.side.letGo(w.layers)
	}
	d.windows, d.last, d.held = nil, nil, 0
	return blocks
}

func appendBlocks(dst []uint64, l *layer) []uint64 {
	for _, p := range l.pages {
		if id := p.Block(); id != 0 {
			dst = append(dst, id)
		}
	}
	return dst
}
