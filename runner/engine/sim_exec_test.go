package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"fresnel/internal/beam"
)

// simState is the state of one shard, as of the last commit. It is never
// changed, only replaced.
type simState struct {
	groups map[group]acc
	fresh  map[group]int // values since the last merge
	kept   []elem
	flush  time.Time
	counts map[int]int
	batch  int
}

func (s *simState) clone() *simState {
	c := *s
	c.groups, c.fresh, c.counts = maps.Clone(s.groups), maps.Clone(s.fresh), maps.Clone(s.counts)
	c.kept = slices.Clone(s.kept)
	return &c
}

func newSimState() *simState {
	return &simState{groups: map[group]acc{}, fresh: map[group]int{}, counts: map[int]int{}}
}

// execution is one run of a bundle: what it emits, and what it changes.
type execution struct {
	*sim
	b       *simBundle
	st      *simStage
	out     Outcome
	states  map[int]*simState
	emitted [][]emission // by output
	written []BlockID
	sides   []sideWrite
	// newGates are those that it names for the first time, as far as it knows.
	newGates []simGate
}

// emission is an element on its way out of a shard.
type emission struct {
	elem
	shard int
}

// sideWrite is what a side input gains.
type sideWrite struct {
	stage, input int
	elems        []elem
}

// execute runs a bundle on the state that it saw at its start.
func (s *sim) execute(b *simBundle) *execution {
	x := &execution{sim: s, b: b, st: s.plan.stages[b.Stage], states: map[int]*simState{}}
	x.emitted = make([][]emission, x.st.spec.Outputs)
	x.out.Elapsed = s.now.Sub(b.began)
	for _, w := range b.work {
		x.shard(w)
	}
	for o := range x.emitted {
		x.route(o)
	}
	x.out.Finalize = s.rng.IntN(10) == 0
	return x
}

func (x *execution) emit(output, shard int, e elem) {
	e.trail = mix(e.trail, output)
	x.emitted[output] = append(x.emitted[output], emission{e, shard})
}

// shard runs the bundle's part of one shard.
func (x *execution) shard(w ShardWork) {
	switch x.st.kind {
	case simSource, simScript:
		x.read(w.Shard)
	case simMap:
		for _, e := range x.elems(w) {
			for o := range x.st.spec.Outputs {
				for _, m := range e.mapped(o) {
					x.emit(o, w.Shard, m)
				}
			}
		}
	case simSide:
		for _, e := range x.elems(w) {
			x.emit(0, w.Shard, x.st.withSides(e, x.b.sides))
		}
	case simSDF:
		x.expand(w)
	case simMerge:
		for _, e := range x.elems(w) {
			x.emit(0, w.Shard, e)
		}
	default:
		x.stateful(w)
	}
}

// elems are the elements of the shard's blocks, with the trail of the way here.
func (x *execution) elems(w ShardWork) []elem {
	var all []elem
	for _, in := range w.Blocks {
		for _, e := range x.blocks[in.Block.ID].elems {
			all = append(all, x.plan.arrived(x.b.Stage, w.Shard, in.Input, e))
		}
	}
	return all
}

// arrived marks the trail of an element that comes into a shard. Behind gates,
// only elements of the same windows stay in order.
func (p *simPlan) arrived(stage, shard, input int, e elem) elem {
	e.trail = mix(e.trail, stage, shard, input)
	st := p.stages[stage]
	for _, window := range st.sides {
		e.trail = mix(e.trail, windowEnd(e.time, window))
	}
	if st.kind == simBuffer {
		e.trail = mix(e.trail, e.key)
	}
	return e
}

func (x *execution) read(shard int) {
	state := x.b.states[shard].clone()
	p := SourceProgress{Shard: shard, Output: -1, Watermark: beam.MinEventTime, Done: true}
	if batches := x.st.batches[shard]; state.batch < len(batches) {
		batch := batches[state.batch]
		for _, e := range batch.elems {
			x.emit(0, shard, e)
		}
		state.batch++
		p.Watermark, p.Done = batch.watermark, state.batch == len(batches)
		if batch.rest > 0 {
			p.NotBefore = x.now.Add(batch.rest)
		}
	}
	x.states[shard] = state
	x.out.Sources = append(x.out.Sources, p)
}

