package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"fresnel/runner/store"
)

// What a delta adds to a window of a side input, as a durable job keeps it. Little
// is a note by itself: of a multimap its entries, as in a layer; otherwise runs of
// whole elements, each with its length before it. Much is in blocks, and the note
// says in which: for each page its first key with its length before it, its size,
// its block.

// SideNote is what a delta adds to a window. Paged tells that it is in blocks.
type SideNote struct {
	Window string
	Paged  bool
	Data   []byte
	// Blocks are those that the note refers to.
	Blocks []uint64
}

// Notes calls f with what a durable job is to keep of the delta, for Load.
func (d *SideDelta) Notes(f func(SideNote)) {
	for raw, w := range d.windows {
		for _, l := range w.layers {
			n := SideNote{Window: raw, Blocks: appendBlocks(nil, l)}
			if n.Paged = len(n.Blocks) == len(l.pages); n.Paged {
				n.Data = l.appendPlaces(nil)
			} else {
				n.Data = d.side.appendContent(nil, l)
			}
			f(n)
		}
	}
}

func (l *layer) appendPlaces(dst []byte) []byte {
	for _, p := range l.pages {
		dst = appendString(dst, p.first)
		dst = binary.AppendUvarint(dst, uint64(p.Size()))
		dst = binary.AppendUvarint(dst, p.Block())
	}
	return dst
}

// appendContent appends what a layer in memory has.
func (s *SideInput) appendContent(dst []byte, l *layer) []byte {
	for _, p := range l.pages {
		data, err := s.shelf.Read(p.Page, nil)
		switch {
		case err != nil: // only what is on disk can be lost
		case s.multimap:
			dst = append(dst, data...)
		default:
			dst = appendBytes(dst, data)
		}
	}
	return dst
}

var errSideNote = errors.New("what was added to a side input does not parse")

// Load adds what a delta added to a window once. It reads no blocks, but notes in
// n which the note refers to.
func (s *SideInput) Load(n *SideNote) error {
	var l *layer
	var err error
	switch {
	case n.Paged:
		l, err = parsePlaces(n.Data)
	case s.multimap:
		l, err = s.parseEntries(n.Data)
	default:
		l, err = s.parseChunks(n.Data)
	}
	if err != nil || l == nil {
		return err
	}
	if n.Paged {
		n.Blocks = appendBlocks(nil, l)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	l.refs++
	s.add(n.Window, []*layer{l})
	return nil
}

// Moved returns the note with its blocks under other numbers, for another job's
// store.
func (n *SideNote) Moved(number func(block uint64) uint64) ([]byte, error) {
	if !n.Paged {
		return n.Data, nil
	}
	l, err := parsePlaces(n.Data)
	if err != nil || l == nil {
		return nil, errors.Join(errSideNote, err)
	}
	for i, p := range l.pages {
		l.pages[i].Page = store.Stowed(number(p.Block()), p.Size())
	}
	return l.appendPlaces(nil), nil
}

func parsePlaces(b []byte) (*layer, error) {
	l := &layer{}
	for len(b) > 0 {
		first, rest, ok := cutBytes(b)
		size, n := binary.Uvarint(rest)
		if !ok || n <= 0 || size == 0 || size > 1<<40 {
			return nil, errSideNote
		}
		block, m := binary.Uvarint(rest[n:])
		if m <= 0 || block == 0 {
			return nil, errSideNote
		}
		l.pages = append(l.pages, sidePage{store.Stowed(block, int(size)), string(first)})
		l.bytes += int(size)
		b = rest[n+m:]
	}
	if len(l.pages) == 0 {
		return nil, nil
	}
	return l, nil
}

func (s *SideInput) parseChunks(b []byte) (*layer, error) {
	var chunks [][]byte
	for len(b) > 0 {
		c, rest, ok := cutBytes(b)
		if !ok {
			return nil, errSideNote
		}
		chunks = append(chunks, c)
		b = rest
	}
	w := s.newWriter(false)
	for _, c := range chunks {
		w.chunk(c)
	}
	return w.done(), nil
}

// parseEntries takes entries in any order.
func (s *SideInput) parseEntries(b []byte) (*layer, error) {
	var all []entry
	for len(b) > 0 {
		e, rest, ok := cutEntry(b)
		if !ok {
			return nil, errSideNote
		}
		all = append(all, e)
		b = rest
	}
	slices.SortStableFunc(all, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	w := s.newWriter(false)
	for _, e := range all {
		w.pair(e.key, e.count, e.values)
	}
	return w.done(), nil
}

// cutBytes takes length-prefixed bytes from the start of b.
func cutBytes(b []byte) (v, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size) : n+int(size)], b[n+int(size):], true
}
