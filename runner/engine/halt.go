package engine

import "slices"

// halt begins to bring the job to a rest in which as little as can be is under
// way: what is kept of it then fits a pipeline that has changed.
func (e *Engine) halt() {
	if e.state == Running {
		e.state = Halting
	}
}

// stays tells whether a stage starts nothing more because the job halts: what
// makes its own input, and what would go on for ever.
func (e *Engine) stays(st *stage) bool {
	return e.state == Halting && (st.reads() || st.CheckpointAfter > 0)
}

// concludeHalt halts the job if nothing moves any more. What user code has failed
// on, or a stage that stays, is still in its input: it may be what the change of the
// pipeline is for.
func (e *Engine) concludeHalt() {
	e.dropReads()
	if len(e.bundles) > 0 || e.entries > 0 || len(e.stable) > 0 ||
		slices.ContainsFunc(e.later, func(b *bundle) bool { return !e.stays(b.stage) && b.userFails == 0 }) {
		return
	}
	for _, p := range e.pools {
		for r := p.ready.next(0); r >= 0; r = p.ready.next(r + 1) {
			if st := e.byRank[r]; !e.stays(st) && !st.idle() {
				return
			}
		}
	}
	e.end(Halted)
}
