package engine

import (
	"fresnel/internal/beam"
)

// stage is what the engine knows of a stage: its place in the graph, how far
// its times have come, and what is there for it to do.
type stage struct {
	StageSpec
	// rank is the stage's place in topological order.
	index, rank int
	pool        *pool // nil for a sink
	// classes is the number of sets of shards that bundles may combine: shards
	// that are equal modulo classes (EdgeSpec.Keep).
	classes int
	// ports are the inputs that each output feeds.
	ports [][]port
	// upstream are the stages that the input comes from, for a stage that may
	// gather it.
	upstream []*stage

	progress
	shards []shard
	// finalizes: bundles have asked for finalization.
	finalizes bool
	backlog
}

// port is a consumer's end of an edge.
type port struct {
	to   *stage
	kind EdgeKind
	// side is the side input's number; slot is the edge's place among those that
	// feed the same input watermark.
	side, slot int
}

// backlog is what waits to be done.
type backlog struct {
	// lanes list the shards that are ready, for the worker at each position of
	// the pool where shards stick to workers, all in the first otherwise.
	lanes []lane
	// again are bundles that are formed already and may start: those that failed
	// and residuals whose place in the order is taken.
	again []*bundle
	// since is the pool's pick count when the stage last started a bundle or got
	// ready.
	since int
	// queued counts what is in shard queues, apart counts blocks that wait for
	// gates or the clock, running counts bundles in flight.
	queued, apart amount
	running       int
	// bundles and failures count bundles that committed and attempts that did not,
	// consumed what has been worked off.
	bundles, failures int
	consumed          amount
	cost              cost
	yield             yield
	width             width
	pairing           pairing
}

// amount counts blocks and what is in them.
type amount struct{ blocks, elements, bytes int }

func (a *amount) add(p *entry) {
	a.blocks++
	a.elements += int(p.count)
	a.bytes += p.bytes
}

func (a *amount) addAll(blocks []InputBlock) {
	for i := range blocks {
		a.blocks++
		a.elements += int(clampCount(blocks[i].Block.Count))
		a.bytes += clamp(blocks[i].Block.Bytes)
	}
}

func (a *amount) plus(o amount) {
	a.blocks += o.blocks
	a.elements += o.elements
	a.bytes += o.bytes
}

func (a *amount) sub(p *entry) {
	a.blocks--
	a.elements -= int(p.count)
	a.bytes -= p.bytes
}

// lane lists ready shards, longest ready first.
type lane struct {
	shards []int
	// deferred is when a small bundle was first held back, never if none is; since
	// is when the lane last gave a bundle, or got its first shard.
	deferred, since instant
}

func (l *lane) add(shard int, now instant) {
	if len(l.shards) == 0 {
		l.since = now
	}
	l.shards = append(l.shards, shard)
}

func newLane() lane { return lane{deferred: never} }

// shard is a slice of a stage's key space.
type shard struct {
	queue queue
	// gated are blocks that wait for gates, in order.
	gated []*waiting
	// order lists the bundles that have work of this shard and have not
	// committed, in the order of their input (I13). An exclusive shard has at
	// most one (I4).
	order []*bundle
	// home is the position of the worker that an exclusive shard sticks to; -1
	// while there is none.
	home   int
	listed bool
	// nextEvent and nextClock are when timers are due; nextClock of a source is
	// when it may go on.
	nextEvent beam.EventTime
	nextClock instant
	// done is the end of a source's shard.
	done bool
	// outbox is the entry of a sink that is not acknowledged yet.
	outbox *outbox
	// early is a bundle that owns the shard before its input has been committed.
	early *bundle
	// entries counts the sink's entries of this shard.
	entries int64
	// lastRank is the rank of the block that arrived last (Options.Durable).
	lastRank rank
}

func newStage(index int, spec StageSpec) *stage {
	st := &stage{StageSpec: spec, index: index, classes: 1}
	st.shards = make([]shard, spec.Shards)
	for i := range st.shards {
		st.shards[i] = shard{home: -1, nextEvent: NoEvent, nextClock: never}
		if st.reads() {
			st.shards[i].nextClock = 0
		}
	}
	st.progress = newProgress(spec)
	st.lanes = []lane{newLane()}
	return st
}

// reads tells whether the stage makes its own input.
func (st *stage) reads() bool { return st.Role == Source || st.Role == Script }

// checkpoints tells whether the stage's elements can be cut short.
func (st *stage) checkpoints() bool { return st.Splittable || st.CheckpointAfter > 0 }

// class names the set of shards that i may share a bundle with.
func (st *stage) class(i int) int { return i % st.classes }

// keep notes that shards only combine where a consumer with n shards sees them
// as one.
func (st *stage) keep(n int) {
	st.classes = min(lcm(st.classes, n), st.Shards)
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// lane that a shard's work stands in.
func (st *stage) lane(i int) *lane {
	if !st.Exclusive || st.shards[i].home < 0 {
		return &st.lanes[0]
	}
	return &st.lanes[st.shards[i].home]
}

// deferring tells whether the stage holds back small bundles, and nothing else.
func (st *stage) deferring() bool {
	deferring := false
	for i := range st.lanes {
		if len(st.lanes[i].shards) > 0 && st.lanes[i].deferred == never {
			return false
		}
		deferring = deferring || len(st.lanes[i].shards) > 0
	}
	return deferring && len(st.again) == 0
}

// idle tells whether the stage has nothing that could start now.
func (st *stage) idle() bool {
	if len(st.again) > 0 {
		return false
	}
	for i := range st.lanes {
		if len(st.lanes[i].shards) > 0 {
			return false
		}
	}
	return true
}
