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

// SetTimer sets or replaces a timer. What is set and cleared takes effect with
// the next call of Flush or of a method that reads timers: user code sets a
// timer again with each element of a key. The timer's slices are kept until then.
func (s *Shard) SetTimer(t Timer) { s.later(t, false) }

// ClearTimer removes a timer, if it is set.
func (s *Shard) ClearTimer(t TimerID) { s.later(Timer{TimerID: t}, true) }

// pendingTimer is the last that was said of a timer.
type pendingTimer struct {
	Timer
	clear bool
}

func (s *Shard) later(t Timer, cleared bool) {
	s.scratch = t.TimerID.encode(s.scratch[:0])
	if p := s.pending[string(s.scratch)]; p != nil {
		*p = pendingTimer{t, cleared}
		return
	}
	if s.pending == nil {
		s.pending = map[string]*pendingTimer{}
	}
	s.pending[string(s.scratch)] = &pendingTimer{t, cleared}
}

// Flush makes what was set and cleared take effect.
func (s *Shard) Flush() {
	if len(s.pending) == 0 {
		return
	}
	if s.txn.Scarce() {
		s.fetchPending()
	}
	for id, p := range s.pending {
		s.remove(id, p.ProcessingTime)
		if !p.clear {
			s.put(id, &p.Timer)
		}
	}
	clear(s.pending)
}

// fetchPending reads what is set of the timers that are set again and cleared.
func (s *Shard) fetchPending() {
	for id := range s.pending {
		s.txn.Want(s.prefix+"T"+id, s.prefix+"T"+id+"\x00")
	}
	s.txn.Fetch()
}

func (s *Shard) put(id string, t *Timer) {
	v := encodeTimer(t)
	s.txn.Put(s.prefix+"T"+id, v)
	s.txn.Put(s.dueKey(t.ProcessingTime, t.Fire)+id, v)
	if t.Hold < beam.MaxEventTime {
		s.txn.Put(s.timeKey('H', t.Hold)+id, nil)
	}
}

func (s *Shard) remove(id string, processing bool) {
	old, ok := s.txn.Get(s.prefix + "T" + id)
	if !ok {
		return
	}
	fire, hold, _ := decodeTimer(old)
	s.erase(id, processing, fire, hold)
}

// erase removes a timer of which is known when it is due and what it holds.
func (s *Shard) erase(id string, processing bool, fire, hold beam.EventTime) {
	s.txn.Delete(s.prefix + "T" + id)
	s.txn.Delete(s.dueKey(processing, fire) + id)
	if hold < beam.MaxEventTime {
		s.txn.Delete(s.timeKey('H', hold) + id)
	}
}

// SetFirst sets a timer unless it is set already.
func (s *Shard) SetFirst(t Timer) {
	s.scratch = t.TimerID.encode(s.scratch[:0])
	_, set := s.txn.Get(s.prefix + "T" + string(s.scratch))
	if p := s.pending[string(s.scratch)]; p != nil {
		set = !p.clear
	}
	if !set {
		s.SetTimer(t)
	}
}

// Due tells which timers are due, and how they are taken.
type Due struct {
	// Event: those of event time, up to the watermark; Processing: those of
	// processing time, up to now.
	Event     bool
	Watermark beam.EventTime
	// Declared has, beside those, the timers be due that Expire found left.
	Declared   Declared
	Processing bool
	Now        time.Time
	// Limit is how many are taken at most.
	Limit int
	// InTurn takes of each key and window only those of its first time: the others
	// stay due. What fires may set and clear them.
	InTurn bool
}

// TakeDue removes and returns timers that are due, in the order of their times,
// those of event time first, and of them those that are left of what expires last.
func (s *Shard) TakeDue(d Due) []Timer {
	s.Flush()
	t := taking{limit: d.Limit}
	if d.InTurn {
		t.first = map[string]turn{}
	}
	if d.Event {
		s.collect('E', d.Watermark, &t)
		s.collectLeft(d.Watermark, d.Declared, &t)
	}
	if d.Processing {
		s.collect('P', beam.FromTime(d.Now), &t)
	}
	for i := range t.due {
		due := &t.due[i]
		s.erase(string(due.encode(nil)), due.ProcessingTime, due.Fire, due.Hold)
	}
	return t.due
}

