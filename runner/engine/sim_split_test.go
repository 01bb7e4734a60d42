package engine

import "slices"

// answer answers a request for a split: yes, no, or not at all.
func (s *sim) answer() {
	i := s.rng.IntN(len(s.asked))
	request := s.asked[i]
	s.asked = slices.Delete(s.asked, i, i+1)
	at := slices.IndexFunc(s.running, func(b *simBundle) bool { return b.ID == request.Bundle })
	if at < 0 {
		return
	}
	b := s.running[at]
	s.checkpoint = request.Fraction == 0
	ev := &SplitDone{Bundle: b.ID}
	if s.rng.IntN(3) > 0 && b.x == nil {
		s.split(b, ev)
	}
	s.step(Event{SplitDone: ev})
}

// split cuts a bundle at a random element: what comes before stays, the rest
// goes back.
func (s *sim) split(b *simBundle, ev *SplitDone) {
	total := 0
	for _, w := range b.work {
		total += len(s.all(w))
	}
	if total == 0 {
		return
	}
	ev.Accepted = true
	cut := s.rng.IntN(total)
	b.work = slices.Clone(b.work)
	for i := range b.work {
		w := &b.work[i]
		n := len(s.all(*w))
		if cut >= n {
			cut -= n
			continue // nothing changes here
		}
		s.splitShard(b, w, ev, cut)
		cut = 0
	}
}

func (s *sim) all(w ShardWork) []elem {
	var all []elem
	for _, in := range w.Blocks {
		all = append(all, s.blocks[in.Block.ID].elems...)
	}
	return all
}

// splitShard keeps the first elements of a shard, and of an SDF some of the
// positions of the next.
func (s *sim) splitShard(b *simBundle, w *ShardWork, ev *SplitDone, keep int) {
	primary, residual := ShardBlocks{Shard: w.Shard}, ShardBlocks{Shard: w.Shard}
	sdf := s.plan.stages[b.Stage].kind == simSDF
	for _, in := range w.Blocks {
		elems := s.blocks[in.Block.ID].elems
		switch n := len(elems); {
		case keep >= n:
			primary.Blocks = append(primary.Blocks, in)
			keep -= n
			continue
		case keep == 0 && !sdf:
			residual.Blocks = append(residual.Blocks, in)
			continue
		}
		head, tail := slices.Clone(elems[:keep]), slices.Clone(elems[keep:])
		if from, to := tail[0].restriction(); sdf && from < to {
			at := from + s.rng.IntN(to-from)
			if at > from {
				head = append(head, tail[0].restricted(from, at))
			}
			tail[0] = tail[0].restricted(at, to)
		}
		primary.Blocks = s.splitOff(primary.Blocks, head, in.Input, sdf)
		residual.Blocks = s.splitOff(residual.Blocks, tail, in.Input, sdf)
		keep = 0
	}
	w.Blocks = primary.Blocks
	ev.Residual = append(ev.Residual, residual)
	if len(primary.Blocks) > 0 || s.rng.IntN(2) == 0 {
		ev.Primary = append(ev.Primary, primary)
	}
}

func (s *sim) splitOff(to []InputBlock, elems []elem, input int, sdf bool) []InputBlock {
	if len(elems) == 0 {
		return to
	}
	block := s.newBlock(elems)
	block.Hold = block.MinTime
	if sdf {
		for i, e := range elems {
			if h := e.hold(); i == 0 || h < block.Hold {
				block.Hold = h
			}
		}
	}
	return append(to, InputBlock{Input: input, Block: block})
}
