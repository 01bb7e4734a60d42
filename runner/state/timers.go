package state

import (
	"encoding/binary"
	"time"

	"fresnel/internal/beam"
)

// TimerID names a timer: setting it again replaces it.
type TimerID struct {
	Transform beam.TransformID
	Family    string
	Tag       string
	// Window is the timer's encoded window, User the encoded user key.
	Window, User []byte
	// ProcessingTime is the family's domain.
	ProcessingTime bool
}

// Timer is a timer that is set. In the processing-time domain Fire is in
// milliseconds since the epoch too.
type Timer struct {
	TimerID
	Fire, Hold beam.EventTime
	// Pane is the encoded pane it carries.
	Pane []byte
}

// SetTimer sets or replaces a timer.
func (s *Shard) SetTimer(t Timer) {
	s.ClearTimer(t.TimerID)
	id := t.TimerID.encode()
	s.txn.Put(s.prefix+"T"+id, encodeTimer(t))
	s.txn.Put(s.dueKey(t.TimerID, t.Fire, id), nil)
	if t.Hold < beam.MaxEventTime {
		s.txn.Put(s.timeKey('H', t.Hold)+id, nil)
	}
}

// SetFirst sets a timer unless it is set already.
func (s *Shard) SetFirst(t Timer) {
	if _, set := s.txn.Get(s.prefix + "T" + t.TimerID.encode()); !set {
		s.SetTimer(t)
	}
}

// ClearTimer removes a timer, if it is set.
func (s *Shard) ClearTimer(t TimerID) {
	id := t.encode()
	old, ok := s.txn.Get(s.prefix + "T" + id)
	if !ok {
		return
	}
	fire, hold, _ := decodeTimer(old)
	s.txn.Delete(s.prefix + "T" + id)
	s.txn.Delete(s.dueKey(t, fire, id))
	s.txn.Delete(s.timeKey('H', hold) + id)
}

// TakeDue removes and returns the timers due at watermark wm or at processing
// time now, in the order of their times; at most limit of them.
func (s *Shard) TakeDue(event bool, wm beam.EventTime, processing bool, now time.Time, limit int) []Timer {
	var due []Timer
	if event {
		due = s.collect('E', wm, due, limit)
	}
	if processing && len(due) < limit {
		due = s.collect('P', beam.FromTime(now), due, limit)
	}
	for _, t := range due {
		s.ClearTimer(t.TimerID)
	}
	return due
}

func (s *Shard) collect(domain byte, upTo beam.EventTime, due []Timer, limit int) []Timer {
	from := s.prefix + string(domain)
	to := s.timeKey(domain, upTo+1)
	s.txn.Ascend(from, to, func(k string, _ []byte) bool {
		id := k[len(from)+8:]
		if v, ok := s.txn.Get(s.prefix + "T" + id); ok {
			due = append(due, timerOf(id, domain == 'P', v))
		}
		return len(due) < limit
	})
	return due
}

// Times returns the shard's next due times at watermark wm and its least hold:
// beam.MaxEventTime+1, the zero time and beam.MaxEventTime where there is none.
// What expires is due one after its time; nothing does at the end of time.
func (s *Shard) Times(wm beam.EventTime) (nextEvent beam.EventTime, nextProcessing time.Time, hold beam.EventTime) {
	nextEvent, hold = beam.MaxEventTime+1, beam.MaxEventTime
	if t, ok := s.first('E'); ok {
		nextEvent = t
	}
	if t, ok := s.first('G'); ok && wm < beam.MaxEventTime {
		nextEvent = min(nextEvent, t+1)
	}
	if t, ok := s.first('P'); ok {
		nextProcessing = time.UnixMilli(int64(t))
	}
	if t, ok := s.first('H'); ok {
		hold = t
	}
	return nextEvent, nextProcessing, hold
}

func (s *Shard) first(kind byte) (t beam.EventTime, ok bool) {
	from := s.prefix + string(kind)
	s.txn.Ascend(from, after(from), func(k string, _ []byte) bool {
		t, ok = timeOf(k[len(from):]), true
		return false
	})
	return t, ok
}

// timeOf reads the time at the start of what follows a timeKey's kind.
func timeOf(rest string) beam.EventTime {
	return beam.EventTime(binary.BigEndian.Uint64([]byte(rest[:8])) ^ 1<<63)
}

func (s *Shard) dueKey(t TimerID, fire beam.EventTime, id string) string {
	if t.ProcessingTime {
		return s.timeKey('P', fire) + id
	}
	return s.timeKey('E', fire) + id
}

func (s *Shard) timeKey(kind byte, t beam.EventTime) string {
	return string(binary.BigEndian.AppendUint64(append([]byte(s.prefix), kind), flip(int64(t))))
}

func (t TimerID) encode() string {
	return string(appendString([]byte(t.anyTag()), t.Tag))
}

// anyTag begins the encodings of all timers that differ by the tag.
func (t TimerID) anyTag() string {
	b := appendString(nil, string(t.Transform))
	b = appendString(b, t.Family)
	b = appendString(b, string(t.User))
	return string(appendString(b, string(t.Window)))
}

// timerOf is the inverse of encode and encodeTimer; both are our own bytes.
func timerOf(id string, processing bool, v []byte) Timer {
	var parts [5]string
	for i := range parts {
		parts[i], id = cutString(id)
	}
	t := Timer{TimerID: TimerID{Transform: beam.TransformID(parts[0]), Family: parts[1], User: []byte(parts[2]),
		Window: []byte(parts[3]), Tag: parts[4], ProcessingTime: processing}}
	t.Fire, t.Hold, t.Pane = decodeTimer(v)
	return t
}

func encodeTimer(t Timer) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Fire))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Hold))
	return append(b, t.Pane...)
}

func decodeTimer(v []byte) (fire, hold beam.EventTime, pane []byte) {
	return beam.EventTime(binary.BigEndian.Uint64(v)), beam.EventTime(binary.BigEndian.Uint64(v[8:])), v[16:]
}
