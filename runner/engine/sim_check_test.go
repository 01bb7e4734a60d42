package engine

import (
	"maps"
	"slices"

	"fresnel/internal/beam"
)

// step gives the engine an event, does what it decides, and checks it.
func (s *sim) step(ev Event) {
	if s.err != nil {
		return
	}
	ev.Now = s.now
	r := s.engine.Step(ev)
	for i := range r.Commits {
		s.commit(&r.Commits[i], ev)
	}
	s.checkTimes()
	s.rememberTimes(len(r.Commits))
	for _, id := range r.Abandon {
		s.abandon(id)
	}
	for _, b := range r.Start {
		s.start(b)
	}
	for i := range r.Entries {
		s.checkEntry(&r.Entries[i])
	}
	for _, f := range r.Finalize {
		if f.After > s.seq || f.After == 0 {
			s.failf("I3: finalization of %d after commit %d of %d", f.Bundle, f.After, s.seq)
		}
	}
	s.asked = append(s.asked, r.Splits...)
	s.wanted = append(s.wanted, r.Loads...)
	s.state, s.wake = r.State, r.Wake
	if !s.wake.IsZero() && !s.wake.After(s.now) {
		s.failf("wants to be woken in the past")
	}
	if r.Err != nil {
		s.failf("the job failed: %v", r.Err)
	}
}

// commit applies a commit: all of an outcome (I1), in the order of Seq (I2).
func (s *sim) commit(c *Commit, ev Event) {
	if s.seq++; c.Seq != s.seq {
		s.failf("I2: commit %d follows %d", c.Seq, s.seq-1)
	}
	switch {
	case c.Entry != nil:
		s.formed(c.Entry)
	case c.Freed != nil:
		s.freed(c.Freed)
	case c.Split != nil:
		s.splitCommitted(ev.SplitDone)
	case c.Drain:
		s.draining = true
	default:
		s.apply(c)
	}
	s.free(c.Consumed)
	s.remember(c)
}

func (s *sim) apply(c *Commit) {
	x, b := s.finished[c.Bundle], s.done[c.Bundle]
	if x == nil {
		s.failf("I1: commit of bundle %d, which has not ended or has committed", c.Bundle)
		return
	}
	s.committed[c.Bundle] = true
	delete(s.finished, c.Bundle)
	delete(s.done, c.Bundle)
	s.consume(b)
	for _, o := range x.out.Outputs {
		s.delivered(o)
	}
	for _, r := range x.out.Residuals {
		for _, in := range r.Blocks {
			s.add(b.Stage, r.Shard, in.Block.ID, in.Block.Hold)
		}
	}
	for shard, state := range x.states {
		s.states[b.Stage][shard] = state
	}
	for _, w := range x.sides {
		window := s.plan.stages[w.stage].sides[w.input]
		for _, e := range w.elems {
			s.side[w.stage][w.input][windowEnd(e.time, window)] += e.val
		}
	}
}

// consume takes a bundle's input out of what is pending, and checks its order.
func (s *sim) consume(b *simBundle) {
	for _, w := range b.work {
		for _, in := range w.Blocks {
			s.passBy(b.Stage, w.Shard, in.Input, in.Block.ID)
			s.remove(b.Stage, w.Shard, in.Block.ID)
		}
	}
}

// passBy checks that elements that came the same way come in order (I13).
func (s *sim) passBy(stage, shard, input int, id BlockID) {
	if s.plan.stages[stage].kind == simSDF {
		return
	}
	for _, e := range s.blocks[id].elems {
		if e.origin == 0 {
			continue
		}
		e = s.plan.arrived(stage, shard, input, e)
		at := simOrder{stage, shard, e.origin, e.trail}
		if e.seq < s.order[at] {
			s.failf("I13: %s/%d gets %d of an origin after %d", s.plan.stages[stage].spec.Name, shard, e.seq, s.order[at])
		}
		s.order[at] = e.seq
	}
}

func (s *sim) delivered(o Output) {
	edge := s.plan.edges[o.Edge]
	switch edge.Kind {
	case Side:
		s.blocks[o.Block.ID].freed = true
	case Feedback:
		s.add(edge.To, o.Shard, o.Block.ID, beam.MaxEventTime)
	case Main:
		s.add(edge.To, o.Shard, o.Block.ID, o.Block.MinTime)
	}
}