// expand runs restrictions, each to its end or to where it checkpoints itself.
func (x *execution) expand(w ShardWork) {
	residual := ShardBlocks{Shard: w.Shard}
	for _, e := range x.elems(w) {
		from, to := e.restriction()
		stop := to
		if x.rng.IntN(4) == 0 && !x.b.Drain {
			stop = from + x.rng.IntN(to-from+1)
		}
		for at := from; at < stop; at++ {
			x.emit(0, w.Shard, e.position(at))
		}
		if stop < to {
			rest := e.restricted(stop, to)
			block := x.restBlock([]elem{rest})
			if x.rng.IntN(2) == 0 {
				block.NotBefore = x.now.Add(time.Duration(x.rng.IntN(30)) * time.Millisecond)
				x.blocks[block.ID].meta.NotBefore = block.NotBefore
			}
			x.written = append(x.written, block.ID)
			residual.Blocks = append(residual.Blocks, InputBlock{Block: block})
		}
	}
	if len(residual.Blocks) > 0 {
		x.out.Residuals = append(x.out.Residuals, residual)
	}
}

func (e elem) restriction() (from, to int) {
	if e.to > 0 {
		return e.from, e.to
	}
	return 0, e.size()
}

func (e elem) restricted(from, to int) elem {
	e.from, e.to, e.origin = from, to, 0
	return e
}

// hold is the watermark estimate of what is left of a restriction.
func (e elem) hold() beam.EventTime {
	from, _ := e.restriction()
	return e.time + beam.EventTime(from*rate)
}

func (x *execution) stateful(w ShardWork) {
	state := x.b.states[w.Shard].clone()
	x.states[w.Shard] = state
	switch x.st.kind {
	case simCount:
		for _, e := range x.elems(w) {
			n := state.counts[e.key]
			state.counts[e.key]++
			x.emit(0, w.Shard, elem{key: e.key, val: int64(n), time: x.st.late,
				origin: mix(2, x.b.Stage, e.key), seq: n})
		}
	case simBuffer:
		x.buffer(w, state)
	default:
		x.group(w, state)
	}
}

func (x *execution) buffer(w ShardWork, state *simState) {
	state.kept = append(state.kept, x.elems(w)...)
	if len(state.kept) > 0 && state.flush.IsZero() {
		state.flush = x.now.Add(time.Duration(x.rng.IntN(40)) * time.Millisecond)
	}
	if w.ProcessingDue {
		for _, e := range state.kept {
			x.emit(0, w.Shard, e)
		}
		state.kept, state.flush = nil, time.Time{}
	}
	t := ShardTimes{Shard: w.Shard, NextEvent: NoEvent, NextProcessing: state.flush, Hold: beam.MaxEventTime}
	for _, e := range state.kept {
		t.Hold = min(t.Hold, e.time)
	}
	x.out.Shards = append(x.out.Shards, t)
}

func (x *execution) group(w ShardWork, state *simState) {
	for _, in := range w.Blocks {
		for _, e := range x.blocks[in.Block.ID].elems {
			x.collect(state, in.Input, e)
		}
	}
	t := ShardTimes{Shard: w.Shard, NextEvent: NoEvent, Hold: beam.MaxEventTime}
	for _, g := range slices.SortedFunc(maps.Keys(state.groups), compareGroups) {
		a := state.groups[g]
		due := w.EventDue && g.end < x.b.Watermark
		switch {
		case a.away:
		case due:
			e := g.result(a)
			e.origin = mix(4, int64(x.b.Stage), int64(g.key), int64(g.end))
			x.emit(0, w.Shard, e)
			delete(state.groups, g)
			continue
		case x.st.kind == simAccum && state.fresh[g] >= 3:
			x.emit(1, w.Shard, elem{key: g.key, val: a.sum, from: a.n, time: g.end})
			a = acc{away: true}
		}
		state.groups[g] = a
		t.Hold = min(t.Hold, g.end)
		if !a.away {
			t.NextEvent = min(t.NextEvent, g.end+1)
		}
	}
	x.out.Shards = append(x.out.Shards, t)
}

func compareGroups(a, b group) int {
	return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.key, b.key))
}

