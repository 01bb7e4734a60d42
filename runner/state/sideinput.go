package state

import (
	"strconv"
	"sync"

	"fresnel/internal/coder"
)

// SideInput is the content of one side input: for each window the elements
// that have arrived. Bundles read it through views, each as it was when the
// view was taken; Apply adds to it.
type SideInput struct {
	mu       sync.RWMutex
	multimap bool
	windows  map[string]*sideWindow
	version  uint64
}

// sideWindow is append-only: a view keeps the lengths it saw.
type sideWindow struct {
	runs [][]byte // iterable: encoded elements
	keys map[string]*sideEntry
	// order lists the entries as they came, for the keys of a multimap.
	order []*sideEntry
}

type sideEntry struct {
	key  []byte
	runs [][]byte
}

// NewSideInput returns an empty side input.
func NewSideInput(multimap bool) *SideInput {
	return &SideInput{multimap: multimap, windows: map[string]*sideWindow{}}
}

// SideDelta is what one bundle adds to a side input.
type SideDelta struct {
	windows map[string]*sideWindow
	count   int
}

// Empty tells that nothing was added.
func (d *SideDelta) Empty() bool { return d.count == 0 }

// Windows calls f with the encoded windows that have elements.
func (d *SideDelta) Windows(f func(raw string)) {
	for w := range d.windows {
		f(w)
	}
}

// Add puts one element's value into the delta, for one of its windows. For
// multimaps c is the element's KV coder. The value is kept.
func (d *SideDelta) Add(window []byte, value []byte, multimap bool, c *coder.Coder) error {
	if d.windows == nil {
		d.windows = map[string]*sideWindow{}
	}
	w := d.windows[string(window)]
	if w == nil {
		w = &sideWindow{}
		d.windows[string(window)] = w
	}
	d.count++
	if !multimap {
		w.runs = append(w.runs, value)
		return nil
	}
	key, val, err := c.SplitKV(value)
	if err != nil {
		return err
	}
	w.entry(key).add(val)
	return nil
}

func (w *sideWindow) entry(key []byte) *sideEntry {
	if w.keys == nil {
		w.keys = map[string]*sideEntry{}
	}
	e := w.keys[string(key)]
	if e == nil {
		e = &sideEntry{key: key}
		w.keys[string(key)] = e
		w.order = append(w.order, e)
	}
	return e
}

func (e *sideEntry) add(runs ...[]byte) { e.runs = append(e.runs, runs...) }

// Apply adds a committed bundle's delta.
func (s *SideInput) Apply(d *SideDelta) {
	if d.Empty() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	for raw, add := range d.windows {
		w := s.windows[raw]
		if w == nil {
			s.windows[raw] = add
			continue
		}
		w.runs = append(w.runs, add.runs...)
		for _, e := range add.order {
			w.entry(e.key).add(e.runs...)
		}
	}
}

// Version changes with everything that is applied: a part of the cache token
// (I11).
func (s *SideInput) Version() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version
}

// Iterable returns a page of the window's elements.
func (s *SideInput) Iterable(window, token []byte) (data, next []byte, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w := s.windows[string(window)]
	if w == nil {
		return nil, nil, nil
	}
	if s.multimap {
		return pageOf(len(w.order), token, func(i int) []byte { return w.order[i].pairs() })
	}
	return pageRuns(w.runs, token)
}

// Multimap returns a page of the values under a key.
func (s *SideInput) Multimap(window, key, token []byte) (data, next []byte, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w := s.windows[string(window)]
	if w == nil || w.keys[string(key)] == nil {
		return nil, nil, nil
	}
	return pageRuns(w.keys[string(key)].runs, token)
}

// MultimapKeys returns a page of the keys.
func (s *SideInput) MultimapKeys(window, token []byte) (data, next []byte, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w := s.windows[string(window)]
	if w == nil {
		return nil, nil, nil
	}
	return pageOf(len(w.order), token, func(i int) []byte { return w.order[i].key })
}

// MultimapKeysValues returns a page of KVs of a key and its values as an
// iterable.
func (s *SideInput) MultimapKeysValues(window, token []byte) (data, next []byte, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w := s.windows[string(window)]
	if w == nil {
		return nil, nil, nil
	}
	return pageOf(len(w.order), token, func(i int) []byte { return w.order[i].group() })
}

// pairs are the entry's KVs, one for each value.
func (e *sideEntry) pairs() []byte {
	var b []byte
	for _, v := range e.runs {
		b = append(append(b, e.key...), v...)
	}
	return b
}

// group is the entry as KV<key, iterable<value>>.
func (e *sideEntry) group() []byte {
	b := coder.AppendIterableCount(append([]byte(nil), e.key...), len(e.runs))
	for _, v := range e.runs {
		b = append(b, v...)
	}
	return b
}

func pageRuns(runs [][]byte, token []byte) (data, next []byte, err error) {
	return pageOf(len(runs), token, func(i int) []byte { return runs[i] })
}

// pageOf joins items from the token's on to about MaxPage bytes; the token is
// the decimal index of the item to go on with.
func pageOf(n int, token []byte, item func(int) []byte) (data, next []byte, err error) {
	i := 0
	if len(token) > 0 {
		if i, err = strconv.Atoi(string(token)); err != nil || i < 0 || i > n {
			return nil, nil, errToken()
		}
	}
	for ; i < n; i++ {
		if len(data) >= MaxPage {
			return data, strconv.AppendInt(nil, int64(i), 10), nil
		}
		data = append(data, item(i)...)
	}
	return data, nil, nil
}
