package state

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"fresnel/runner/store"
)

// layer is what one delta added to one window of a side input, or several made
// one. It never changes.
//
//	iterable   page  page  page        runs of whole encoded elements
//	multimap   a..f  f..m  m..z        entries in the order of their keys: a key,
//	                                   how many values, the values, each with its
//	                                   length before it
//
// A key's values may be in several entries, one after the other.
type layer struct {
	pages []sidePage
	bytes int
	// refs counts the versions of the window that have it.
	refs int
}

// sidePage is a page and, in a multimap, its first key.
type sidePage struct {
	store.Page
	first string
}

const (
	// pairPage is about the size of a page of a multimap: a lookup reads one or two.
	pairPage = 32 << 10
	// smallLayer is the size below which a layer stays in memory, and is made one
	// with its neighbours: it is not worth a place on disk.
	smallLayer = 16 << 10
)

func (l *layer) small() bool { return l.bytes < smallLayer }

var errSidePage = errors.New("what a side input keeps does not parse")

// layerWriter makes a layer. What it gets of a multimap is in the order of keys.
type layerWriter struct {
	shelf *store.Shelf
	// lasting: the layer is a delta's, which who begins anew will read.
	lasting  bool
	pageSize int

	layer layer
	open  []byte
	first string
}

func (s *SideInput) newWriter(lasting bool) *layerWriter {
	w := &layerWriter{shelf: s.shelf, lasting: lasting, pageSize: MaxPage}
	if s.multimap {
		w.pageSize = pairPage
	}
	return w
}

// chunk adds a run of whole elements.
func (w *layerWriter) chunk(data []byte) {
	w.makeRoom(len(data))
	w.open = append(w.open, data...)
}

// pair adds n values of a key, each with its length before it.
func (w *layerWriter) pair(key []byte, n int, values []byte) {
	w.makeRoom(len(key) + len(values))
	if len(w.open) == 0 {
		w.first = string(key)
	}
	w.open = appendEntry(w.open, key, n, values)
}

func appendEntry(dst, key []byte, n int, values []byte) []byte {
	dst = appendBytes(dst, key)
	dst = binary.AppendUvarint(dst, uint64(n))
	return append(dst, values...)
}

// makeRoom leaves no page in memory but that of a layer that is small as a whole.
func (w *layerWriter) makeRoom(n int) {
	if len(w.open) >= smallLayer && len(w.open)+n > w.pageSize {
		w.seal()
	}
}

// seal makes a page of what is open.
func (w *layerWriter) seal() {
	data := w.open
	if cap(data) > len(data)+len(data)/8 {
		data = bytes.Clone(data)
	}
	w.layer.bytes += len(data)
	w.layer.pages = append(w.layer.pages, sidePage{w.place(data), w.first})
	w.open, w.first = nil, ""
}

func (w *layerWriter) place(data []byte) store.Page {
	switch {
	case w.layer.small():
		return w.shelf.Keep(data)
	case w.lasting:
		return w.shelf.Stow(data)
	}
	return w.shelf.Put(data)
}

// done returns the layer, nil if there is nothing in it.
func (w *layerWriter) done() *layer {
	if len(w.open) > 0 {
		w.seal()
	}
	if len(w.layer.pages) == 0 {
		return nil
	}
	return &w.layer
}

// join makes several layers of a window one.
func (s *SideInput) join(layers []*layer, lasting bool) (*layer, error) {
	w := s.newWriter(lasting)
	fill := s.joinChunks
	if s.multimap {
		fill = s.joinPairs
	}
	if err := fill(w, layers); err != nil {
		if l := w.done(); l != nil {
			s.free(l)
		}
		return nil, err
	}
	return w.done(), nil
}

func (s *SideInput) joinChunks(w *layerWriter, layers []*layer) error {
	var buf []byte
	for _, l := range layers {
		for _, p := range l.pages {
			data, err := s.shelf.Read(p.Page, buf)
			if err != nil {
				return err
			}
			if !p.InMemory() {
				buf = data
			}
			w.chunk(data)
		}
	}
	return nil
}

func (s *SideInput) joinPairs(w *layerWriter, layers []*layer) error {
	m := s.merge(layers, nil)
	for m.next() {
		w.pair(m.key, m.count, m.values)
	}
	return m.err
}

// free gives up the pages of a layer that nobody will read again.
func (s *SideInput) free(l *layer) {
	for _, p := range l.pages {
		s.shelf.Free(p.Page)
	}
}

