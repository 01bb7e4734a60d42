package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"fresnel/internal/beam"
)

// The simulation runs random plans on an engine with executors that carry real
// elements, and compares what arrives in the sinks with a model that computes
// the same plan in one go.
//
//	plan (seed) ──▶ model ──────────────────────────▶ expected sinks
//	     │                                                  ║
//	     └──▶ engine ◀──▶ executors, random order, faults ─▶ sinks
//	             │
//	             └── every step: the invariants

// elem is an element. Of its fields only key, val and time are content; the
// others trace the way that it came.
type elem struct {
	key  int
	val  int64
	time beam.EventTime
	// from and to are a restriction, or an accumulator's count.
	from, to int
	// origin, seq: elements of one origin that came the same trail stand in the
	// order of seq. Origin 0 has no order.
	origin, trail uint64
	seq           int
}

// simKind is what a stage of a random plan computes.
type simKind int

const (
	simSource simKind = iota
	simScript
	simMap
	// simSide adds the content of side inputs' windows to each element.
	simSide
	// simSDF expands restrictions, and may be checkpointed and split.
	simSDF
	// simGroup combines by key and window when the window has ended.
	simGroup
	// simBuffer keeps elements for some time of the clock.
	simBuffer
	// simCount numbers the elements of each key.
	simCount
	// simAccum is a simGroup that has its accumulators merged by a simMerge.
	simAccum
	simMerge
	simSink
)

var simKindNames = [...]string{"source", "script", "map", "side", "sdf", "group", "buffer", "count", "accum",
	"merge", "sink"}

// simStage is a stage of a random plan.
type simStage struct {
	kind simKind
	spec StageSpec
	// window is the size of windows of groups; oneKey makes all keys 0.
	window beam.EventTime
	oneKey bool
	// late is the time of what a simCount emits: after all that it gets.
	late beam.EventTime
	// sides are the window sizes of side inputs.
	sides []beam.EventTime
	// batches are what sources read, by shard.
	batches [][]simBatch
}

type simBatch struct {
	elems     []elem
	watermark beam.EventTime
	rest      time.Duration
}

type simRouting int

const (
	simKeep simRouting = iota
	simByKey
	simSpread
)

// simPlan is a random plan.
type simPlan struct {
	stages  []*simStage
	edges   []EdgeSpec
	routing []simRouting
	// opens tells which side edges bring exactly one pane for each window, so that
	// a pane opens the gate.
	opens   []bool
	pools   []PoolSpec
	options Options
}

func (p *simPlan) spec() Spec {
	s := Spec{Edges: p.edges, Pools: p.pools, Options: p.options}
	for _, st := range p.stages {
		s.Stages = append(s.Stages, st.spec)
	}
	return s
}

// collection is an output that stages may read.
type collection struct{ stage, output int }

type planner struct {
	*rand.Rand
	plan simPlan
	open []collection
	// unruly collections have late elements; only maps and sinks take those,
	// where nothing depends on the watermark.
	unruly map[collection]bool
	used   map[collection]bool
}

// endOfSim is after all times of sources and what functions add to them.
const endOfSim beam.EventTime = 10_000

func newSimPlan(rng *rand.Rand) *simPlan {
	p := &planner{Rand: rng, used: map[collection]bool{}, unruly: map[collection]bool{}}
	p.plan.pools = []PoolSpec{
		{Name: "go", Native: true, Slots: 2 + rng.IntN(4)},
		{Name: "py", Slots: 1 + rng.IntN(3), Measurable: rng.IntN(2) == 0},
		{Name: "js", Slots: 1 + rng.IntN(2), Measurable: rng.IntN(2) == 0},
	}
	p.plan.options = Options{
		Streaming: rng.IntN(2) == 0, UserRetries: -1, LostRetries: -1, Backoff: 10 * time.Millisecond,
		MaxBundleElements: []int{0, 1, 3, 10}[rng.IntN(4)], MaxBundleBytes: []int{0, 0, 30}[rng.IntN(3)],
		MaxPendingBytes: []int64{0, 0, 100}[rng.IntN(3)],
		Durable:         rng.IntN(2) == 0, fine: []int{0, 6}[rng.IntN(2)],
	}
	for range 1 + rng.IntN(2) {
		p.source()
	}
	for range 1 + rng.IntN(6) {
		p.transform()
	}
	p.sinks()
	return &p.plan
}

