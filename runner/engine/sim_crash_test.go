package engine

import (
	"maps"
	"slices"

	"fresnel/internal/beam"
)

// simPast is what a durable runner has after a commit: all that a crash can
// throw it back to.
type simPast struct {
	seq       CommitSeq
	changes   []Change
	states    [][]*simState
	side      [][]map[beam.EventTime]int64
	outbox    map[[2]int]*Entry
	entries   map[[2]int]int64
	order     map[simOrder]int
	pending   [][]simPending
	after     map[simArrival]CommitSeq
	freed     map[BlockID]bool
	draining  bool
	input     []beam.EventTime // if the commit was the last of its step
	output    [][]beam.EventTime
	untilStep bool
}

// remember keeps what a crash may come back to, and lets go of what is durable.
func (s *sim) remember(c *Commit) {
	if !s.plan.options.Durable {
		if c.Image != nil || c.Drain {
			s.failf("image: commit %d of a job that is not durable has one", c.Seq)
		}
		return
	}
	p := &simPast{seq: s.seq, changes: c.Image, outbox: maps.Clone(s.outbox), entries: maps.Clone(s.entries),
		order: maps.Clone(s.order), after: maps.Clone(s.after), freed: map[BlockID]bool{}, draining: s.draining}
	for stage := range s.states {
		p.states = append(p.states, slices.Clone(s.states[stage]))
		p.pending = append(p.pending, slices.Clone(s.pending[stage]))
		p.side = append(p.side, cloneSides(s.side[stage]))
	}
	for id, b := range s.blocks {
		if b.freed {
			p.freed[id] = true
		}
	}
	s.past = append(s.past, p)
	s.settlePast()
}

func cloneSides(sides []map[beam.EventTime]int64) []map[beam.EventTime]int64 {
	var all []map[beam.EventTime]int64
	for _, content := range sides {
		all = append(all, maps.Clone(content))
	}
	return all
}

// settlePast applies the changes of durable commits to the image: they cannot be
// lost any more, but for the last, which is one to come back to.
func (s *sim) settlePast() {
	for len(s.past) > 1 && s.past[1].seq <= s.durable {
		change(s.image, s.past[0].changes)
		s.past = s.past[1:]
	}
}

// rememberTimes notes the watermarks after the last commit of a step.
func (s *sim) rememberTimes(commits int) {
	if len(s.past) == 0 || commits == 0 {
		return
	}
	p := s.past[len(s.past)-1]
	p.untilStep, p.input = true, slices.Clone(s.input)
	for _, out := range s.output {
		p.output = append(p.output, slices.Clone(out))
	}
}

// crash loses what is not durable, or some of it, and goes on from the rest.
func (s *sim) crash() {
	s.crashes--
	if len(s.past) > 0 {
		s.crashAt(1 + s.rng.IntN(len(s.past)))
	}
}

// crashAt loses all but the first commits of those that can be lost.
func (s *sim) crashAt(kept int) {
	for _, p := range s.past[:kept] {
		change(s.image, p.changes)
	}
	p := s.past[kept-1]
	s.past = []*simPast{p}
	p.changes = nil
	s.comeBack(p)
	broken := s.engine.broken
	e, r, err := Restore(s.plan.spec(), rowsOf(s.image))
	if err != nil {
		s.failf("I2: %v", err)
		return
	}
	s.engine = e
	e.broken = broken
	// What never came to a commit leaves no trace: its numbers are given again.
	s.old = slices.DeleteFunc(s.old, func(id BundleID) bool { return id >= e.lastBundle })
	s.checkRestored(p, r)
	s.step(Event{})
	for at, en := range s.outbox {
		if !s.resent[at] && s.err == nil {
			s.failf("outbox: entry %d of %v is not given again", en.N, at)
		}
	}
}

