package state

import (
	"cmp"
	"slices"

	"fresnel/internal/beam"
)

// Name names what a transform declares: a state, or a family of timers.
type Name struct {
	Transform beam.TransformID
	Name      string
	// ProcessingTime is the domain of a family of timers.
	ProcessingTime bool
}

// Declared lists what a stage may keep for a key and window.
type Declared struct{ States, Timers []Name }

// Keep notes that there is something of a user key in a window, which expires
// when the watermark is above the time until.
func (s *Shard) Keep(window, user []byte, until beam.EventTime) {
	b := appendBytes([]byte(s.timeKey('G', until)), window)
	s.txn.Put(string(appendBytes(b, user)), nil)
}

// leftMark is the value of what is kept of a key and window that has expired while
// event-time timers are left: they are due, whatever time they are set for.
var leftMark = []byte{1}

// Expire forgets the state and the timers of what has expired at watermark wm,
// of at most limit keys and windows; the rest stays due. It waits for timers
// that are due (they may yet read the state), has those of event time that are left
// be due before it forgets them, and waits for the end of time, when the timers that
// are left are fired and all is thrown away.
func (s *Shard) Expire(wm beam.EventTime, d Declared, limit int) {
	if wm >= beam.MaxEventTime {
		return
	}
	s.Flush()
	if t, ok := s.first('E'); ok && t <= wm {
		return
	}
	var expired []string
	s.txn.Ascend(s.prefix+"G", s.timeKey('G', wm), func(k string, _ []byte) bool {
		expired = append(expired, k)
		return len(expired) < limit
	})
	for _, k := range expired {
		window, user := s.kept(k)
		if len(s.left(window, user, d)) > 0 {
			s.txn.Put(k, leftMark)
			continue
		}
		s.forget(window, user, d)
		s.txn.Delete(k)
	}
}

// kept is the window and the user key that Keep made a key of.
func (s *Shard) kept(k string) (window, user []byte) {
	w, rest := cutString(k[len(s.prefix)+1+8:])
	u, _ := cutString(rest)
	return []byte(w), []byte(u)
}

// left are the event-time timers of a user key in a window, in the order of their
// times.
func (s *Shard) left(window, user []byte, d Declared) (left []Timer) {
	for _, n := range d.Timers {
		if n.ProcessingTime {
			continue
		}
		id := TimerID{Transform: n.Transform, Family: n.Name, Window: window, User: user}
		for _, tag := range s.tags(id) {
			id.Tag = tag
			b := string(id.encode(nil))
			if v, ok := s.txn.Get(s.prefix + "T" + b); ok {
				left = append(left, timerOf(b, false, v))
			}
		}
	}
	slices.SortStableFunc(left, func(a, b Timer) int { return cmp.Compare(a.Fire, b.Fire) })
	return left
}

// collectLeft takes the timers beyond watermark wm of what Expire found timers left
// of.
func (s *Shard) collectLeft(wm beam.EventTime, d Declared, t *taking) {
	var marked []string
	s.txn.Ascend(s.prefix+"G", s.timeKey('G', wm), func(k string, v []byte) bool {
		if len(v) > 0 {
			marked = append(marked, k)
		}
		return len(v) > 0 && len(marked) < t.limit
	})
	for _, k := range marked {
		window, user := s.kept(k)
		for _, timer := range s.left(window, user, d) {
			if timer.Fire > wm && !t.full() {
				t.take(timer, turn{'E', timer.Fire})
			}
		}
	}
}

func (s *Shard) forget(window, user []byte, d Declared) {
	for _, n := range d.States {
		for _, kind := range "BMO" {
			from := string(s.cell(byte(kind), Key{Transform: n.Transform, Name: n.Name, Window: window, User: user}))
			s.txn.DeleteRange(from, after(from))
		}
	}
	for _, n := range d.Timers {
		id := TimerID{Transform: n.Transform, Family: n.Name, Window: window, User: user, ProcessingTime: n.ProcessingTime}
		for _, tag := range s.tags(id) {
			id.Tag = tag
			s.remove(string(id.encode(nil)), id.ProcessingTime)
		}
	}
}

// tags are those of the timers that are set of a family, key and window.
func (s *Shard) tags(t TimerID) []string {
	var tags []string
	from := s.prefix + "T" + string(t.anyTag(nil))
	s.txn.Ascend(from, after(from), func(k string, _ []byte) bool {
		tag, _ := cutString(k[len(from):])
		tags = append(tags, tag)
		return true
	})
	return tags
}

// cutString is the inverse of appendString, for our own bytes.
func cutString(b string) (s, rest string) {
	n, size := 0, 0
	for shift := 0; ; shift += 7 {
		c := b[size]
		size++
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			return b[size : size+n], b[size+n:]
		}
	}
}