func (p *planner) add(st *simStage, inputs ...collection) int {
	i := len(p.plan.stages)
	st.spec.Name = fmt.Sprintf("%s%d", simKindNames[st.kind], i)
	st.spec.Shards = 1 + p.IntN(4)
	st.late = endOfSim * beam.EventTime(i)
	p.plan.stages = append(p.plan.stages, st)
	for _, in := range inputs {
		p.edge(in, i, 0, Main)
	}
	for o := range st.spec.Outputs {
		p.open = append(p.open, collection{i, o})
	}
	return i
}

func (p *planner) edge(from collection, to, input int, kind EdgeKind) {
	p.used[from] = true
	st := p.plan.stages[to]
	routing := simRouting(p.IntN(3))
	if st.spec.Exclusive || kind != Main {
		routing = simByKey
	}
	p.plan.edges = append(p.plan.edges, EdgeSpec{From: from.stage, Output: from.output, To: to, Input: input,
		Kind: kind, Keep: routing == simKeep})
	p.plan.routing = append(p.plan.routing, routing)
	p.plan.opens = append(p.plan.opens, false)
}

func (p *planner) source() {
	st := &simStage{kind: simSource, spec: StageSpec{Role: Source, Outputs: 1}}
	if p.IntN(4) == 0 {
		st.kind, st.spec.Role = simScript, Script
	}
	i := p.add(st)
	for range st.spec.Shards {
		st.batches = append(st.batches, p.batches(i, len(st.batches)))
	}
	if p.IntN(4) == 0 && i > 0 {
		p.unruly[collection{i, 0}] = true
		for _, batches := range st.batches {
			for k := range batches {
				for j := range batches[k].elems {
					batches[k].elems[j].time /= beam.EventTime(1 + p.IntN(3))
				}
			}
		}
	}
}

func (p *planner) batches(stage, shard int) []simBatch {
	var all []simBatch
	watermark, seq := beam.EventTime(0), 0
	for range 1 + p.IntN(8) {
		b := simBatch{}
		for range p.IntN(6) {
			b.elems = append(b.elems, elem{key: p.IntN(5), val: p.Int64N(1000),
				time: watermark + beam.EventTime(p.IntN(100)), origin: mix(1, stage, shard), seq: seq})
			seq++
		}
		watermark += beam.EventTime(p.IntN(60))
		b.watermark = watermark
		if p.IntN(4) == 0 {
			b.rest = time.Duration(p.IntN(50)) * time.Millisecond
		}
		all = append(all, b)
	}
	return all
}

// inputs picks one to three collections, each once.
func (p *planner) inputs() []collection {
	picked := []collection{p.one()}
	for p.IntN(3) == 0 && len(picked) < 3 {
		if c := p.one(); !slices.Contains(picked, c) {
			picked = append(picked, c)
		}
	}
	return picked
}

// one picks a collection without late elements.
func (p *planner) one() collection {
	for {
		if c := p.open[p.IntN(len(p.open))]; !p.unruly[c] {
			return c
		}
	}
}

func (p *planner) transform() {
	py := 1 + p.IntN(2)
	switch simMap + simKind(p.IntN(int(simMerge-simMap))) {
	case simMap:
		p.mapStage(py)
	case simSide:
		p.side(py)
	case simSDF:
		spec := StageSpec{Pool: py, Outputs: 1, Splittable: true, StableInput: p.IntN(5) == 0}
		if p.IntN(2) == 0 {
			spec.CheckpointAfter = 20 * time.Millisecond
		}
		p.add(&simStage{kind: simSDF, spec: spec}, p.inputs()...)
	case simGroup:
		p.add(p.group(p.IntN(4) == 0), p.inputs()...)
	case simBuffer:
		p.add(&simStage{kind: simBuffer, spec: StageSpec{Pool: py, Outputs: 1, Exclusive: true}}, p.inputs()...)
	case simCount:
		p.add(&simStage{kind: simCount, spec: StageSpec{Pool: py, Outputs: 1, Exclusive: true}}, p.inputs()...)
	case simAccum:
		p.accum(py)
	}
}