func (s *sim) add(stage, shard int, id BlockID, hold beam.EventTime) {
	if hold < s.input[stage] {
		hold = beam.MaxEventTime // it is late: no watermark waits for it any more
	}
	s.pending[stage] = append(s.pending[stage], simPending{id, shard, hold})
	s.after[simArrival{stage, shard, id}] = s.seq
}

// holdOf finds the hold of a pending block.
func (s *sim) holdOf(stage, shard int, id BlockID) (beam.EventTime, bool) {
	if i := s.find(stage, shard, id); i >= 0 {
		return s.pending[stage][i].hold, true
	}
	return 0, false
}

func (s *sim) find(stage, shard int, id BlockID) int {
	return slices.IndexFunc(s.pending[stage], func(p simPending) bool { return p.block == id && p.shard == shard })
}

func (s *sim) remove(stage, shard int, id BlockID) {
	i := s.find(stage, shard, id)
	if i < 0 {
		s.failf("I1: %s consumes block %d, which is not pending", s.plan.stages[stage].spec.Name, id)
		return
	}
	s.pending[stage] = slices.Delete(s.pending[stage], i, i+1)
}

// free checks that a block is freed once, when nobody needs it any more (I8).
func (s *sim) free(ids []BlockID) {
	for _, id := range ids {
		b := s.blocks[id]
		if b.freed {
			s.failf("I8: block %d is freed twice", id)
		}
		b.freed = true
		for stage := range s.pending {
			for _, p := range s.pending[stage] {
				if p.block == id {
					s.failf("I8: block %d is freed, and pending in %s", id, s.plan.stages[stage].spec.Name)
				}
			}
		}
	}
}

func (s *sim) formed(en *Entry) {
	at := [2]int{en.Stage, en.Shard}
	if s.entries[at]++; en.N != s.entries[at] || s.outbox[at] != nil {
		s.failf("outbox: entry %d of %v, %d formed", en.N, at, s.entries[at])
	}
	s.outbox[at] = en
	for _, id := range en.Blocks {
		s.passBy(en.Stage, en.Shard, 0, id)
	}
}

func (s *sim) freed(w *EntryWritten) {
	at := [2]int{w.Stage, w.Shard}
	for _, id := range s.outbox[at].Blocks {
		s.remove(w.Stage, w.Shard, id)
	}
	delete(s.outbox, at)
}

func (s *sim) checkEntry(en *Entry) {
	if o := s.outbox[[2]int{en.Stage, en.Shard}]; o == nil || o.N != en.N || en.After != o.After || en.After > s.seq {
		s.failf("outbox: entry %v without its commit", en)
	}
	s.resent[[2]int{en.Stage, en.Shard}] = true
}

// splitCommitted replaces what is pending.
func (s *sim) splitCommitted(ev *SplitDone) {
	at := slices.IndexFunc(s.running, func(b *simBundle) bool { return b.ID == ev.Bundle })
	b := s.running[at]
	holds := map[simArrival]beam.EventTime{}
	places := map[int]int{}
	for _, w := range b.Work { // as it was before: b.work has the primaries already
		if !names(ev.Primary, w.Shard) && !names(ev.Residual, w.Shard) {
			continue
		}
		for k, in := range w.Blocks {
			at := s.find(b.Stage, w.Shard, in.Block.ID)
			for other := range places {
				if places[other] > at {
					places[other]--
				}
			}
			if k == 0 {
				places[w.Shard] = at
			}
			holds[simArrival{b.Stage, w.Shard, in.Block.ID}], _ = s.holdOf(b.Stage, w.Shard, in.Block.ID)
			s.remove(b.Stage, w.Shard, in.Block.ID)
		}
	}
	for k, parts := range [][]ShardBlocks{ev.Primary, ev.Residual} {
		for _, part := range parts {
			for _, in := range part.Blocks {
				hold, same := holds[simArrival{b.Stage, part.Shard, in.Block.ID}]
				if !same {
					hold = in.Block.Hold
				}
				s.add(b.Stage, part.Shard, in.Block.ID, hold)
				if k == 0 || !s.checkpoint {
					s.moveUp(b.Stage, part.Shard, places)
				}
			}
		}
	}
	b.Work = b.work
}

