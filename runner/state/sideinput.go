package state

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// SideInput is the content of one side input: for each window the elements
// that have arrived. Bundles read it through views, each as it was when the
// view was taken, and Apply adds to it.
//
//	SideInput ──▶ window ──▶ layer  layer  layer      one for each delta applied
//	SideView  ──▶ window ──▶ layer  layer
//
// Layers never change. Apply costs the same however large they are, so that it
// can be part of a commit; a reader who finds many makes them one.
type SideInput struct {
	multimap bool

	mu      sync.Mutex
	version uint64
	windows *btree.Map[string, *sideWindow]
}

// NewSideInput returns an empty side input.
func NewSideInput(multimap bool) *SideInput {
	return &SideInput{multimap: multimap, windows: btree.NewMap[string, *sideWindow](16)}
}

// sideWindow is what one window holds at one version.
type sideWindow struct {
	once   sync.Once
	layers atomic.Pointer[[]*layer]
}

// maxLayers is how many layers a reader goes through.
const maxLayers = 8

// layer is what one delta added to one window, or several made one. Of a
// multimap it has the entries, otherwise the chunks.
type layer struct {
	// chunks are whole encoded elements, about MaxPage bytes in each.
	chunks [][]byte
	keys   map[string]*sideEntry
	// order lists the entries as they came.
	order []*sideEntry
}

type sideEntry struct {
	key    string
	values [][]byte
}

func newSideWindow(layers []*layer) *sideWindow {
	w := &sideWindow{}
	w.layers.Store(&layers)
	return w
}

// read returns the layers to read: always the same, for tokens count on it.
func (w *sideWindow) read() []*layer {
	w.once.Do(func() {
		if layers := *w.layers.Load(); len(layers) > maxLayers {
			w.layers.Store(&[]*layer{merge(layers)})
		}
	})
	return *w.layers.Load()
}

// merge makes several layers one.
func merge(layers []*layer) *layer {
	all := &layer{}
	for _, l := range layers {
		for _, c := range l.chunks {
			all.addChunk(c)
		}
		for _, e := range l.order {
			mine := all.entry(e.key)
			mine.values = append(mine.values, e.values...)
		}
	}
	return all
}

// addChunk adds a run of whole elements to the last chunk, or as a new one.
func (l *layer) addChunk(data []byte) {
	if n := len(l.chunks); n > 0 && len(l.chunks[n-1])+len(data) <= MaxPage {
		l.chunks[n-1] = append(l.chunks[n-1], data...)
		return
	}
	l.chunks = append(l.chunks, append([]byte(nil), data...))
}

func (l *layer) entry(key string) *sideEntry {
	e := l.keys[key]
	if e == nil {
		if l.keys == nil {
			l.keys = map[string]*sideEntry{}
		}
		e = &sideEntry{key: key}
		l.keys[key] = e
		l.order = append(l.order, e)
	}
	return e
}

// SideDelta is what one bundle adds to a side input. The zero value is empty.
type SideDelta struct {
	windows map[string]*layer
	// last is the layer of the last element: neighbours mostly share it.
	last    *layer
	lastRaw string
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
	l := d.layer(window)
	if c == nil {
		l.addChunk(value)
		return nil
	}
	key, val, err := c.SplitKV(value)
	if err != nil {
		return err
	}
	e := l.entry(string(key))
	e.values = append(e.values, val)
	return nil
}

func (d *SideDelta) layer(window []byte) *layer {
	if d.last != nil && d.lastRaw == string(window) {
		return d.last
	}
	l := d.windows[string(window)]
	if l == nil {
		if d.windows == nil {
			d.windows = map[string]*layer{}
		}
		l = &layer{}
		d.windows[string(window)] = l
	}
	d.last, d.lastRaw = l, string(window)
	return l
}

// Apply adds a committed bundle's delta, which must not be used any more.
func (s *SideInput) Apply(d *SideDelta) {
	if d.Empty() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	for raw, add := range d.windows {
		var layers []*layer
		if w, ok := s.windows.Get(raw); ok {
			layers = *w.layers.Load()
		}
		s.windows.Set(raw, newSideWindow(append(slices.Clip(layers), add)))
	}
}

// Forget forgets the windows that are encoded below bound: nobody will read them
// any more. Views that have them keep them.
func (s *SideInput) Forget(bound string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		raw, _, ok := s.windows.Min()
		if !ok || raw >= bound {
			return
		}
		s.windows.Delete(raw)
	}
}