// taking is what is taken of the timers that are due.
type taking struct {
	due   []Timer
	limit int
	// first is whose turn it is, by key and window; nil if all are taken. passed
	// counts the timers whose turn it is not.
	first  map[string]turn
	passed int
}

// turn is a domain and a time.
type turn struct {
	domain byte
	at     beam.EventTime
}

// maxPassed is how many timers are passed over for the sake of those behind them.
const maxPassed = 1000

func (t *taking) full() bool { return len(t.due) >= t.limit || t.passed >= maxPassed }

func (t *taking) take(timer Timer, now turn) {
	if t.first != nil {
		context := string(timer.context(nil))
		first, ok := t.first[context]
		if ok && first != now {
			t.passed++
			return
		}
		t.first[context] = now
	}
	t.due = append(t.due, timer)
}

func (s *Shard) collect(domain byte, upTo beam.EventTime, t *taking) {
	if t.full() {
		return
	}
	from := s.prefix + string(domain)
	to := s.timeKey(domain, upTo+1)
	s.txn.Ascend(from, to, func(k string, v []byte) bool {
		id := k[len(from)+8:]
		if len(v) == 0 { // an earlier version wrote it
			v, _ = s.txn.Get(s.prefix + "T" + id)
		}
		if len(v) > 0 {
			timer := timerOf(id, domain == 'P', v)
			t.take(timer, turn{domain, timer.Fire})
		}
		return !t.full()
	})
}

// Times returns the shard's next due times at watermark wm and its least hold:
// beam.MaxEventTime+1, the zero time and beam.MaxEventTime where there is none.
// What expires is due one after its time; nothing does at the end of time. An
// event-time timer that is set without an output time holds the output at the
// time that it fires at, which is no sooner than the watermark comes there: else
// what it puts out would come after the end of its window.
func (s *Shard) Times(wm beam.EventTime) (nextEvent beam.EventTime, nextProcessing time.Time, hold beam.EventTime) {
	s.Flush()
	nextEvent, hold = beam.MaxEventTime+1, beam.MaxEventTime
	if t, ok := s.first('E'); ok {
		nextEvent, hold = t, min(t, beam.LastHold)
	}
	if t, ok := s.first('G'); ok && wm < beam.MaxEventTime {
		nextEvent = min(nextEvent, t+1)
	}
	if t, ok := s.first('P'); ok {
		nextProcessing = time.UnixMilli(int64(t))
	}
	for _, kind := range []byte("HS") {
		if t, ok := s.first(kind); ok {
			hold = min(hold, t, beam.LastHold)
		}
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

func (s *Shard) dueKey(processing bool, fire beam.EventTime) string {
	if processing {
		return s.timeKey('P', fire)
	}
	return s.timeKey('E', fire)
}

func (s *Shard) timeKey(kind byte, t beam.EventTime) string {
	return string(binary.BigEndian.AppendUint64(append([]byte(s.prefix), kind), flip(int64(t))))
}

func (t TimerID) encode(b []byte) []byte { return appendString(t.anyTag(b), t.Tag) }

// context names what timers have to do with each other in: a key and a window.
func (t TimerID) context(b []byte) []byte { return appendBytes(appendBytes(b, t.User), t.Window) }

// anyTag begins the encodings of all timers that differ by the tag.
func (t TimerID) anyTag(b []byte) []byte {
	b = appendString(b, string(t.Transform))
	b = appendString(b, t.Family)
	b = appendBytes(b, t.User)
	return appendBytes(b, t.Window)
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

func encodeTimer(t *Timer) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Fire))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Hold))
	return append(b, t.Pane...)
}

func decodeTimer(v []byte) (fire, hold beam.EventTime, pane []byte) {
	return beam.EventTime(binary.BigEndian.Uint64(v)), beam.EventTime(binary.BigEndian.Uint64(v[8:])), v[16:]
}
