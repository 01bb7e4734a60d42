package runner

import (
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/translate"
)

// edge is an edge of the plan at run time: how the elements of an output find
// the shards of a consumer.
type edge struct {
	index int
	plan  translate.Edge
	to    *stage
	// shards of the consumer.
	shards int
	key    *coder.Coder // the KV coder, for ByKey
	gater  *gater
	// side is the side input that the edge feeds, triggered if panes of it may
	// come before its windows end.
	side        *state.SideInput
	triggered   bool
	sideWindows *coder.Coder
	wholeEnd    beam.EventTime
}

// maxBlock is where a block that is being filled is cut.
const maxBlock = 1 << 20

// whole tells that blocks pass along the edge as they are.
func (e *edge) whole() bool {
	return e.plan.Kind != translate.SideInput && e.plan.Routing == translate.Keep && (e.gater == nil || len(e.gater.sides) == 0)
}

// shardOf deals a key. The hash is FNV-1a with a final mix, fixed for good:
// state is kept by it.
func shardOf(key []byte, shards int) int {
	h := uint64(14695981039346656037)
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	h ^= h >> 29
	return int(h % uint64(shards))
}

// sender fills the blocks of one edge for one bundle.
type sender struct {
	edge *edge
	c    *collector
	// open are the blocks being filled, by shard and gates.
	open  map[openKey]*openBlock
	order []*openBlock
	next  int // round robin of Spread
	delta *state.SideDelta
	sc    []engine.Gate
}

type openKey struct {
	shard int
	gate  engine.GateID // the first gate; 0 if none
	more  int           // number of gates: several gates make a block of their own
}

type openBlock struct {
	shard int
	data  []byte
	count int
	min   beam.EventTime
	gates []engine.Gate
}

// element routes one element.
func (s *sender) element(w *coder.Windowed, el *coder.Element) error {
	if s.edge.plan.Kind == translate.SideInput {
		return s.sideElement(w, el)
	}
	shard, err := s.shard(el)
	if err != nil {
		return err
	}
	s.sc = s.sc[:0]
	if s.edge.gater != nil {
		if s.sc, err = s.edge.gater.of(s.sc, w, el); err != nil {
			return err
		}
	}
	b := s.block(shard)
	b.data = append(b.data, el.Raw...)
	b.count++
	b.min = min(b.min, el.Timestamp)
	if len(b.data) >= maxBlock || s.edge.plan.Routing == translate.Spread && b.count >= s.c.spreadCount {
		s.close(b)
	}
	return nil
}

func (s *sender) shard(el *coder.Element) (int, error) {
	switch s.edge.plan.Routing {
	case translate.ByKey:
		key, _, err := s.edge.key.SplitKV(el.Value)
		if err != nil {
			return 0, err
		}
		return shardOf(key, s.edge.shards), nil
	case translate.Spread:
		return s.next % s.edge.shards, nil
	}
	return s.c.lane % s.edge.shards, nil
}

// block returns the open block for a shard and the gates in s.sc.
func (s *sender) block(shard int) *openBlock {
	k := openKey{shard: shard, more: len(s.sc)}
	if len(s.sc) > 0 {
		k.gate = s.sc[0].ID
	}
	if b := s.open[k]; b != nil && sameGates(b.gates, s.sc) {
		return b
	}
	if b := s.open[k]; b != nil {
		s.close(b)
	}
	b := &openBlock{shard: shard, min: beam.MaxEventTime, gates: append([]engine.Gate(nil), s.sc...)}
	if s.open == nil {
		s.open = map[openKey]*openBlock{}
	}
	s.open[k] = b
	s.order = append(s.order, b)
	return b
}

func sameGates(a, b []engine.Gate) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID {
			return false
		}
	}
	return true
}

// close emits an open block.
func (s *sender) close(b *openBlock) {
	if b.count > 0 {
		s.c.emit(s.edge, b.shard, b.data, b.count, b.min, b.gates)
		s.next++
	}
	*b = openBlock{shard: b.shard, min: beam.MaxEventTime, gates: b.gates}
}

// run routes a whole run of elements without looking at each.
func (s *sender) run(data []byte, count int, minTime beam.EventTime) {
	var gates []engine.Gate
	if s.edge.gater != nil {
		gates = s.edge.gater.static
	}
	s.c.emit(s.edge, s.c.lane%s.edge.shards, data, count, minTime, gates)
}

func (s *sender) sideElement(w *coder.Windowed, el *coder.Element) error {
	if s.delta == nil {
		s.delta = &state.SideDelta{}
	}
	return w.EachWindow(el, func(raw []byte) error {
		return s.delta.Add(raw, el.Value, s.edge.key)
	})
}

// finish emits what is still open.
func (s *sender) finish() {
	for _, b := range s.order {
		s.close(b)
	}
	if s.delta != nil {
		s.finishSide()
	}
}

func (s *sender) finishSide() {
	s.c.fx.sides = append(s.c.fx.sides, sideDelta{s.edge.side, s.delta})
	if !s.edge.triggered {
		return
	}
	whole := gateKey{s.edge.to.index, s.edge.plan.Input, ""}
	s.c.open(s.c.job.gates.get(whole, s.edge.wholeEnd))
	s.delta.Windows(func(raw string) {
		if end, err := s.edge.sideWindows.MaxTimestamp([]byte(raw)); err == nil && raw != "" {
			s.c.open(s.c.job.gates.get(gateKey{whole.stage, whole.input, raw}, end))
		}
	})
}
