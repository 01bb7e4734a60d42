package window

import (
	"cmp"
	"slices"
)

// slot is an item's place in one schedule.
type slot struct {
	at  int64
	pos int32 // in the heap, from 1; 0 is not there, taken was
}

// taken is the place of an item that take has handed over.
const taken = -1

// schedule orders items by time, those of one time by their arrival: a heap that
// knows where each item is, so that a time can change. An Advance looks at what is
// due and at nothing else, unless that is a good part of all.
//
// A node has four children, and the times stand in the heap itself: to find the
// least of them reads one or two lines of memory, and none of the items.
type schedule[T any] struct {
	heap []scheduled[T]
	slot func(T) *slot
	seq  uint64
}

// scheduled is an item and what it is ordered by.
type scheduled[T any] struct {
	at   int64
	seq  uint64 // among equal times, the order of arrival
	item T
}

func (a *scheduled[T]) before(b *scheduled[T]) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// first returns the item with the least time.
func (s *schedule[T]) first() (item T, at int64, ok bool) {
	if len(s.heap) == 0 {
		return item, 0, false
	}
	return s.heap[0].item, s.heap[0].at, true
}

// set puts an item in the schedule, or moves it.
func (s *schedule[T]) set(item T, at int64) {
	p := s.slot(item)
	p.at = at
	if p.pos <= 0 {
		s.seq++
		s.heap = append(s.heap, scheduled[T]{seq: s.seq})
		s.up(len(s.heap)-1, scheduled[T]{at, s.seq, item})
		return
	}
	i := int(p.pos) - 1
	s.fix(i, scheduled[T]{at, s.heap[i].seq, item})
}

// remove takes an item out, if it is there.
func (s *schedule[T]) remove(item T) {
	p := s.slot(item)
	if p.pos <= 0 {
		p.pos = 0
		return
	}
	i, last := int(p.pos)-1, len(s.heap)-1
	p.pos = 0
	moved := s.heap[last]
	s.heap[last] = scheduled[T]{}
	s.heap = s.heap[:last]
	if i < last {
		s.fix(i, moved)
	}
}

// take takes out the items up to a time, and returns them in their order. Until one
// is set again or removed, its place is taken.
func (s *schedule[T]) take(last int64) []T {
	due := s.due(0, last, nil)
	if len(due) == 0 {
		return nil
	}
	slices.SortFunc(due, func(a, b scheduled[T]) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
	})
	items := make([]T, len(due))
	for i, e := range due {
		items[i] = e.item
	}
	s.removeAll(items)
	for _, item := range items {
		s.slot(item).pos = taken
	}
	return items
}

// due adds the items up to a time from i down, where no child is before its parent.
func (s *schedule[T]) due(i int, last int64, found []scheduled[T]) []scheduled[T] {
	if i >= len(s.heap) || s.heap[i].at > last {
		return found
	}
	found = append(found, s.heap[i])
	for child := arity*i + 1; child <= arity*i+arity; child++ {
		found = s.due(child, last, found)
	}
	return found
}

// fewOf is how many times as many items there must be as are removed together for
// that to be done one by one: each comes down several levels, and at each of them
// another item's place is written.
const fewOf = 8

// removeAll takes out those of the items that are there.
func (s *schedule[T]) removeAll(items []T) {
	if fewOf*len(items) < len(s.heap) {
		for _, item := range items {
			s.remove(item)
		}
		return
	}
	for _, item := range items {
		p := s.slot(item)
		if p.pos > 0 {
			s.heap[p.pos-1].seq = gone
		}
		p.pos = 0
	}
	s.heap = slices.DeleteFunc(s.heap, func(e scheduled[T]) bool { return e.seq == gone })
	s.order()
}

// gone is the seq of an item that is about to be removed; the first is 1.
const gone = 0

// order makes a heap of what may be in any order.
func (s *schedule[T]) order() {
	for i, e := range s.heap {
		s.slot(e.item).pos = int32(i + 1)
	}
	for i := (len(s.heap) - 2) / arity; i >= 0 && len(s.heap) > 1; i-- {
		s.down(i, s.heap[i])
	}
}

// fix puts e at i, whose item has gone, or where it belongs from there.
func (s *schedule[T]) fix(i int, e scheduled[T]) {
	if i > 0 && e.before(&s.heap[(i-1)/arity]) {
		s.up(i, e)
	} else {
		s.down(i, e)
	}
}

// arity is how many children a node has.
const arity = 4

// up moves the gap at i up to where e belongs, and puts it there.
func (s *schedule[T]) up(i int, e scheduled[T]) {
	for i > 0 {
		parent := (i - 1) / arity
		if !e.before(&s.heap[parent]) {
			break
		}
		s.put(i, s.heap[parent])
		i = parent
	}
	s.put(i, e)
}

// down moves the gap at i down to where e belongs, and puts it there.
func (s *schedule[T]) down(i int, e scheduled[T]) {
	for {
		first := arity*i + 1
		if first >= len(s.heap) {
			break
		}
		least := first
		for child := first + 1; child < min(first+arity, len(s.heap)); child++ {
			if s.heap[child].before(&s.heap[least]) {
				least = child
			}
		}
		if !s.heap[least].before(&e) {
			break
		}
		s.put(i, s.heap[least])
		i = least
	}
	s.put(i, e)
}

func (s *schedule[T]) put(i int, e scheduled[T]) {
	s.heap[i] = e
	s.slot(e.item).pos = int32(i + 1)
}
