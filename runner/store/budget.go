package store

import (
	"math"
	"sync/atomic"
)

// Budget counts what all jobs of a server hold in memory of their data (I9):
// blocks, and what groupings and side inputs keep of them. A nil Budget has no
// end.
type Budget struct {
	limit int64
	used  atomic.Int64
	// whole is what it is a part of, if it is.
	whole *Budget
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Part returns a budget of a share of this one: what is held of the part is held
// of the whole, and either may be used up.
func (b *Budget) Part(share float64) *Budget {
	if b == nil {
		return nil
	}
	return &Budget{limit: int64(share * float64(b.limit)), whole: b}
}

// Add counts bytes that are held from now on, or, if negative, no longer.
func (b *Budget) Add(bytes int64) {
	for ; b != nil; b = b.whole {
		b.used.Add(bytes)
	}
}

// Over tells whether it is used up: what can live on disk goes there.
func (b *Budget) Over() bool {
	for ; b != nil; b = b.whole {
		if b.used.Load() > b.limit {
			return true
		}
	}
	return false
}

// Tight tells whether an eighth of it is left at most.
func (b *Budget) Tight() bool {
	for ; b != nil; b = b.whole {
		if b.used.Load() > b.limit-b.limit/8 {
			return true
		}
	}
	return false
}

// Limit is what may be held, the largest number where there is no limit.
func (b *Budget) Limit() int64 {
	if b == nil {
		return math.MaxInt64
	}
	return b.limit
}

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
