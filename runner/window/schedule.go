package window

// slot is an item's place in one schedule.
type slot struct {
	at  int64
	seq uint32 // among equal times, the order of arrival
	pos int32  // in the heap, from 1; 0 is not there
}

// schedule orders items by time: a binary heap that knows where each item is, so
// that a time can change. An Advance looks at what is due and at nothing else.
type schedule[T any] struct {
	items []T
	slot  func(T) *slot
	seq   uint32
}

// first returns the item with the least time.
func (s *schedule[T]) first() (item T, at int64, ok bool) {
	if len(s.items) == 0 {
		return item, 0, false
	}
	return s.items[0], s.slot(s.items[0]).at, true
}

// set puts an item in the schedule, or moves it.
func (s *schedule[T]) set(item T, at int64) {
	p := s.slot(item)
	if p.pos == 0 {
		s.seq++
		p.seq = s.seq
		s.items = append(s.items, item)
		p.pos = int32(len(s.items))
	}
	p.at = at
	s.fix(int(p.pos) - 1)
}

// remove takes an item out, if it is there.
func (s *schedule[T]) remove(item T) {
	p := s.slot(item)
	if p.pos == 0 {
		return
	}
	i, last := int(p.pos)-1, len(s.items)-1
	s.swap(i, last)
	var none T
	s.items[last] = none
	s.items = s.items[:last]
	p.pos = 0
	if i < last {
		s.fix(i)
	}
}

func (s *schedule[T]) fix(i int) {
	if !s.up(i) {
		s.down(i)
	}
}

func (s *schedule[T]) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !s.less(i, parent) {
			break
		}
		s.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (s *schedule[T]) down(i int) {
	for {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(s.items) && s.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		s.swap(i, least)
		i = least
	}
}

func (s *schedule[T]) less(i, j int) bool {
	a, b := s.slot(s.items[i]), s.slot(s.items[j])
	if a.at != b.at {
		return a.at < b.at
	}
	return a.seq < b.seq
}

func (s *schedule[T]) swap(i, j int) {
	s.items[i], s.items[j] = s.items[j], s.items[i]
	s.slot(s.items[i]).pos = int32(i + 1)
	s.slot(s.items[j]).pos = int32(j + 1)
}
