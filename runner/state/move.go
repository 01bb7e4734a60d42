package state

import (
	"encoding/binary"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// A Moving takes the user state and the timers of a stage to a stage of another
// plan, whose shards are the same.
type Moving struct {
	// From and To are the stages' numbers.
	From, To int
	// Cell names the transform that a state, or a family of timers, is of in the other
	// plan, and whether it goes on.
	Cell func(transform beam.TransformID, name string, timers bool) (beam.TransformID, bool)
}

// Move calls put with each entry of the stage as it is in the other plan.
func (m Moving) Move(r store.Reader, put func(key string, value []byte) error) (err error) {
	from := string(binary.BigEndian.AppendUint16(nil, uint16(m.From)))
	to := string(binary.BigEndian.AppendUint16(nil, uint16(m.To)))
	r.Ascend(from, after(from), func(k string, v []byte) bool {
		rest, keep, ok := m.entry(k[len(from):])
		switch {
		case !ok:
			err = errEntry(k)
		case keep:
			err = put(to+rest, v)
		}
		return err == nil
	})
	return err
}

// entry is the key of an entry, after the stage, in the other plan.
func (m Moving) entry(k string) (moved string, keep, ok bool) {
	if len(k) < 3 {
		return "", false, false
	}
	cell, timers := 3, false
	switch k[2] {
	case 'G', 'S':
		return k, true, true
	case 'B', 'M', 'O':
	case 'T':
		timers = true
	case 'E', 'P', 'H':
		cell, timers = 3+8, true
	default:
		return "", false, false
	}
	if len(k) < cell {
		return "", false, false
	}
	parts, rest, ok := cutParts(k[cell:], 2)
	if !ok {
		return "", false, false
	}
	id, keep := m.Cell(beam.TransformID(parts[0]), parts[1], timers)
	b := appendString([]byte(k[:cell]), string(id))
	b = appendString(b, parts[1])
	return string(b) + rest, keep, true
}
