package engine

import (
	"fmt"
	"math"
	"time"

	"fresnel/internal/beam"
)

// New makes an engine for a graph, or tells what is wrong with it.
func New(spec Spec) (*Engine, error) {
	e, err := assemble(spec)
	if err != nil {
		return nil, err
	}
	e.begin()
	return e, nil
}

// assemble makes an engine that knows the graph, and nothing of the job yet.
func assemble(spec Spec) (*Engine, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	e := &Engine{
		Options: spec.Options.withDefaults(),
		edges:   spec.Edges,
		bundles: map[BundleID]*bundle{},
		readers: map[BlockID]int32{},
		gates:   map[GateID]*gate{},
		dirty:   newBitset(len(spec.Stages)),
		clocks:  newMinTree(len(spec.Stages), never),
		epoch:   wallEpoch,
		image:   image{shape: shapeOf(&spec)},
	}
	e.build(spec)
	if err := e.connect(spec.Edges); err != nil {
		return nil, err
	}
	return e, nil
}

func (o Options) withDefaults() Options {
	def(&o.TargetBundle, 300*time.Millisecond)
	def(&o.SplitAfter, 50*time.Millisecond)
	def(&o.BusyLimit, 0.7)
	o.BusyLimit = min(o.BusyLimit, 0.99)
	def(&o.MaxBundleElements, math.MaxInt)
	def(&o.fine, fineBits)
	def(&o.MaxBundleBytes, math.MaxInt)
	def(&o.MaxBundleOutput, math.MaxInt)
	return o
}

// def gives an option that is not set its default.
func def[T int | float64 | time.Duration](option *T, value T) {
	if *option <= 0 {
		*option = value
	}
}

func (e *Engine) build(spec Spec) {
	for i, p := range spec.Pools {
		e.pools = append(e.pools, newPool(i, p, len(spec.Stages), spec.Options.Streaming))
	}
	for i, s := range spec.Stages {
		def(&s.MaxEntryRows, math.MaxInt)
		def(&s.MaxEntryBytes, math.MaxInt)
		st := newStage(i, s)
		e.stages = append(e.stages, st)
		if s.Role != Sink {
			st.pool = e.pools[s.Pool]
			st.pool.stages = append(st.pool.stages, st)
			st.cost, st.pairing = newCost(st.pool.PerBundle), newPairing()
		}
	}
}

// connect gives the stages their edges and their ranks.
func (e *Engine) connect(edges []EdgeSpec) error {
	mains := make([]int, len(e.stages))
	for _, st := range e.stages {
		st.ports = make([][]port, st.Outputs)
	}
	sides := map[[2]int]int{}
	for _, edge := range edges {
		from, to := e.stages[edge.From], e.stages[edge.To]
		p := port{to: to, kind: edge.Kind}
		switch edge.Kind {
		case Main:
			p.slot = mains[edge.To]
			mains[edge.To]++
		case Side:
			p.side = edge.Input
			p.slot = sides[[2]int{edge.To, edge.Input}]
			sides[[2]int{edge.To, edge.Input}]++
		}
		if edge.Keep && edge.Kind != Side {
			from.keep(to.Shards)
		}
		from.ports[edge.Output] = append(from.ports[edge.Output], p)
	}
	for i, st := range e.stages {
		st.producers = producers(mains[i])
		for k := range st.sides {
			st.sides[k].producers = producers(sides[[2]int{i, k}])
		}
	}
	if err := e.rank(edges); err != nil {
		return err
	}
	e.findUpstream()
	return nil
}

// producers starts at the beginning of time; where there are none nothing can
// come.
func producers(n int) minTree[beam.EventTime] {
	if n == 0 {
		return newMinTree(0, beam.MaxEventTime)
	}
	return newMinTree(n, beam.MinEventTime)
}

