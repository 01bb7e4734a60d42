package store

import "github.com/tidwall/btree"

// gaps are disjoint ranges of keys, from each start up to its end. The zero value
// is not valid: use newGaps.
type gaps struct{ ends *btree.Map[string, string] }

func newGaps() gaps { return gaps{btree.NewMap[string, string](16)} }

// lastKey is above all keys.
const lastKey = "\xff\xff\xff\xff\xff\xff\xff\xff"

// at is the gap that a key is in, or else the first one after it.
func (g gaps) at(key string) (start, end string, ok bool) {
	g.ends.Descend(key, func(s, e string) bool {
		start, end, ok = s, e, e > key
		return false
	})
	if ok {
		return start, end, true
	}
	g.ends.Ascend(key, func(s, e string) bool {
		start, end, ok = s, e, true
		return false
	})
	return start, end, ok
}

// has tells whether a key is in a gap.
func (g gaps) has(key string) bool {
	in := false
	g.ends.Descend(key, func(_, end string) bool {
		in = end > key
		return false
	})
	return in
}

// before is the last gap that ends at key or before it.
func (g gaps) before(key string) (start, end string, ok bool) {
	g.ends.Descend(key, func(s, e string) bool {
		if e > key {
			return true // key is in it
		}
		start, end, ok = s, e, true
		return false
	})
	return start, end, ok
}

// cut takes a range out of the gaps.
func (g gaps) cut(from, to string) {
	for {
		start, end, ok := g.at(from)
		if !ok || start >= to {
			return
		}
		g.ends.Delete(start)
		if start < from {
			g.ends.Set(start, from)
		}
		if end > to {
			g.ends.Set(to, end)
		}
	}
}

// add makes a range that is in no gap one.
func (g gaps) add(from, to string) { g.ends.Set(from, to) }
