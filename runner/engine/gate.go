package engine

import (
	"fmt"
	"slices"

	"fresnel/internal/beam"
)

// gate is a window of a side input that blocks wait for. It is forgotten when
// the side input's watermark has passed its end; a gate that is not known is
// open.
type gate struct {
	id GateID
	// ends is set once the gate was declared, with the side input and the end.
	ends        bool
	stage, side int
	end         beam.EventTime
	open        bool
	waiters     []*waiting
}

func (g *gate) Before(o *gate) bool { return g.end < o.end }

// waiting is a block behind gates.
type waiting struct {
	stage *stage
	shard int
	entry entry
	gates []GateID
	// closed counts the gates that are not open.
	closed int
}

// declare makes gates known. It does so as soon as they are reported, not when
// the bundle commits: one that commits earlier may name them as well.
func (e *Engine) declare(gates []Gate) error {
	for _, g := range gates {
		if g.Stage < 0 || g.Stage >= len(e.stages) ||
			g.SideInput < 0 || g.SideInput >= len(e.stages[g.Stage].sides) {
			return fmt.Errorf("gate %d names side input %d of stage %d, which does not exist",
				g.ID, g.SideInput, g.Stage)
		}
		e.declareOne(g)
	}
	return nil
}

func (e *Engine) declareOne(g Gate) {
	in := &e.stages[g.Stage].sides[g.SideInput]
	known := e.gates[g.ID]
	if passed(in.watermark, g.End) || known != nil && known.ends {
		return
	}
	if known == nil {
		known = &gate{id: g.ID}
		e.gates[g.ID] = known
	}
	known.ends, known.stage, known.side, known.end = true, g.Stage, g.SideInput, g.End
	in.ends.push(known)
	e.writeGate(known)
}

// passed tells whether nothing more is to come for a window with that end.
func passed(watermark, end beam.EventTime) bool {
	return watermark > end || watermark >= beam.MaxEventTime
}

// passSide opens and forgets the gates that a side input's watermark has passed.
func (e *Engine) passSide(st *stage, input int) {
	in := &st.sides[input]
	in.watermark = max(in.watermark, in.producers.min())
	for len(in.ends) > 0 && passed(in.watermark, in.ends[0].end) {
		g := in.ends.pop()
		delete(e.gates, g.id)
		e.deleteGate(g.id)
		e.unlock(g)
	}
}

// openGates opens those for which a pane has arrived. One that no block has
// named yet is remembered as open; one that was declared, and is not known any
// more, has passed.
func (e *Engine) openGates(out *Outcome) {
	for _, id := range out.Opened {
		g := e.gates[id]
		switch {
		case g != nil && g.open:
			continue
		case g != nil:
			e.unlock(g)
		case slices.ContainsFunc(out.NewGates, func(d Gate) bool { return d.ID == id }):
			continue
		default:
			g = &gate{id: id, open: true}
			e.gates[id] = g
		}
		e.writeGate(g)
	}
}

func (e *Engine) unlock(g *gate) {
	if g.open {
		return
	}
	g.open = true
	ws := g.waiters
	g.waiters = nil
	for _, w := range ws {
		w.closed--
	}
	for _, w := range ws {
		if w.closed == 0 {
			e.letThrough(w.stage, w.shard)
		}
	}
}

// waits puts a block behind its gates, if one is closed, or if another block
// waits that shares a gate with it: elements of one window stay in order (I13),
// while those of other windows may pass.
func (e *Engine) waits(st *stage, i int, p entry, gates []GateID) bool {
	w := &waiting{stage: st, shard: i, entry: p, gates: gates}
	sh := &st.shards[i]
	for _, id := range gates {
		if g := e.gates[id]; g != nil && !g.open {
			w.closed++
			g.waiters = append(g.waiters, w)
		}
	}
	if w.closed == 0 && !e.behind(w, sh) || e.broken == ignoreGates {
		return false
	}
	sh.gated = append(sh.gated, w)
	st.apart.add(&p)
	return true
}

// behind tells whether w must stay behind one that waits in the shard.
func (e *Engine) behind(w *waiting, sh *shard) bool {
	return e.broken != overtake && slices.ContainsFunc(sh.gated, w.shares)
}

// shares tells whether two blocks wait at the same gate.
func (w *waiting) shares(o *waiting) bool {
	return slices.ContainsFunc(w.gates, func(id GateID) bool { return slices.Contains(o.gates, id) })
}

// letThrough queues the blocks of a shard that nothing holds any more.
func (e *Engine) letThrough(st *stage, i int) {
	sh := &st.shards[i]
	all := sh.gated
	sh.gated = nil
	for _, w := range all {
		if w.closed > 0 || e.behind(w, sh) {
			sh.gated = append(sh.gated, w)
			continue
		}
		st.apart.sub(&w.entry)
		e.enqueue(st, i, w.entry)
	}
}
