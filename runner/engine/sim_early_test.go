package engine

import "slices"

// emit has a running bundle put out all, a while before it ends.
func (s *sim) emit() {
	b := s.toEmit()[0]
	b.x = s.execute(b)
	s.step(Event{BundleEmitted: &BundleEmitted{Bundle: b.ID, Outputs: slices.Clone(b.x.out.Outputs)}})
}

// toEmit are the bundles that have not put out all yet, in random order.
func (s *sim) toEmit() []*simBundle {
	all := slices.DeleteFunc(slices.Clone(s.running), func(b *simBundle) bool { return b.x != nil })
	s.rng.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	return all
}

// discard has what a bundle has made freed: it does not count.
func (s *sim) discard(b *simBundle) {
	if b.x == nil {
		return
	}
	for _, id := range b.x.written {
		s.blocks[id].freed = true
	}
}

// abandon takes back the outcome of a bundle that started early, and in vain.
func (s *sim) abandon(id BundleID) {
	b := s.done[id]
	if b == nil {
		return // its worker was lost
	}
	if b.producer == nil || s.committed[b.producer.ID] {
		s.failf("early: the outcome of bundle %d of %s is abandoned", id, s.plan.stages[b.Stage].spec.Name)
	}
	delete(s.finished, id)
	delete(s.done, id)
	s.discard(b)
}

// checkEarly checks a block that a bundle is given before its commit. It must be
// of what a bundle in flight has put out.
func (s *sim) checkEarly(b *simBundle, shard int, in InputBlock) {
	st := s.plan.stages[b.Stage].spec
	for _, p := range s.running {
		if p.x == nil || !s.puts(p, b.Stage, shard, in) {
			continue
		}
		b.producer = p
		switch {
		case st.StableInput:
			s.failf("I3: %s gets block %d before its commit", st.Name, in.Block.ID)
		case p.producer != nil && !s.committed[p.producer.ID]:
			s.failf("early: %s is given what %d put out, which is early itself", st.Name, p.ID)
		case s.blocks[in.Block.ID].freed:
			s.failf("I8: block %d is used after it was freed", in.Block.ID)
		}
		return
	}
	s.failf("I1: block %d is given to %s before its commit, or again", in.Block.ID, st.Name)
}

// puts tells whether a bundle has put out a block for a shard.
func (s *sim) puts(p *simBundle, stage, shard int, in InputBlock) bool {
	return slices.ContainsFunc(p.x.out.Outputs, func(o Output) bool {
		edge := s.plan.edges[o.Edge]
		return edge.To == stage && edge.Kind == Main && edge.Input == in.Input && o.Shard == shard && o.Block.ID == in.Block.ID
	})
}
