package state

import (
	"encoding/binary"
	"errors"
)

// What a delta adds to a window of a side input, as bytes that a job keeps on
// disk: of a multimap for each entry its key, the count of its values and the
// values; otherwise runs of whole elements. Each has its length before it.

// Notes calls f with what the delta adds to each window, for SideInput.Load.
func (d *SideDelta) Notes(multimap bool, f func(window string, note []byte)) {
	for raw, l := range d.windows {
		f(raw, l.appendNote(nil, multimap))
	}
}

func (l *layer) appendNote(dst []byte, multimap bool) []byte {
	if !multimap {
		for _, c := range l.chunks {
			dst = appendBytes(dst, c)
		}
		return dst
	}
	for _, e := range l.order {
		dst = appendString(dst, e.key)
		dst = binary.AppendUvarint(dst, uint64(len(e.values)))
		for _, v := range e.values {
			dst = appendBytes(dst, v)
		}
	}
	return dst
}

var errSideNote = errors.New("what was added to a side input does not parse")

// Load adds what a delta added to a window once. It keeps note.
func (s *SideInput) Load(window string, note []byte) error {
	l := &layer{}
	parse := l.parseChunks
	if s.multimap {
		parse = l.parseEntries
	}
	if err := parse(note); err != nil {
		return err
	}
	s.Apply(&SideDelta{windows: map[string]*layer{window: l}})
	return nil
}

func (l *layer) parseChunks(b []byte) error {
	for len(b) > 0 {
		c, rest, ok := cutBytes(b)
		if !ok {
			return errSideNote
		}
		l.chunks = append(l.chunks, c)
		b = rest
	}
	return nil
}

func (l *layer) parseEntries(b []byte) error {
	for len(b) > 0 {
		key, rest, ok := cutBytes(b)
		count, n := binary.Uvarint(rest)
		if !ok || n <= 0 || count > uint64(len(rest)) {
			return errSideNote
		}
		e := l.entry(string(key))
		rest = rest[n:]
		for range count {
			var v []byte
			if v, rest, ok = cutBytes(rest); !ok {
				return errSideNote
			}
			e.values = append(e.values, v)
		}
		b = rest
	}
	return nil
}

// cutBytes takes length-prefixed bytes from the start of b.
func cutBytes(b []byte) (v, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size) : n+int(size)], b[n+int(size):], true
}
