package store

import "github.com/tidwall/btree"

// Txn is a bundle's view of a store: it reads its own writes over a snapshot,
// and its writes become one batch. It is used by one goroutine at a time.
type Txn struct {
	base Reader
	over *btree.Map[string, change]
	// wanted is what Fetch will read, ahead what it has read, by where it begins.
	wanted []span
	ahead  map[string]fetched
}

// NewTxn begins a view over base.
func NewTxn(base Reader) *Txn {
	return &Txn{base: base, over: btree.NewMap[string, change](32)}
}

// Get reads the latest value of a key.
func (t *Txn) Get(key string) ([]byte, bool) {
	if c, ok := t.over.Get(key); ok {
		return c.value, !c.delete
	}
	return t.look(key)
}

// Put sets a key in the view.
func (t *Txn) Put(key string, value []byte) {
	t.over.Set(key, change{key: key, value: value})
}

// Delete removes a key from the view.
func (t *Txn) Delete(key string) { t.over.Set(key, change{key: key, delete: true}) }

// DeleteRange removes all keys with from <= key < to from the view.
func (t *Txn) DeleteRange(from, to string) {
	var doomed []string
	t.Ascend(from, to, func(k string, _ []byte) bool { doomed = append(doomed, k); return true })
	for _, k := range doomed {
		t.Delete(k)
	}
}

// Ascend merges the snapshot and the view's own writes. f must not change the
// view.
func (t *Txn) Ascend(from, to string, f func(key string, value []byte) bool) {
	it := t.over.Iter()
	own := it.Seek(from)
	// ownBefore calls f for the view's writes below limit; false ends the walk.
	ownBefore := func(limit string) bool {
		for own && it.Key() < limit {
			c := it.Value()
			own = it.Next()
			if !c.delete && !f(c.key, c.value) {
				return false
			}
		}
		return true
	}
	more := true
	t.walk(from, to, func(k string, v []byte) bool {
		if more = ownBefore(k); !more {
			return false
		}
		if own && it.Key() == k {
			c := it.Value()
			own = it.Next()
			more = c.delete || f(c.key, c.value)
			return more
		}
		more = f(k, v)
		return more
	})
	if more {
		ownBefore(to)
	}
}

// AppendTo adds the view's writes to a batch.
func (t *Txn) AppendTo(b *Batch) {
	t.over.Scan(func(_ string, c change) bool {
		b.changes = append(b.changes, c)
		return true
	})
}
