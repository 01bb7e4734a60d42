package state

import "fresnel/internal/beam"

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

// Expire forgets the state and the timers of what has expired at watermark wm,
// of at most limit keys and windows; the rest stays due. It waits for timers
// that are due (they may yet read the state), and for the end of time, when the
// timers that are left are fired and all is thrown away.
func (s *Shard) Expire(wm beam.EventTime, d Declared, limit int) {
	if wm >= beam.MaxEventTime {
		return
	}
	s.Flush()
	if t, ok := s.first('E'); ok && t <= wm {
		return
	}
	var expired []string
	from := s.prefix + "G"
	s.txn.Ascend(from, s.timeKey('G', wm), func(k string, _ []byte) bool {
		expired = append(expired, k)
		return len(expired) < limit
	})
	for _, k := range expired {
		window, rest := cutString(k[len(from)+8:])
		user, _ := cutString(rest)
		if s.fireLeft([]byte(window), []byte(user), d, wm) {
			continue
		}
		s.forget([]byte(window), []byte(user), d)
		s.txn.Delete(k)
	}
}

// fireLeft has the first of the event-time timers that are left of a user key in a
// window be due at watermark wm, and tells whether there are any.
func (s *Shard) fireLeft(window, user []byte, d Declared, wm beam.EventTime) bool {
	var first []Timer
	for _, n := range d.Timers {
		if n.ProcessingTime {
			continue
		}
		id := TimerID{Transform: n.Transform, Family: n.Name, Window: window, User: user}
		for _, tag := range s.tags(id) {
			id.Tag = tag
			b := string(id.encode(nil))
			v, ok := s.txn.Get(s.prefix + "T" + b)
			if !ok {
				continue
			}
			t := timerOf(b, false, v)
			if len(first) > 0 && t.Fire < first[0].Fire {
				first = first[:0]
			}
			if len(first) == 0 || t.Fire == first[0].Fire {
				first = append(first, t)
			}
		}
	}
	for _, t := range first {
		t.Fire = wm
		s.SetTimer(t)
	}
	return len(first) > 0
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
