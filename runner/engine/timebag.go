package engine

import (
	"slices"

	"fresnel/internal/beam"
)

// timeBag is a multiset of event times that knows its least. What is removed
// is only noted, in a second heap, until it comes to the top of both: 8 bytes
// for a time that is in, at most 16 with one that has gone.
type timeBag struct{ in, gone heap[stamp] }

// stamp is an event time that knows how to stand in a heap.
type stamp beam.EventTime

func (s stamp) Before(o stamp) bool { return s < o }

func (b *timeBag) add(t beam.EventTime) { b.in.push(stamp(t)) }

// remove takes out one t, which must be in.
func (b *timeBag) remove(t beam.EventTime) {
	b.gone.push(stamp(t))
	for len(b.gone) > 0 && len(b.in) > 0 && b.in[0] == b.gone[0] {
		b.in.pop()
		b.gone.pop()
	}
	if len(b.in) == 0 {
		b.in, b.gone = nil, nil
	}
	if len(b.gone) > 64 && len(b.gone) > len(b.in)/2 {
		b.compact()
	}
}

// min is beam.MaxEventTime where nothing is in.
func (b *timeBag) min() beam.EventTime {
	if len(b.in) == 0 {
		return beam.MaxEventTime
	}
	return beam.EventTime(b.in[0])
}

// compact forgets what has gone, so that one old block that waits does not
// make the bag grow with all that pass it.
func (b *timeBag) compact() {
	slices.Sort(b.in)
	slices.Sort(b.gone)
	left, g := make([]stamp, 0, max(len(b.in)-len(b.gone), 0)), 0
	for _, t := range b.in {
		if g < len(b.gone) && b.gone[g] == t {
			g++
			continue
		}
		left = append(left, t)
	}
	b.in, b.gone = left, nil // a sorted slice is a heap
}
