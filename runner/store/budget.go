package store

import "sync/atomic"

// Budget counts what all jobs of a server hold in memory of their data (I9):
// blocks, and what groupings keep of them. A nil Budget has no end.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Add counts bytes that are held from now on, or, if negative, no longer.
func (b *Budget) Add(bytes int64) {
	if b != nil {
		b.used.Add(bytes)
	}
}

// Over tells whether it is used up: what can live on disk goes there.
func (b *Budget) Over() bool { return b != nil && b.used.Load() > b.limit }

// Used is what is held.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Share is what one that can live on disk may hold however much the others do.
func (b *Budget) Share() int64 {
	if b == nil {
		return 0
	}
	return max(0, b.limit/8)
}