// entry is one of a multimap's: count values of a key, each with its length
// before it.
type entry struct {
	key    []byte
	count  int
	values []byte
}

// cutEntry takes an entry from the start of b.
func cutEntry(b []byte) (e entry, rest []byte, ok bool) {
	e.key, rest, ok = cutBytes(b)
	count, n := binary.Uvarint(rest)
	if !ok || n <= 0 || count > uint64(len(rest)) {
		return entry{}, nil, false
	}
	e.count, e.values = int(count), rest[n:]
	rest = e.values
	for range count {
		if _, rest, ok = cutBytes(rest); !ok {
			return entry{}, nil, false
		}
	}
	e.values = e.values[:len(e.values)-len(rest)]
	return e, rest, true
}

// cursor goes through the entries of a layer of a multimap.
type cursor struct {
	shelf *store.Shelf
	layer *layer
	// page and at are where the entry is, rest what follows it in the page.
	page, at int
	entry
	rest, buf []byte
	left      int
	err       error
}

// open goes to an entry of the layer by its place, which may be any.
func (c *cursor) open(page, at int) bool {
	if page < 0 || page >= len(c.layer.pages) || at < 0 || at >= c.layer.pages[page].Size() {
		return false
	}
	data, err := c.shelf.Read(c.layer.pages[page].Page, c.buf)
	if err != nil {
		c.err = err
		return false
	}
	if !c.layer.pages[page].InMemory() {
		c.buf = data
	}
	c.page, c.rest, c.left = page, data[at:], len(data)
	return c.next()
}

// next goes to the next entry; false after the last, or an error.
func (c *cursor) next() bool {
	if len(c.rest) == 0 {
		return c.page+1 < len(c.layer.pages) && c.open(c.page+1, 0)
	}
	c.at = c.left - len(c.rest)
	var ok bool
	if c.entry, c.rest, ok = cutEntry(c.rest); !ok {
		c.err = errSidePage
	}
	return ok
}

// seek goes to the first entry of a key that is not below the one given.
func (c *cursor) seek(key []byte) bool {
	page, _ := slices.BinarySearchFunc(c.layer.pages, string(key), func(p sidePage, k string) int { return strings.Compare(p.first, k) })
	ok := c.open(max(page-1, 0), 0)
	for ok && bytes.Compare(c.key, key) < 0 {
		ok = c.next()
	}
	return ok
}

// merger goes through the entries of several layers, by key and layer.
type merger struct {
	cursors []*layerCursor
	entry
	// used is the cursor that the entry is of.
	used *layerCursor
	err  error
}

type layerCursor struct {
	cursor
	index int
}

// merge begins with the first key, or with the first that is above a given one.
func (s *SideInput) merge(layers []*layer, above []byte) *merger {
	m := &merger{}
	for i, l := range layers {
		c := &layerCursor{cursor{shelf: s.shelf, layer: l}, i}
		ok := c.seek(above)
		for ok && above != nil && bytes.Equal(c.key, above) {
			ok = c.next()
		}
		m.put(c, ok)
	}
	heap.Init(m)
	return m
}

func (m *merger) put(c *layerCursor, ok bool) {
	if ok {
		m.cursors = append(m.cursors, c)
	} else if c.err != nil {
		m.err = c.err
	}
}

// next goes to the next entry, which is valid until it is called again.
func (m *merger) next() bool {
	if m.used != nil {
		if m.used.next() {
			heap.Fix(m, 0)
		} else {
			m.err = m.used.err
			heap.Pop(m)
		}
		m.used = nil
	}
	if m.err != nil || len(m.cursors) == 0 {
		return false
	}
	m.used = m.cursors[0]
	m.entry = m.used.entry
	return true
}

// Len, Less, Swap, Push and Pop are a heap's.
func (m *merger) Len() int { return len(m.cursors) }

func (m *merger) Less(i, k int) bool {
	a, b := m.cursors[i], m.cursors[k]
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.index < b.index
}

func (m *merger) Swap(i, k int) { m.cursors[i], m.cursors[k] = m.cursors[k], m.cursors[i] }

// Push is never called.
func (m *merger) Push(any) {}

func (m *merger) Pop() any {
	last := m.cursors[len(m.cursors)-1]
	m.cursors = m.cursors[:len(m.cursors)-1]
	return last
}
