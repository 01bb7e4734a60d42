package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/btree"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// SideView is a side input as one bundle reads it. Its methods may be called at
// once. An answer is a page of about MaxPage bytes, and the token of the next one,
// nil after the last; nothing but pages is read from disk for it.
type SideView struct {
	side    *SideInput
	version uint64
	at      uint64
	windows *btree.Map[string, *sideWindow]
}

// Version changes with everything that is applied: a part of the cache token
// (I11).
func (v *SideView) Version() uint64 { return v.version }

// read returns the layers of a window.
func (v *SideView) read(window []byte, multimap bool) ([]*layer, error) {
	switch {
	case multimap && !v.side.multimap:
		return nil, errPattern("a multimap", "an iterable")
	case !multimap && v.side.multimap:
		return nil, errPattern("an iterable", "a multimap")
	}
	w, ok := v.windows.Get(string(window))
	if !ok {
		return nil, nil
	}
	layers, err := v.side.settle(w)
	return layers, lost(err)
}

// lost is the error for what cannot be read back.
func lost(err error) error {
	if err == nil {
		return nil
	}
	return &beam.Error{Code: beam.Internal, What: "what a side input keeps on disk is lost", Cause: err}
}

// Iterable returns a page of the window's elements. The token is the number of a
// page of the layers.
func (v *SideView) Iterable(window, token []byte) (data, next []byte, err error) {
	layers, err := v.read(window, false)
	if err != nil {
		return nil, nil, err
	}
	total := 0
	for _, l := range layers {
		total += len(l.pages)
	}
	n := 0
	if len(token) > 0 {
		if n, err = strconv.Atoi(string(token)); err != nil || n <= 0 || n >= total {
			return nil, nil, errToken()
		}
	}
	for p := range pagesFrom(layers, n) {
		if len(data) > 0 && len(data)+p.Size() > MaxPage {
			return data, strconv.AppendInt(nil, int64(n), 10), nil
		}
		page, err := v.side.shelf.Read(p.Page, nil)
		if err != nil {
			return nil, nil, lost(err)
		}
		data = join(data, page)
		n++
	}
	return data, nil, nil
}

// pagesFrom are the pages of layers from the nth on.
func pagesFrom(layers []*layer, n int) func(func(*sidePage) bool) {
	return func(yield func(*sidePage) bool) {
		for _, l := range layers {
			if n >= len(l.pages) {
				n -= len(l.pages)
				continue
			}
			for i := range l.pages[n:] {
				if !yield(&l.pages[n+i]) {
					return
				}
			}
			n = 0
		}
	}
}

// Multimap returns a page of the values under a key. The token is the place of an
// entry: layer, page, offset.
func (v *SideView) Multimap(window, key, token []byte) (data, next []byte, err error) {
	layers, err := v.read(window, true)
	if err != nil {
		return nil, nil, err
	}
	from, err := parsePlace(token, len(layers))
	if err != nil {
		return nil, nil, err
	}
	for i := from.layer; i < len(layers); i++ {
		c := cursor{shelf: v.side.shelf, layer: layers[i]}
		var ok bool
		if i > from.layer || len(token) == 0 {
			ok = c.seek(key)
		} else if ok = c.open(from.page, from.at); c.err == nil && !(ok && bytes.Equal(c.key, key)) {
			return nil, nil, errToken()
		}
		for ; ok && bytes.Equal(c.key, key); ok = c.next() {
			if len(data) > 0 && len(data)+len(c.values) > MaxPage {
				return data, place{i, c.page, c.at}.token(), nil
			}
			data = appendBare(data, c.values)
		}
		if c.err != nil {
			return nil, nil, lost(c.err)
		}
	}
	return data, nil, nil
}

// appendBare appends values without their lengths.
func appendBare(dst, values []byte) []byte {
	dst = slices.Grow(dst, len(values))
	for len(values) > 0 {
		v, rest, ok := cutBytes(values)
		if !ok {
			break // cutEntry has looked
		}
		dst, values = append(dst, v...), rest
	}
	return dst
}

// place is where an entry is.
type place struct{ layer, page, at int }

func (p place) token() []byte {
	b := binary.AppendUvarint(nil, uint64(p.layer))
	b = binary.AppendUvarint(b, uint64(p.page))
	return binary.AppendUvarint(b, uint64(p.at))
}

// parsePlace reads a token, which need not be one of ours (I7).
func parsePlace(token []byte, layers int) (place, error) {
	if len(token) == 0 {
		return place{}, nil
	}
	var n [3]int
	for i := range n {
		u, size := binary.Uvarint(token)
		if size <= 0 || u > 1<<40 {
			return place{}, errToken()
		}
		n[i], token = int(u), token[size:]
	}
	if len(token) > 0 || n[0] >= layers {
		return place{}, errToken()
	}
	return place{n[0], n[1], n[2]}, nil
}

// MultimapKeys returns a page of the keys, in the order of their bytes.
func (v *SideView) MultimapKeys(window, token []byte) (data, next []byte, err error) {
	m, err := v.merge(window, token)
	if err != nil {
		return nil, nil, err
	}
	var last []byte
	for m.next() {
		switch {
		case last != nil && bytes.Equal(m.key, last):
			continue
		case len(data) > 0 && len(data)+len(m.key) > MaxPage:
			return data, keyToken(last), nil
		}
		data = append(data, m.key...)
		last = append([]byte{}, m.key...)
	}
	return data, nil, lost(m.err)
}

// maxItem bounds a key and its values where they are one element of an answer.
const maxItem = 256 << 20

// MultimapKeysValues returns a page of KVs of a key and its values as an
// iterable.
func (v *SideView) MultimapKeysValues(window, token []byte) (data, next []byte, err error) {
	m, err := v.merge(window, token)
	if err != nil {
		return nil, nil, err
	}
	var last, key, values []byte // last is the one that is in data
	count := 0
	for more := m.next(); more || key != nil; more = m.next() {
		if more && key != nil && bytes.Equal(m.key, key) {
			if len(values)+len(m.values) > maxItem {
				return nil, nil, errLargeItem()
			}
			values, count = appendBare(values, m.values), count+m.count
			continue
		}
		if key != nil {
			if len(data) > 0 && len(data)+len(key)+len(values) > MaxPage {
				return data, keyToken(last), nil
			}
			data = append(coder.AppendIterableCount(append(data, key...), count), values...)
			last = key
		}
		if !more {
			break
		}
		key, values, count = append([]byte{}, m.key...), appendBare(values[:0], m.values), m.count
	}
	return data, nil, lost(m.err)
}

func errLargeItem() error {
	return &beam.Error{Code: beam.Unsupported, What: fmt.Sprintf("a key of a side input has more than %d MiB of values, which do not fit in one element", maxItem>>20),
		Cure: "look the key up instead of reading all keys with their values"}
}

// merge begins after the key that a token names.
func (v *SideView) merge(window, token []byte) (*merger, error) {
	layers, err := v.read(window, true)
	if err != nil {
		return nil, err
	}
	if len(token) == 0 {
		return v.side.merge(layers, nil), nil
	}
	if token[0] != 'k' {
		return nil, errToken()
	}
	return v.side.merge(layers, token[1:]), nil
}

// keyToken is the token of what follows a key.
func keyToken(key []byte) []byte { return append([]byte{'k'}, key...) }

// join appends b to a; the first of them is not copied.
func join(a, b []byte) []byte {
	if len(a) == 0 {
		return slices.Clip(b)
	}
	return append(a, b...)
}
