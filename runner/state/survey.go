package state

import (
	"encoding/binary"
	"fmt"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// Survey is what is kept of one state, or one family of timers, in a stage: for
// people to look at.
type Survey struct {
	Transform beam.TransformID
	Name      string
	Timers    bool
	// Keys counts keys and windows that have something; Entries what they have:
	// runs of a bag's values, entries of maps and lists, timers. Bytes is the size of
	// their values.
	Keys, Entries int
	Bytes         int64
	// Next is when the first of the timers fires.
	Next beam.EventTime
}

// Look surveys all shards of a stage. It returns an error at the first entry that
// is not one of those that this package writes.
func Look(r store.Reader, stage int) ([]*Survey, error) {
	l := looker{found: map[string]*Survey{}}
	from := string(binary.BigEndian.AppendUint16(nil, uint16(stage)))
	r.Ascend(from, after(from), func(k string, v []byte) bool {
		l.err = l.entry(k[len(from):], v)
		return l.err == nil
	})
	return l.all, l.err
}

type looker struct {
	all   []*Survey
	found map[string]*Survey
	// last is the cell of the last entry: those of a cell stand together.
	last string
	err  error
}

// entry takes in an entry: its key after the stage, and its value.
func (l *looker) entry(k string, v []byte) error {
	if len(k) < 3 {
		return errEntry(k)
	}
	switch k[2] {
	case 'B', 'M', 'O':
		return l.cell(k[3:], v)
	case 'T':
		return l.timer(k[3:], v)
	case 'E', 'P', 'H', 'G':
		if len(k) < 3+8 {
			return errEntry(k)
		}
		return nil
	}
	return errEntry(k)
}

func errEntry(k string) error {
	return &beam.Error{Code: beam.BadData, What: fmt.Sprintf("an entry of the user state does not parse: %x", k)}
}

// cell is an entry of a bag, a map or a list.
func (l *looker) cell(k string, v []byte) error {
	parts, rest, ok := cutParts(k, 4)
	if !ok {
		return errEntry(k)
	}
	s := l.survey(parts[0], parts[1], false)
	if cell := k[:len(k)-len(rest)]; cell != l.last {
		l.last = cell
		s.Keys++
	}
	s.Entries++
	s.Bytes += int64(len(v))
	return nil
}

func (l *looker) timer(k string, v []byte) error {
	parts, rest, ok := cutParts(k, 5)
	if !ok || rest != "" || len(v) < 16 {
		return errEntry(k)
	}
	s := l.survey(parts[0], parts[1], true)
	fire, _, _ := decodeTimer(v)
	if s.Entries == 0 || fire < s.Next {
		s.Next = fire
	}
	s.Keys++
	s.Entries++
	s.Bytes += int64(len(v))
	return nil
}

func (l *looker) survey(transform, name string, timers bool) *Survey {
	id := fmt.Sprintf("%t %q %q", timers, transform, name)
	s := l.found[id]
	if s == nil {
		s = &Survey{Transform: beam.TransformID(transform), Name: name, Timers: timers}
		l.found[id] = s
		l.all = append(l.all, s)
	}
	return s
}

// cutParts takes n length-prefixed strings from the start of k.
func cutParts(k string, n int) (parts []string, rest string, ok bool) {
	b := []byte(k)
	for range n {
		var v []byte
		if v, b, ok = cutBytes(b); !ok {
			return nil, "", false
		}
		parts = append(parts, string(v))
	}
	return parts, string(b), true
}
