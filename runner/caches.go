package runner

import (
	"fmt"

	"fresnel/runner/engine"
)

// caches makes the tokens under which harnesses cache the user state of one
// stage (I11). A harness takes one token for all the state of a bundle, and
// what it has cached under it counts for as long as it is given the same one.
// So a worker's token changes when it gets back a shard that another worker has
// had meanwhile, and after a bundle that was not committed.
//
// It belongs to the job's loop.
type caches struct {
	// prefix names server, job and stage.
	prefix string
	// commits counts the commits of each shard.
	commits []uint64
	workers map[int]*workerCache
	bundles map[engine.BundleID]cacheUse
}

// workerCache is what one worker may have cached.
type workerCache struct {
	generation uint64
	// seen is the number of commits, by shard, as of the worker's own last one in
	// this generation.
	seen map[int]uint64
}

// cacheUse is a bundle that was given a token.
type cacheUse struct {
	worker     *workerCache
	generation uint64
	work       []engine.ShardWork
}

func newCaches(prefix string, shards int) *caches {
	return &caches{prefix: prefix, commits: make([]uint64, shards),
		workers: map[int]*workerCache{}, bundles: map[engine.BundleID]cacheUse{}}
}

// token is the token of a bundle that is about to start.
func (c *caches) token(b engine.Bundle) []byte {
	w := c.workers[b.Worker]
	if w == nil {
		w = &workerCache{seen: map[int]uint64{}}
		c.workers[b.Worker] = w
	}
	for _, work := range b.Work {
		if seen, ok := w.seen[work.Shard]; ok && seen != c.commits[work.Shard] {
			w.renew()
			break
		}
	}
	c.bundles[b.ID] = cacheUse{w, w.generation, b.Work}
	return fmt.Appendf(nil, "%s/%d/%d", c.prefix, b.Worker, w.generation)
}

// settled tells what became of a bundle.
func (c *caches) settled(id engine.BundleID, committed bool) {
	use, ok := c.bundles[id]
	if !ok {
		return
	}
	delete(c.bundles, id)
	same := use.generation == use.worker.generation
	if !committed {
		if same {
			use.worker.renew()
		}
		return
	}
	for _, work := range use.work {
		c.commits[work.Shard]++
		if same {
			use.worker.seen[work.Shard] = c.commits[work.Shard]
		}
	}
}

// renew makes all that the worker has cached worthless.
func (w *workerCache) renew() {
	w.generation++
	clear(w.seen)
}