// collect adds an element, or an accumulator that comes back, to its group.
func (x *execution) collect(state *simState, input int, e elem) {
	g := x.st.groupOf(e)
	a := state.groups[g]
	switch {
	case input == 1:
		a.sum, a.n, a.away = a.sum+e.val, a.n+e.from, false
		state.fresh[g] = 0
	default:
		if g.end < x.b.Watermark {
			x.failf("I5: %s gets an element at %d that is late at %d", x.st.spec.Name, e.time, x.b.Watermark)
		}
		a.sum, a.n = a.sum+e.val, a.n+1
		state.fresh[g]++
	}
	state.groups[g] = a
}

// route deals what was emitted on an output to the shards of its consumers.
func (x *execution) route(output int) {
	shared := []BlockID(nil)
	for k, edge := range x.plan.edges {
		if edge.From != x.b.Stage || edge.Output != output {
			continue
		}
		if edge.Kind == Side {
			x.writeSide(k, edge, output)
			continue
		}
		parts := x.deal(k, edge, output)
		if len(parts) == 1 && len(x.plan.stages[edge.To].sides) == 0 && shared != nil {
			x.outputShared(k, parts, shared)
			continue
		}
		ids := x.outputParts(k, edge, parts)
		if len(parts) == 1 {
			shared = ids
		}
	}
}

// dealt is what goes to one shard.
type dealt struct {
	shard int
	elems []elem
}

func (x *execution) deal(k int, edge EdgeSpec, output int) []dealt {
	shards := x.plan.stages[edge.To].spec.Shards
	parts := make([]dealt, shards)
	for _, e := range x.emitted[output] {
		to := e.shard % shards
		switch x.plan.routing[k] {
		case simByKey:
			to = e.key % shards
			if g := x.plan.stages[edge.To]; g.oneKey {
				to = 0
			}
		case simSpread:
			to = x.rng.IntN(shards)
		}
		parts[to].shard = to
		parts[to].elems = append(parts[to].elems, e.elem)
	}
	return slices.DeleteFunc(parts, func(d dealt) bool { return len(d.elems) == 0 })
}

// outputParts writes blocks of one to three elements.
func (x *execution) outputParts(k int, edge EdgeSpec, parts []dealt) []BlockID {
	var ids []BlockID
	for _, part := range parts {
		for rest := part.elems; len(rest) > 0; {
			n := min(1+x.rng.IntN(3), len(rest))
			block := x.newBlock(rest[:n:n])
			x.written = append(x.written, block.ID)
			block.Gates = x.gatesOf(edge.To, rest[:n])
			x.out.Outputs = append(x.out.Outputs, Output{Edge: k, Shard: part.shard, Block: block})
			ids = append(ids, block.ID)
			rest = rest[n:]
		}
	}
	return ids
}

// outputShared has a second consumer read the same blocks (I8).
func (x *execution) outputShared(k int, parts []dealt, ids []BlockID) {
	for _, id := range ids {
		x.out.Outputs = append(x.out.Outputs, Output{Edge: k, Shard: parts[0].shard, Block: x.meta(id)})
	}
}

// gatesOf names the gates of the side windows of elements, new ones as such.
func (x *execution) gatesOf(stage int, elems []elem) []GateID {
	var ids []GateID
	for k, window := range x.plan.stages[stage].sides {
		for _, e := range elems {
			g := simGate{stage, k, windowEnd(e.time, window)}
			id := x.gate(g)
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
			if !x.named[g] {
				x.newGates = append(x.newGates, g)
				x.out.NewGates = append(x.out.NewGates, Gate{ID: id, Stage: stage, SideInput: k, End: g.end})
			}
		}
	}
	return ids
}

func (x *execution) writeSide(k int, edge EdgeSpec, output int) {
	w := sideWrite{stage: edge.To, input: edge.Input}
	for _, e := range x.emitted[output] {
		w.elems = append(w.elems, e.elem)
		if x.plan.opens[k] {
			g := simGate{edge.To, edge.Input, windowEnd(e.time, x.plan.stages[edge.To].sides[edge.Input])}
			x.out.Opened = append(x.out.Opened, x.gate(g))
		}
	}
	if len(w.elems) > 0 {
		x.sides = append(x.sides, w)
		x.out.Outputs = append(x.out.Outputs, Output{Edge: k, Block: x.meta(x.newBlock(w.elems).ID)})
	}
}