// comeBack has the runner forget what came later.
func (s *sim) comeBack(p *simPast) {
	s.seq, s.durable = p.seq, p.seq
	s.entries, s.order, s.after = maps.Clone(p.entries), maps.Clone(p.order), maps.Clone(p.after)
	s.drains = s.drains || s.draining && !p.draining
	s.draining = p.draining
	for stage := range s.states {
		s.states[stage] = slices.Clone(p.states[stage])
		s.pending[stage] = slices.Clone(p.pending[stage])
		s.side[stage] = cloneSides(p.side[stage])
	}
	s.outbox = map[[2]int]*Entry{}
	for at, en := range p.outbox {
		again := *en
		again.After = p.seq
		s.outbox[at] = &again
	}
	for id, b := range s.blocks {
		b.freed = p.freed[id]
	}
	for _, b := range s.running {
		s.old = append(s.old, b.ID)
	}
	s.running, s.asked, s.failed, s.wanted = nil, nil, nil, nil
	clear(s.finished)
	clear(s.done)
	clear(s.committed)
	clear(s.workers)
	s.leaving = nil
	s.resent = map[[2]int]bool{}
}

// checkRestored compares what is restored with what the runner had.
func (s *sim) checkRestored(p *simPast, r *Restored) {
	if r.Commits != p.seq || r.Draining != p.draining {
		s.failf("I2: commit %d is restored as %d, draining %v", p.seq, r.Commits, r.Draining)
	}
	blocks := map[BlockID]bool{}
	for _, all := range p.pending {
		for _, b := range all {
			blocks[b.block] = true
		}
	}
	if !slices.Equal(r.Blocks, slices.Sorted(maps.Keys(blocks))) {
		s.failf("I2: blocks %v are restored, %v were pending", r.Blocks, slices.Sorted(maps.Keys(blocks)))
	}
	s.checkEntries(r)
	s.checkPlaces()
	s.keepGates(r)
	for i, st := range s.engine.stages {
		exact := p.untilStep && !p.draining // in a drain, sources that were being read have ended
		if exact && st.input != p.input[i] {
			s.failf("I5: the input of %s is restored at %v, it was at %v", st.Name, st.input, p.input[i])
		}
		if exact && !slices.Equal(st.output, p.output[i]) {
			s.failf("I5: the output of %s is restored at %v, it was at %v", st.Name, st.output, p.output[i])
		}
		s.input[i] = st.input
		copy(s.output[i], st.output)
	}
}

func (s *sim) checkEntries(r *Restored) {
	if len(r.Entries) != len(s.outbox) {
		s.failf("outbox: %d entries are restored, %d were out", len(r.Entries), len(s.outbox))
	}
	for _, en := range r.Entries {
		was := s.outbox[[2]int{en.Stage, en.Shard}]
		if was == nil || was.N != en.N || !slices.Equal(was.Blocks, en.Blocks) {
			s.failf("outbox: entry %v is restored as %v", was, en)
		}
	}
}

// checkPlaces checks that blocks are queued in the order in which they were
// pending, where nothing may overtake.
func (s *sim) checkPlaces() {
	for stage, st := range s.engine.stages {
		if kind := s.plan.stages[stage].kind; kind == simSDF || kind == simSide {
			continue
		}
		want := make([][]BlockID, st.Shards)
		for _, p := range s.pending[stage] {
			if en := s.outbox[[2]int{stage, p.shard}]; en == nil || !slices.Contains(en.Blocks, p.block) {
				want[p.shard] = append(want[p.shard], p.block)
			}
		}
		for i := range st.shards {
			var got []BlockID
			for _, p := range st.shards[i].queue.waiting() {
				got = append(got, p.id)
			}
			if !slices.Equal(got, want[i]) {
				s.failf("I13: %s/%d is restored as %v, it was %v", st.Name, i, got, want[i])
			}
		}
	}
}

// keepGates forgets the numbers of all gates that the image does not have.
func (s *sim) keepGates(r *Restored) {
	for g, id := range s.gates {
		if !slices.Contains(r.Gates, id) {
			delete(s.gates, g)
			delete(s.named, g)
		}
	}
}
