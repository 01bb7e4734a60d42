package engine

import "fresnel/internal/beam"

// progress is how far a stage's event time has come.
type progress struct {
	// producers has the output watermark behind each Main edge.
	producers minTree[beam.EventTime]
	sides     []side
	// pending are the holds of all blocks that are queued, apart or in flight.
	pending timeBag
	// holds are the least holds of the shards, or the watermarks of a source's
	// shards; one tree for each output of a source, a single one otherwise.
	holds []minTree[beam.EventTime]
	// events and clocks are the next timers of shards that are neither busy nor
	// ready.
	events minTree[beam.EventTime]
	clocks minTree[instant]

	input  beam.EventTime
	output []beam.EventTime
}

// side is a side input's watermark, and the gates that it opens.
type side struct {
	producers minTree[beam.EventTime]
	watermark beam.EventTime
	// ends are the gates that have not passed, by their end.
	ends heap[*gate]
}

func newProgress(spec StageSpec) progress {
	p := progress{
		input:  beam.MinEventTime,
		output: make([]beam.EventTime, spec.Outputs),
		events: newMinTree(spec.Shards, NoEvent),
		clocks: newMinTree(spec.Shards, never),
		sides:  make([]side, spec.SideInputs),
	}
	for o := range p.output {
		p.output[o] = beam.MinEventTime
	}
	for i := range p.sides {
		p.sides[i].watermark = beam.MinEventTime
	}
	trees, start := 1, beam.MaxEventTime
	if spec.Role == Source || spec.Role == Script {
		trees, start = max(spec.Outputs, 1), beam.MinEventTime
	}
	for range trees {
		p.holds = append(p.holds, newMinTree(spec.Shards, start))
	}
	return p
}

// final tells whether nothing can come out of the stage any more.
func (p *progress) final() bool {
	if p.input < beam.MaxEventTime {
		return false
	}
	for _, out := range p.output {
		if out < beam.MaxEventTime {
			return false
		}
	}
	return true
}

// holdOf is what the shards hold the output at.
func (p *progress) holdOf(output int) beam.EventTime {
	return p.holds[min(output, len(p.holds)-1)].min()
}

// touch has the stage's watermarks computed again before the step ends.
func (e *Engine) touch(st *stage) { e.dirty.set(st.rank) }

// propagate carries changes of watermarks along the graph. A stage changes
// only stages of higher rank, so one pass over those that were touched does.
func (e *Engine) propagate() {
	for r := e.dirty.next(0); r >= 0; r = e.dirty.next(r) {
		e.dirty.clear(r)
		e.advance(e.byRank[r])
	}
}

// advance computes the watermarks of a stage; they never move back (I5).
func (e *Engine) advance(st *stage) {
	wasFinal := st.final()
	if in := e.inputOf(st); in > st.input || in < st.input && e.broken == moveBack {
		st.input = in
		e.ringEvents(st)
	}
	for o := range st.output {
		if out := e.outputOf(st, o); out > st.output[o] || out < st.output[o] && e.broken == moveBack {
			st.output[o] = out
			e.tell(st, o)
		}
	}
	if !wasFinal && st.final() {
		e.unfinished--
	}
}

// inputOf is what the input watermark may move to.
func (e *Engine) inputOf(st *stage) beam.EventTime {
	if e.broken == ignorePending {
		return st.producers.min()
	}
	return min(st.producers.min(), st.pending.min())
}

// outputOf is what an output watermark may move to.
func (e *Engine) outputOf(st *stage, output int) beam.EventTime {
	if e.broken == ignoreHolds {
		return st.input
	}
	return min(st.input, st.holdOf(output))
}

// ringEvents makes shards ready whose event-time timers are due.
func (e *Engine) ringEvents(st *stage) {
	e.scratch = st.events.upTo(st.input, e.scratch[:0])
	for _, i := range e.scratch {
		e.refresh(st, i)
	}
}

// tell passes an output watermark on to its consumers.
func (e *Engine) tell(st *stage, output int) {
	for _, p := range st.ports[output] {
		switch p.kind {
		case Main:
			p.to.producers.set(p.slot, st.output[output])
			e.touch(p.to)
		case Side:
			p.to.sides[p.side].producers.set(p.slot, st.output[output])
			e.passSide(p.to, p.side)
		case Feedback:
			// It holds nothing: the loop would never move.
		}
	}
}

// clampTime keeps what comes from outside within event time.
func clampTime(t beam.EventTime) beam.EventTime {
	return min(max(t, beam.MinEventTime), beam.MaxEventTime)
}
