package engine

// A harness asks for the state of a key once for each bundle that the key is in,
// and an answer costs it as much time as a hundred elements. So a stage of a
// bounded job that owns state gathers its input while the stages that make it
// keep the worker busy anyway: nothing is lost by that, but the overlap of what
// waits. It does not leave a worker idle, and it does not gather more than
// half of what may be pending (I9).

const (
	// gatheredFirst is how many elements of a shard go in the first bundle of such
	// a stage, gatheredTargets for how many times the target time those of a shard
	// stay together later.
	gatheredFirst   = 10_000
	gatheredTargets = 8
)

// gathers tells whether a stage should have the worker go on with what is
// upstream.
func (e *Engine) gathers(st *stage, w *worker) bool {
	if e.Streaming || !st.Exclusive || w.wide || st.Role != Process {
		return false
	}
	if e.MaxPendingBytes > 0 && e.held > e.MaxPendingBytes/2 {
		return false
	}
	for _, up := range st.upstream {
		if up.running > 0 && w.load > 0 || up.pool == st.pool && !up.idle() && !e.stays(up) {
			return true
		}
	}
	return false
}

// gathering tells whether that is so for all that the stage has.
func (e *Engine) gathering(st *stage) bool {
	if !st.Exclusive || len(st.again) > 0 {
		return false
	}
	gathers := false
	for _, w := range st.pool.workers {
		if w == nil || len(st.lanes[w.pos].shards) == 0 {
			continue
		}
		if !e.gathers(st, w) {
			return false
		}
		gathers = true
	}
	return gathers
}

// findUpstream notes for each stage that may gather the stages that its input
// comes from. Sources are not among them: nobody knows how long they take.
func (e *Engine) findUpstream() {
	above := make([]bitset, len(e.stages)) // by rank
	for r, st := range e.byRank {
		if above[r] == nil {
			above[r] = newBitset(len(e.stages))
		}
		for i := above[r].next(0); st.Exclusive && i >= 0; i = above[r].next(i + 1) {
			if up := e.byRank[i]; !up.reads() && up.Role == Process {
				st.upstream = append(st.upstream, up)
			}
		}
		for _, ports := range st.ports {
			for _, p := range ports {
				if p.kind == Feedback {
					continue
				}
				if above[p.to.rank] == nil {
					above[p.to.rank] = newBitset(len(e.stages))
				}
				above[p.to.rank].set(r)
				above[p.to.rank].add(above[r])
			}
		}
	}
}