// moveUp puts the last pending block of a stage in the place of what it was cut
// from.
func (s *sim) moveUp(stage, shard int, places map[int]int) {
	all := s.pending[stage]
	last := all[len(all)-1]
	at := min(places[shard], len(all)-1)
	s.pending[stage] = slices.Insert(all[:len(all)-1], at, last)
	for other := range places {
		if places[other] >= at {
			places[other]++
		}
	}
}

// start takes a bundle in flight.
func (s *sim) start(r Bundle) {
	b := &simBundle{Bundle: r, work: r.Work, began: s.now, states: map[int]*simState{}}
	s.checkStart(b)
	for _, w := range r.Work {
		b.states[w.Shard] = s.states[r.Stage][w.Shard]
	}
	for _, content := range s.side[r.Stage] {
		b.sides = append(b.sides, maps.Clone(content))
	}
	s.running = append(s.running, b)
}

func (s *sim) checkStart(b *simBundle) {
	st := s.plan.stages[b.Stage]
	s.checkWorker(b)
	if want := s.draining && (st.spec.Splittable || st.spec.Role == Source); b.Drain != want {
		s.failf("bundle of %s with drain %v", st.spec.Name, b.Drain)
	}
	s.checkCaps(b)
	if b.Attempt > 0 {
		s.checkRetry(b)
	}
	if st.spec.Exclusive || st.spec.Role != Process {
		s.checkAlone(b)
	}
	for _, w := range b.work {
		for _, in := range w.Blocks {
			s.checkGiven(b, w.Shard, in)
		}
	}
	if st.kind == simScript && b.Attempt == 0 {
		s.checkNothingMoves(b)
	}
	for _, edge := range s.plan.edges {
		n := s.plan.stages[edge.To].spec.Shards
		for _, w := range b.work {
			if edge.From == b.Stage && edge.Keep && w.Shard%n != b.work[0].Shard%n {
				s.failf("bundle %d of %s mixes shards that an edge keeps apart", b.ID, st.spec.Name)
			}
		}
	}
}

func (s *sim) checkWorker(b *simBundle) {
	pool := s.plan.stages[b.Stage].spec.Pool
	n := 1
	for _, o := range s.running {
		if o.x == nil && s.plan.stages[o.Stage].spec.Pool == pool && o.Worker == b.Worker {
			n++
		}
	}
	most := s.plan.pools[pool].Slots
	if !s.plan.pools[pool].Native {
		most += maxWidth // for code that waits
	}
	if n > most {
		s.failf("worker %d of pool %d has %d bundles", b.Worker, pool, n)
	}
	if pool > 0 && !s.workers[[2]int{pool, b.Worker}] {
		s.failf("bundle for worker %d of pool %d, which is not up", b.Worker, pool)
	}
}

func (s *sim) checkCaps(b *simBundle) {
	blocks, elems := 0, 0
	for _, w := range b.work {
		blocks += len(w.Blocks)
		elems += len(s.all(w))
	}
	most := s.plan.options.MaxBundleElements
	if most > 0 && elems > most && blocks > 1 && b.Attempt == 0 && !s.plan.stages[b.Stage].spec.Splittable {
		s.failf("bundle %d has %d elements, the cap is %d", b.ID, elems, most)
	}
}

// checkRetry checks that a retry has the content of a bundle that failed (I6).
func (s *sim) checkRetry(b *simBundle) {
	at := slices.IndexFunc(s.failed, func(f *simBundle) bool {
		return f.Stage == b.Stage && slices.EqualFunc(f.work, b.work, func(a, c ShardWork) bool {
			return a.Shard == c.Shard && slices.EqualFunc(a.Blocks, c.Blocks, func(x, y InputBlock) bool {
				return x.Block.ID == y.Block.ID && x.Input == y.Input
			})
		})
	})
	if at < 0 {
		s.failf("I6: a retry of %s is not what failed: %v", s.plan.stages[b.Stage].spec.Name, b.work)
		return
	}
	s.failed = slices.Delete(s.failed, at, at+1)
}

