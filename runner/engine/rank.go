package engine

import (
	"cmp"
	"fmt"
	"slices"

	"fresnel/internal/beam"
)

// rank is the place of a pending block among those of its shard in the image:
// the number of its arrival, and below that, in fine bits, the place of a piece
// among those that the block was cut into.
//
//	arrived:        7.0   8.0                   9.0
//	8 is split:     7.0   8.0         8.512     9.0
//	and again:      7.0   8.0  8.256  8.512     9.0
type rank uint64

// fineBits is enough for twenty splits of one piece before the pieces of a block
// are given new ranks.
const fineBits = 20

// arrival is the rank of the block that the one with rank r was cut from.
func (e *Engine) arrival(r rank) rank { return r >> e.fine << e.fine }

// nextArrival is the rank of what arrives after the one with rank r.
func (e *Engine) nextArrival(r rank) rank { return e.arrival(r) + 1<<e.fine }

// rankArrival gives a block that arrives its rank.
func (e *Engine) rankArrival(sh *shard) rank {
	sh.lastRank = e.nextArrival(sh.lastRank)
	return sh.lastRank
}

// cut gives the pieces that a split has made of a shard's blocks their ranks.
// The first piece of a block gets the rank that the block had, the others stand
// between it and what follows. A block that is kept as it is keeps its rank.
type cut struct {
	engine *Engine
	bundle *bundle
	shard  int
	// old are the bundle's blocks that no piece has passed yet, in order; kept are
	// those of them that are pieces as they are.
	old  []ranked
	kept map[BlockID]bool
	// pieces are the ranks of the pieces, first of primaries, then of residuals;
	// told counts those that were asked for.
	pieces []rank
	told   int
}

type ranked struct {
	id   BlockID
	rank rank
}

// cuts are those of the shards that a split names; there are none without
// Options.Durable.
type cuts map[int]*cut

// next is the rank of the shard's next piece.
func (c cuts) next(shard int) rank {
	s := c[shard]
	if s == nil {
		return 0
	}
	s.told++
	return s.pieces[s.told-1]
}

// rankSplit gives all pieces of a split their ranks, before any is placed. What
// was checkpointed arrives anew, and so needs none.
func (e *Engine) rankSplit(b *bundle, ev *SplitDone) cuts {
	if !e.Durable {
		return nil
	}
	lists := [][]ShardBlocks{ev.Primary, ev.Residual}
	all := cuts{}
	for _, list := range lists {
		for _, part := range list {
			if all[part.Shard] == nil {
				all[part.Shard] = e.newCut(b, part.Shard)
			}
			all[part.Shard].keep(part.Blocks)
		}
	}
	if b.asked.checkpoint {
		lists = lists[:1]
	}
	for _, list := range lists {
		for _, part := range list {
			all[part.Shard].rank(part.Blocks)
		}
	}
	return all
}

// newCut starts a cut of what the bundle has of a shard: its rows are deleted,
// to be written again for the pieces.
func (e *Engine) newCut(b *bundle, shard int) *cut {
	c := &cut{engine: e, bundle: b, shard: shard, kept: map[BlockID]bool{}}
	for i := range b.work {
		if b.work[i].Shard != shard {
			continue
		}
		for k, r := range b.ranks[i] {
			c.old = append(c.old, ranked{b.work[i].Blocks[k].Block.ID, r})
			e.image.deleteBlock(b.stage, shard, r)
		}
	}
	return c
}

func (c *cut) keep(blocks []InputBlock) {
	for i := range blocks {
		c.kept[blocks[i].Block.ID] = true
	}
}

func (c *cut) rank(blocks []InputBlock) {
	for i := range blocks {
		c.pieces = append(c.pieces, c.rankOf(blocks[i].Block.ID))
	}
}

func (c *cut) rankOf(id BlockID) rank {
	if c.engine.broken == reorderSplit {
		return c.engine.rankArrival(&c.bundle.stage.shards[c.shard])
	}
	if at := slices.IndexFunc(c.old, func(o ranked) bool { return o.id == id }); at >= 0 {
		return c.pass(at)
	}
	n := len(c.pieces)
	switch {
	case len(c.old) > 0 && !c.kept[c.old[0].id] && (n == 0 || c.old[0].rank > c.pieces[n-1]):
		return c.pass(0)
	case n == 0:
		return c.engine.rankArrival(&c.bundle.stage.shards[c.shard]) // cut from nothing
	}
	return c.between(true)
}

// pass goes on behind an old block, and returns its rank.
func (c *cut) pass(at int) rank {
	r := c.old[at].rank
	c.old = c.old[at+1:]
	return r
}

// between finds a rank behind the last piece and before all that follows.
func (c *cut) between(mayRespace bool) rank {
	last := c.pieces[len(c.pieces)-1]
	next := c.engine.nextArrival(last)
	for _, f := range c.family(last) {
		if *f.rank > last {
			next = min(next, *f.rank)
		}
	}
	switch {
	case next-last >= 2:
		return last + (next-last)/2
	case mayRespace:
		c.respace(last)
		return c.between(false)
	}
	c.engine.fail(&beam.Error{Code: beam.Internal, Where: c.bundle.stage.Name,
		What: fmt.Sprintf("a block was split into more than %d pieces", 1<<(c.engine.fine-1))})
	return last
}

// relative is a block's rank, and the block unless it is in the cut itself.
type relative struct {
	rank *rank
	in   *entry
}

// family are all blocks of the shard that were cut from the same block as the
// one with rank r.
func (c *cut) family(r rank) []relative {
	var all []relative
	add := func(o *rank, in *entry) {
		if c.engine.arrival(*o) == c.engine.arrival(r) {
			all = append(all, relative{o, in})
		}
	}
	for i := range c.pieces {
		add(&c.pieces[i], nil)
	}
	for i := range c.old {
		add(&c.old[i].rank, nil)
	}
	sh := &c.bundle.stage.shards[c.shard]
	for _, b := range sh.order {
		if b != c.bundle {
			b.eachRank(c.shard, add)
		}
	}
	waiting := sh.queue.waiting()
	for i := range waiting {
		add(&waiting[i].rank, &waiting[i])
	}
	return all
}

// eachRank calls do with the ranks that the bundle has of a shard.
func (b *bundle) eachRank(shard int, do func(*rank, *entry)) {
	for i := range b.work {
		if b.work[i].Shard != shard {
			continue
		}
		for k := range b.ranks[i] {
			p := entryOf(b.work[i].Blocks[k])
			do(&b.ranks[i][k], &p)
		}
	}
}

// respace spreads a family evenly over the ranks that it may have.
func (c *cut) respace(r rank) {
	all := c.family(r)
	slices.SortFunc(all, func(a, b relative) int { return cmp.Compare(*a.rank, *b.rank) })
	for _, f := range all {
		if f.in != nil {
			c.engine.image.deleteBlock(c.bundle.stage, c.shard, *f.rank)
		}
	}
	space := (rank(1) << c.engine.fine) / rank(len(all)+1)
	for i, f := range all {
		*f.rank = c.engine.arrival(r) + rank(i)*space
		if f.in != nil {
			f.in.rank = *f.rank
			c.engine.writeBlock(c.bundle.stage, c.shard, f.in, Block{})
		}
	}
}