// rank puts the stages in topological order, feedback aside.
func (e *Engine) rank(edges []EdgeSpec) error {
	before := make([]int, len(e.stages))
	for _, edge := range edges {
		if edge.Kind != Feedback {
			before[edge.To]++
		}
	}
	next := newBitset(len(e.stages))
	for i, n := range before {
		if n == 0 {
			next.set(i)
		}
	}
	for i := next.next(0); i >= 0; i = next.next(0) {
		next.clear(i)
		st := e.stages[i]
		st.rank = len(e.byRank)
		e.byRank = append(e.byRank, st)
		for _, ports := range st.ports {
			for _, p := range ports {
				if p.kind == Feedback {
					continue
				}
				if before[p.to.index]--; before[p.to.index] == 0 {
					next.set(p.to.index)
				}
			}
		}
	}
	if len(e.byRank) < len(e.stages) {
		return fmt.Errorf("engine: the graph has a cycle that is not marked as feedback")
	}
	return nil
}

// begin readies what can run without input, and lets watermarks through stages
// that have none.
func (e *Engine) begin() {
	for _, p := range e.pools {
		for _, st := range p.stages {
			for len(st.lanes) < len(p.workers) {
				st.lanes = append(st.lanes, newLane())
			}
		}
		for _, w := range p.workers {
			for _, st := range p.stages {
				e.settleIn(st, w)
			}
		}
	}
	for _, st := range e.stages {
		if !st.final() {
			e.unfinished++
		}
		e.reading += st.reading()
		if st.Role == Script {
			e.scripts++
		}
		for k := range st.sides {
			e.passSide(st, k)
		}
		for i := range st.shards {
			e.refresh(st, i)
		}
		e.touch(st)
	}
	e.propagate()
}

// reading counts the shards that are not at their end.
func (st *stage) reading() int {
	n := 0
	for i := range st.shards {
		if st.reads() && !st.shards[i].done {
			n++
		}
	}
	return n
}

// check tells what is wrong with a graph.
func (s *Spec) check() error {
	for i := range s.Pools {
		if s.Pools[i].Slots < 1 {
			return fmt.Errorf("engine: pool %q has no slots", s.Pools[i].Name)
		}
	}
	for i := range s.Stages {
		if err := s.checkStage(&s.Stages[i]); err != nil {
			return fmt.Errorf("engine: stage %q %w", s.Stages[i].Name, err)
		}
	}
	for i := range s.Edges {
		if err := s.checkEdge(&s.Edges[i]); err != nil {
			return fmt.Errorf("engine: edge %d %w", i, err)
		}
	}
	return nil
}

func (s *Spec) checkStage(st *StageSpec) error {
	switch {
	case st.Role > Script:
		return fmt.Errorf("has role %d, which does not exist", st.Role)
	case st.Shards < 1:
		return fmt.Errorf("has no shards")
	case st.Outputs < 0 || st.SideInputs < 0:
		return fmt.Errorf("has a negative number of outputs or side inputs")
	case st.Role != Sink && (st.Pool < 0 || st.Pool >= len(s.Pools)):
		return fmt.Errorf("runs in pool %d of %d", st.Pool, len(s.Pools))
	}
	return nil
}

func (s *Spec) checkEdge(edge *EdgeSpec) error {
	if edge.From < 0 || edge.From >= len(s.Stages) || edge.To < 0 || edge.To >= len(s.Stages) {
		return fmt.Errorf("is between stages %d and %d of %d", edge.From, edge.To, len(s.Stages))
	}
	from, to := &s.Stages[edge.From], &s.Stages[edge.To]
	switch {
	case edge.Kind > Feedback:
		return fmt.Errorf("has kind %d, which does not exist", edge.Kind)
	case edge.Output < 0 || edge.Output >= from.Outputs:
		return fmt.Errorf("starts at output %d of %q, which has %d", edge.Output, from.Name, from.Outputs)
	case edge.Kind == Side && (edge.Input < 0 || edge.Input >= to.SideInputs):
		return fmt.Errorf("ends at side input %d of %q, which has %d", edge.Input, to.Name, to.SideInputs)
	case edge.Kind != Side && (to.Role == Source || to.Role == Script):
		return fmt.Errorf("feeds %q, which has no input", to.Name)
	}
	return nil
}
