package state

import "fresnel/internal/beam"

// Sort keeps an encoded element until everything before it has come: elements
// are taken in the order of their times, and those of one time as they came.
func (s *Shard) Sort(at beam.EventTime, element []byte) {
	s.txn.Put(s.timeKey('S', at)+string(s.nextSeq()), element)
}

// FirstSorted is the time of the first element that waits, if any does.
func (s *Shard) FirstSorted() (beam.EventTime, bool) { return s.first('S') }

// TakeSorted removes and returns the elements up to a time, in order: about size
// bytes of them at most.
func (s *Shard) TakeSorted(upTo beam.EventTime, size int) (elements []byte, count int, least beam.EventTime) {
	var taken []string
	least = beam.MaxEventTime
	from := s.prefix + "S"
	s.txn.Ascend(from, s.timeKey('S', upTo+1), func(k string, v []byte) bool {
		least = min(least, timeOf(k[len(from):]))
		elements, taken = append(elements, v...), append(taken, k)
		return len(elements) < size
	})
	for _, k := range taken {
		s.txn.Delete(k)
	}
	return elements, len(taken), least
}
