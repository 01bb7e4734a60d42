package engine

import "math/bits"

// bitset is a set of small numbers that finds its next and its last member
// without looking at each.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int)    { b[i/64] &^= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// add puts the members of another set of the same size in.
func (b bitset) add(o bitset) {
	for i := range b {
		b[i] |= o[i]
	}
}

// next returns the least member that is at least from, or -1.
func (b bitset) next(from int) int {
	for word := from / 64; word < len(b); word++ {
		rest := b[word]
		if word == from/64 {
			rest &= ^uint64(0) << (from % 64)
		}
		if rest != 0 {
			return word*64 + bits.TrailingZeros64(rest)
		}
	}
	return -1
}

// before returns the greatest member below limit, or -1.
func (b bitset) before(limit int) int {
	for word := min(limit/64, len(b)-1); word >= 0; word-- {
		rest := b[word]
		if word == limit/64 {
			rest &= 1<<(limit%64) - 1
		}
		if rest != 0 {
			return word*64 + 63 - bits.LeadingZeros64(rest)
		}
	}
	return -1
}

func (b bitset) empty() bool { return b.next(0) < 0 }
