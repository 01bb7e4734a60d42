package engine

import (
	"slices"

	"fresnel/internal/beam"
)

// progressed takes in how far the shards of a source have come.
func (e *Engine) progressed(st *stage, all []SourceProgress) {
	for _, p := range all {
		sh := &st.shards[p.Shard]
		e.advanceSource(st, p)
		sh.nextClock = 0
		if !p.NotBefore.IsZero() {
			sh.nextClock = e.instant(p.NotBefore)
		}
		if p.Done {
			e.endShard(st, p.Shard)
			continue
		}
		e.writeShard(st, p.Shard)
	}
}

func (e *Engine) advanceSource(st *stage, p SourceProgress) {
	for o := range st.holds {
		if p.Output == o || p.Output < 0 {
			was := st.holds[o].get(p.Shard)
			st.holds[o].set(p.Shard, max(was, clampTime(p.Watermark)))
		}
	}
	e.touch(st)
}

// endShard is the end of a source's shard: its watermark goes to infinity.
func (e *Engine) endShard(st *stage, i int) {
	sh := &st.shards[i]
	if sh.done {
		return
	}
	sh.done = true
	e.reading--
	e.silence(st, i)
	for o := range st.holds {
		st.holds[o].set(i, beam.MaxEventTime)
	}
	e.writeShard(st, i)
	e.touch(st)
}

// drainSources ends all shards of sources and scripts that run no bundle; the
// others end when theirs commits.
func (e *Engine) drainSources() {
	for _, st := range e.stages {
		if !st.reads() {
			continue
		}
		for i := range st.shards {
			if len(st.shards[i].order) == 0 {
				e.endShard(st, i)
			}
		}
	}
}

// dropReads forgets bundles of sources that failed and wait to be tried again.
func (e *Engine) dropReads() {
	drop := func(b *bundle) bool {
		if !b.stage.reads() {
			return false
		}
		for i := range b.work {
			b.stage.shards[b.work[i].Shard].order = nil
		}
		return true
	}
	e.later = slices.DeleteFunc(e.later, drop)
	for _, st := range e.stages {
		st.again = slices.DeleteFunc(st.again, drop)
	}
}

// playScript starts a bundle of a script, if nothing else can happen any more:
// of the one that has waited longest.
func (e *Engine) playScript() {
	if e.scripts == 0 || e.state == Halting || e.ended() || e.moves() || len(e.bundles) > 0 {
		return
	}
	for range e.stages {
		st := e.stages[e.turn]
		e.turn = (e.turn + 1) % len(e.stages)
		if st.Role == Script && e.play(st) {
			return
		}
	}
}

func (e *Engine) play(st *stage) bool {
	w := st.pool.freest(st, e.now, anyWorker)
	if w == nil {
		return false
	}
	for i := range st.shards {
		sh := &st.shards[i]
		if !sh.done && sh.nextClock <= e.now {
			b := &bundle{stage: st, work: []ShardWork{{Shard: i}}, ranks: make([][]rank, 1)}
			sh.order = append(sh.order, b)
			e.start(b, w)
			return true
		}
	}
	return false
}
