package window

import (
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/store"
)

// Shard is the state of a group stage for a slice of the keys. It belongs to
// one goroutine at a time.
//
// After an error, which is a *beam.Error, the shard must not be used.
type Shard struct {
	g *Grouping
	// wm is the highest watermark that the shard has seen; MinEventTime in a
	// bounded job until that is MaxEventTime.
	wm beam.EventTime
	way
	droppedLate, droppedClosed int64
}

// way is how a shard keeps what it holds. Its methods are told the time; the
// shard's watermark is already that of the call.
type way interface {
	add(block []byte, now instant, out *Output) error
	addCompacted(e *coder.Element, key, value []byte, out *Output)
	fireEventTime(out *Output) error
	fireProcessingTime(now instant, out *Output)
	nextEventTime() (last beam.EventTime, ok bool)
	nextProcessingTime() (at instant, ok bool)
	hold() beam.EventTime
	size() int64
	away() int64
	keyCount() int
	appendState(dst []byte) ([]byte, error)
	restore(r *reader) error
	relieve(to *store.Spill)
	failure() error
}

// Add takes a block of whole input elements that are in the input when its
// watermark is wm and the processing time is now. What wm makes due fires
// first; then each element is added, and fires what it makes ready.
// Processing-time triggers fire in Advance only. The shard may keep block: it
// must not change.
func (s *Shard) Add(block []byte, wm beam.EventTime, now time.Time, out *Output) error {
	if err := s.advanceTo(wm, out); err != nil {
		return err
	}
	return s.add(block, instantOf(now), out)
}

// AddCounted is Add of a block of which the number of elements and the least of
// their timestamps are known: where nothing else matters, it is not looked at.
func (s *Shard) AddCounted(block []byte, count int, least beam.EventTime, wm beam.EventTime, now time.Time, out *Output) error {
	a, ok := s.way.(*appending)
	if !ok || s.g.window.Kind() != coder.KindGlobalWindow || least < wm || len(block) >= maxPart {
		return s.Add(block, wm, now, out)
	}
	if err := s.advanceTo(wm, out); err != nil {
		return err
	}
	return a.addWhole(block, count, least)
}

// Advance fires all that is due at the watermark wm and the processing time
// now. MaxEventTime closes every window.
func (s *Shard) Advance(wm beam.EventTime, now time.Time, out *Output) error {
	if err := s.advanceTo(wm, out); err != nil {
		return err
	}
	s.fireProcessingTime(instantOf(now), out)
	return s.failure()
}

func (s *Shard) advanceTo(wm beam.EventTime, out *Output) error {
	wm = min(wm, beam.MaxEventTime)
	if wm <= s.wm || s.g.Bounded && wm < beam.MaxEventTime {
		return nil
	}
	s.wm = wm
	return s.fireEventTime(out)
}

// AddCompacted takes answers to what went to Output.Compact: windowed KV<k, acc>,
// encoded as the input. An answer is dropped if what it merged is gone.
func (s *Shard) AddCompacted(block []byte, out *Output) error {
	var e coder.Element
	for len(block) > 0 {
		n, err := s.g.Input.Scan(block, &e)
		if err != nil {
			return badBlock(err)
		}
		key, value, err := s.g.split(e.Value)
		if err != nil {
			return err
		}
		block = block[n:]
		s.addCompacted(&e, key, value, out)
	}
	return s.failure()
}

// split parts an element's value in key and value.
func (g *Grouping) split(kv []byte) (key, value []byte, err error) {
	n, err := g.key.Skip(kv)
	if err != nil {
		return nil, nil, badBlock(err)
	}
	return kv[:n:n], kv[n:], nil
}

// NextEventTime returns the least watermark at which Advance would do something.
func (s *Shard) NextEventTime() (wm beam.EventTime, ok bool) {
	last, ok := s.nextEventTime()
	switch {
	case !ok:
		return 0, false
	case s.g.Bounded:
		return beam.MaxEventTime, true
	}
	return last + 1, true
}

// NextProcessingTime returns the earliest time at which Advance would do
// something.
func (s *Shard) NextProcessingTime() (t time.Time, ok bool) {
	at, ok := s.nextProcessingTime()
	if !ok {
		return time.Time{}, false
	}
	return at.time(), true
}

// Hold returns the least hold on the output watermark, MaxEventTime if there is
// none: no pane to come has a timestamp below it.
func (s *Shard) Hold() beam.EventTime { return s.hold() }

// Bytes is about how much memory the shard holds.
func (s *Shard) Bytes() int64 { return s.size() }

// Size is about how much the shard holds, in memory and on disk.
func (s *Shard) Size() int64 { return s.size() + s.away() }

// Keys is how many keys have state; 0 in the append way, which does not know.
func (s *Shard) Keys() int { return s.keyCount() }

// Empty says whether the shard holds nothing at all.
func (s *Shard) Empty() bool {
	_, more := s.nextEventTime()
	return !more
}

// Dropped returns how many values were dropped since the shard was made: late
// beyond the allowed lateness, and for a trigger that had finished.
func (s *Shard) Dropped() (late, closed int64) { return s.droppedLate, s.droppedClosed }
