package runner

import (
	"encoding/binary"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/store"

	"github.com/tidwall/btree"
)

// The gates of a durable job have the same numbers after a crash, since blocks
// on disk name them. A gate is written with the first commit after it was
// numbered, which is no later than the first that names it.

// gateNote is a row to be written, without a value one to be removed.
type gateNote struct {
	key   string
	value []byte
}

func gateKey(id engine.GateID) string {
	return string(binary.BigEndian.AppendUint64([]byte(noteGate), uint64(id)))
}

// note has a new gate written; raw is its window, empty for a side input as a
// whole.
func (g *gates) note(gate engine.Gate, raw string) {
	if !g.notes {
		return
	}
	row := binary.AppendUvarint(nil, uint64(gate.Stage))
	row = binary.AppendUvarint(row, uint64(gate.SideInput))
	row = binary.AppendVarint(row, int64(gate.End))
	g.noted = append(g.noted, gateNote{gateKey(gate.ID), appendField(row, raw)})
}

// unnote has a forgotten gate removed.
func (g *gates) unnote(gate engine.Gate) {
	if g.notes {
		g.noted = append(g.noted, gateNote{key: gateKey(gate.ID)})
	}
}

// changes takes what is to be written.
func (g *gates) changes() []gateNote {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.noted
	g.noted = nil
	return all
}

// recover reads the gates that a job had, and writes those that come.
func (g *gates) recover(d *store.Disk) error {
	g.notes = true
	return d.Notes(noteGate, noteGate+"\xff", func(key string, row []byte) error {
		if len(key) != len(noteGate)+8 {
			return badNote("a gate")
		}
		f := fields{b: row}
		gate := engine.Gate{ID: engine.GateID(binary.BigEndian.Uint64([]byte(key[len(noteGate):]))),
			Stage: int(f.uint()), SideInput: int(f.uint()), End: beam.EventTime(f.int())}
		raw := string(f.bytes())
		if f.bad {
			return badNote("a gate")
		}
		g.last = max(g.last, gate.ID)
		g.add(gate, raw)
		return nil
	})
}

func (g *gates) add(gate engine.Gate, raw string) {
	k := sideKey{gate.Stage, gate.SideInput}
	if raw == "" {
		g.whole[k] = gate
		return
	}
	if g.byWindow[k] == nil {
		g.byWindow[k] = btree.NewMap[string, engine.Gate](16)
	}
	g.byWindow[k].Set(raw, gate)
}