// checkAlone checks I4.
func (s *sim) checkAlone(b *simBundle) {
	for _, o := range s.running {
		for _, w := range o.work {
			if o.Stage == b.Stage && slices.ContainsFunc(b.work, func(v ShardWork) bool { return v.Shard == w.Shard }) {
				s.failf("I4: shard %d of %s is in two bundles", w.Shard, s.plan.stages[b.Stage].spec.Name)
			}
		}
	}
}

func (s *sim) checkGiven(b *simBundle, shard int, in InputBlock) {
	st, block := s.plan.stages[b.Stage], in.Block
	hold, ok := s.holdOf(b.Stage, shard, block.ID)
	if !ok {
		s.checkEarly(b, shard, in)
		return
	}
	if !s.draining && b.Now.Before(s.blocks[block.ID].meta.NotBefore) {
		s.failf("rest: %s gets block %d too early", st.spec.Name, block.ID)
	}
	if hold < b.Watermark {
		s.failf("I12: %s gets a block held at %d at watermark %d", st.spec.Name, hold, b.Watermark)
	}
	if s.blocks[block.ID].freed {
		s.failf("I8: block %d is used after it was freed", block.ID)
	}
	if st.spec.StableInput && s.after[simArrival{b.Stage, shard, block.ID}] > s.durable {
		s.failf("I3: %s gets block %d before it is durable", st.spec.Name, block.ID)
	}
}

func (s *sim) checkNothingMoves(b *simBundle) {
	for i, st := range s.engine.Snapshot().Stages {
		if st.Blocks > 0 || st.Entries > 0 || st.Retrying > 0 || st.Running > 0 && i != b.Stage {
			s.failf("the script goes on while %s has work: %+v", st.Name, st)
		}
	}
}

// checkTimes checks I5 at the end of the commits of a step.
func (s *sim) checkTimes() {
	for i, st := range s.engine.stages {
		least, hold := beam.MaxEventTime, s.holdOfState(i)
		for _, p := range s.pending[i] {
			least = min(least, p.hold)
		}
		if st.input > least {
			s.failf("I5: the input of %s is at %v, a block at %v", st.Name, st.input, least)
		}
		s.input[i] = st.input
		for o, out := range st.output {
			if out > st.input || out > least || out > hold {
				s.failf("I5: the output of %s is at %v, its input at %v, a block at %v, a hold at %v",
					st.Name, out, st.input, least, hold)
			}
			if out < s.output[i][o] {
				s.failf("I5: the output of %s moves back to %v", st.Name, out)
			}
			s.output[i][o] = out
		}
	}
}

// holdOfState is what the committed state of a stage holds.
func (s *sim) holdOfState(stage int) beam.EventTime {
	least := beam.MaxEventTime
	st := s.plan.stages[stage]
	for shard, state := range s.states[stage] {
		for g := range state.groups {
			least = min(least, g.end)
		}
		for _, e := range state.kept {
			least = min(least, e.time)
		}
		if s.draining || st.batches == nil || len(st.batches[shard]) == state.batch {
			continue
		}
		watermark := beam.MinEventTime
		if state.batch > 0 {
			watermark = st.batches[shard][state.batch-1].watermark
		}
		least = min(least, watermark)
	}
	return least
}

// checkEnd checks that nothing is left.
func (s *sim) checkEnd() {
	if want := map[bool]State{false: Done, true: Drained}[s.draining]; s.state != want {
		s.failf("ends as %v", s.state)
	}
	for i, st := range s.plan.stages {
		for shard := range st.batches {
			if n := s.states[i][shard].batch; n < len(st.batches[shard]) && !s.draining {
				s.failf("%s ends after %d of %d batches", st.spec.Name, n, len(st.batches[shard]))
			}
		}
	}
	for i, p := range s.pending {
		if len(p) > 0 {
			s.failf("%d blocks of %s are left", len(p), s.plan.stages[i].spec.Name)
		}
	}
	if n := len(s.engine.readers); n > 0 || s.engine.held != 0 {
		s.failf("I8: the engine still counts %d blocks, %d bytes", n, s.engine.held)
	}
}