func (p *planner) mapStage(pool int) {
	st := &simStage{kind: simMap, spec: StageSpec{Pool: pool, Outputs: 1 + p.IntN(2),
		StableInput: p.IntN(3) == 0, Splittable: p.IntN(2) == 0}}
	inputs, late := p.inputs(), false
	if c := p.open[p.IntN(len(p.open))]; !slices.Contains(inputs, c) {
		inputs, late = append(inputs, c), p.unruly[c]
	}
	i := p.add(st, inputs...)
	for o := range st.spec.Outputs {
		p.unruly[collection{i, o}] = late
	}
}

func (p *planner) group(oneKey bool) *simStage {
	return &simStage{kind: simGroup, window: beam.EventTime(20 + p.IntN(80)), oneKey: oneKey,
		spec: StageSpec{Outputs: 1, Exclusive: true}}
}

func (p *planner) accum(pool int) {
	st := p.group(false)
	st.kind = simAccum
	i := p.add(st, p.inputs()...)
	st.spec.Outputs = 2
	merge := p.add(&simStage{kind: simMerge, spec: StageSpec{Pool: pool, Outputs: 1}}, collection{i, 1})
	p.open = p.open[:len(p.open)-1] // only the group reads it
	p.edge(collection{merge, 0}, i, 1, Feedback)
}

// side makes a stage with side inputs, some of which get one pane a window.
func (p *planner) side(pool int) {
	st := &simStage{kind: simSide, spec: StageSpec{Pool: pool, Outputs: 1, SideInputs: 1 + p.IntN(2)}}
	var sides []collection
	for range st.spec.SideInputs {
		side, window := p.one(), beam.EventTime(20+p.IntN(80))
		if p.IntN(2) == 0 {
			group := p.group(true)
			side, window = collection{p.add(group, side), 0}, group.window
		}
		sides = append(sides, side)
		st.sides = append(st.sides, window)
	}
	i := p.add(st, p.inputs()...)
	for k, side := range sides {
		p.edge(side, i, k, Side)
		from := p.plan.stages[side.stage]
		p.plan.opens[len(p.plan.opens)-1] = from.oneKey && from.window == st.sides[k]
	}
}

// sinks read what nobody else does, and some of the rest.
func (p *planner) sinks() {
	var ins [2][]collection
	for _, c := range p.open {
		k := p.IntN(2)
		if !p.used[c] || p.IntN(3) == 0 {
			ins[k] = append(ins[k], c)
		}
		if p.IntN(6) == 0 {
			ins[1-k] = append(ins[1-k], c)
		}
	}
	for _, in := range ins {
		p.add(&simStage{kind: simSink, spec: StageSpec{Role: Sink, MaxEntryRows: p.IntN(4)}}, in...)
	}
}

// mix hashes numbers.
func mix[T ~int | ~int64 | ~uint64](seed uint64, all ...T) uint64 {
	h := seed*0x9e3779b97f4a7c15 + 1
	for _, v := range all {
		h ^= uint64(v) + 0x9e3779b97f4a7c15 + h<<6 + h>>2
		h *= 0xff51afd7ed558ccd
		h ^= h >> 33
	}
	return h
}

// String draws the plan, for failures.
func (p *simPlan) String() string {
	s := ""
	for i, st := range p.stages {
		s += fmt.Sprintf("%s: %d shards", st.spec.Name, st.spec.Shards)
		for k, edge := range p.edges {
			if edge.To == i {
				s += fmt.Sprintf(", <- %s.%d %v", p.stages[edge.From].spec.Name, edge.Output,
					[]string{"keep", "by key", "spread"}[p.routing[k]])
				s += []string{"", " (side)", " (feedback)"}[edge.Kind]
			}
		}
		s += "\n"
	}
	return s
}
