package store

import "hash/maphash"

// lately knows what was seen of late: about as many keys as it has marks, each of
// which is the last of those that share a place. It takes no memory before it is
// first asked: most jobs' state is small.
type lately struct {
	seed  maphash.Seed
	size  int // of marks
	marks []uint32
}

// markShare is for how many bytes of a budget there is a mark, that is for about
// as many keys as could be in memory.
const markShare = 512

func newLately(b *Budget) *lately {
	if b == nil {
		return &lately{}
	}
	return &lately{seed: maphash.MakeSeed(), size: int(min(max(b.limit/markShare, 64), 1<<20))}
}

// again tells whether a key was seen of late, and sees it.
func (l *lately) again(key string) bool {
	if l.size == 0 {
		return true
	}
	if l.marks == nil {
		l.marks = make([]uint32, l.size)
	}
	mark, is := l.mark(key)
	seen := *mark == is
	*mark = is
	return seen
}

func (l *lately) mark(key string) (mark *uint32, is uint32) {
	h := maphash.String(l.seed, key)
	return &l.marks[h%uint64(len(l.marks))], uint32(h >> 32)
}