// Windows is how many windows have content.
func (s *SideInput) Windows() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.windows.Len()
}

// View returns the side input as it is now; it costs next to nothing.
func (s *SideInput) View() *SideView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &SideView{multimap: s.multimap, version: s.version, windows: s.windows.Copy()}
}

// SideView is a side input as one bundle reads it.
type SideView struct {
	multimap bool
	version  uint64
	windows  *btree.Map[string, *sideWindow]
}

// Version changes with everything that is applied: a part of the cache token
// (I11).
func (v *SideView) Version() uint64 { return v.version }

func (v *SideView) read(window []byte) []*layer {
	if w, ok := v.windows.Get(string(window)); ok {
		return w.read()
	}
	return nil
}

// Iterable returns a page of the window's elements.
func (v *SideView) Iterable(window, token []byte) (data, next []byte, err error) {
	if v.multimap {
		return nil, nil, errPattern("an iterable", "a multimap")
	}
	layers := v.read(window)
	if len(layers) == 1 {
		return pageOf(len(layers[0].chunks), token, func(i int) []byte { return layers[0].chunks[i] })
	}
	var chunks [][]byte
	for _, l := range layers {
		chunks = append(chunks, l.chunks...)
	}
	return pageOf(len(chunks), token, func(i int) []byte { return chunks[i] })
}

// Multimap returns a page of the values under a key.
func (v *SideView) Multimap(window, key, token []byte) (data, next []byte, err error) {
	if !v.multimap {
		return nil, nil, errPattern("a multimap", "an iterable")
	}
	values := valuesOf(v.read(window), string(key))
	return pageOf(len(values), token, func(i int) []byte { return values[i] })
}

func valuesOf(layers []*layer, key string) [][]byte {
	var all [][]byte
	for _, l := range layers {
		if e := l.keys[key]; e != nil {
			if all == nil {
				all = slices.Clip(e.values)
				continue
			}
			all = append(all, e.values...)
		}
	}
	return all
}

// MultimapKeys returns a page of the keys.
func (v *SideView) MultimapKeys(window, token []byte) (data, next []byte, err error) {
	return v.eachKey(window, token, func(_ []*layer, e *sideEntry) []byte { return []byte(e.key) })
}

// MultimapKeysValues returns a page of KVs of a key and its values as an
// iterable.
func (v *SideView) MultimapKeysValues(window, token []byte) (data, next []byte, err error) {
	return v.eachKey(window, token, func(layers []*layer, e *sideEntry) []byte {
		values := valuesOf(layers, e.key)
		b := coder.AppendIterableCount([]byte(e.key), len(values))
		for _, val := range values {
			b = append(b, val...)
		}
		return b
	})
}

// eachKey joins what f returns for each key, in the order in which they came.
func (v *SideView) eachKey(window, token []byte, f func(layers []*layer, e *sideEntry) []byte) (data, next []byte, err error) {
	if !v.multimap {
		return nil, nil, errPattern("a multimap", "an iterable")
	}
	layers := v.read(window)
	n := 0
	for _, l := range layers {
		n += len(l.order)
	}
	return pageOf(n, token, func(i int) []byte {
		at := 0
		for i >= len(layers[at].order) {
			i -= len(layers[at].order)
			at++
		}
		e := layers[at].order[i]
		for _, earlier := range layers[:at] {
			if earlier.keys[e.key] != nil {
				return nil
			}
		}
		return f(layers, e)
	})
}

// pageOf joins items from the token's on to about MaxPage bytes; the token is
// the decimal index of the item to go on with. An item may be returned as it
// is: it must not change.
func pageOf(n int, token []byte, item func(int) []byte) (data, next []byte, err error) {
	i := 0
	if len(token) > 0 {
		if i, err = strconv.Atoi(string(token)); err != nil || i <= 0 || i >= n {
			return nil, nil, errToken()
		}
	}
	for ; i < n; i++ {
		it := item(i)
		if len(data) > 0 && len(data)+len(it) > MaxPage {
			return data, strconv.AppendInt(nil, int64(i), 10), nil
		}
		data = join(data, it)
	}
	return data, nil, nil
}

// join appends b to a; the first of them is not copied.
func join(a, b []byte) []byte {
	if len(a) == 0 {
		return slices.Clip(b)
	}
	return append(a, b...)
}

func errPattern(want, have string) error {
	return &beam.Error{Code: beam.BadData, What: "a side input is read as " + want + ", but its pipeline declares " + have}
}
