package fnapi

import (
	"fmt"
	"time"

	"fresnel/internal/beam"
)

// A worker that is a process of this machine is weighed at each round, with the
// processes that it started. One over its limit gets no more bundles, and is
// replaced when those that it has are over. The limit is the server's flag;
// without one it is the worker's share of what there is, and counts only while
// memory is short: a worker may hold what nobody else wants.

const (
	// sharePart of shareOf parts of the memory is what all workers of a pool may have.
	sharePart, shareOf = 3, 4
	// shortOf is the part of all memory that is left when it is short.
	shortOf = 10
	// leavePatience is how long the bundles of a worker that leaves may take to end.
	leavePatience = 10 * time.Minute
	// farOver is how far, in parts, a worker may be over a limit that was set, until
	// it is not waited for.
	farOver, farOverOf = 3, 2
)

// weighed is what is known of a worker's memory.
type weighed struct {
	bytes, limit int64
	why          string // of the limit
}

// overweight tells whether a worker of so many bytes has too much, and what for.
func (n *nurse) overweight(bytes int64) (weighed, bool) {
	w := weighed{bytes: bytes, limit: max(n.pool.server.cfg.WorkerMemory, hint(n.env.Env, urnMinRAM))}
	if n.pool.server.cfg.WorkerMemory > 0 {
		w.why = "the limit for a worker"
		return w, bytes > w.limit
	}
	all, left, ok := systemMemory()
	if !ok {
		return w, false
	}
	w.limit = max(all*sharePart/shareOf/int64(n.pool.size), hint(n.env.Env, urnMinRAM))
	w.why = fmt.Sprintf("its share of %s, of which %s are left", sizeText(all), sizeText(left))
	return w, bytes > w.limit && left < all/shortOf
}

// weigh looks at the worker's memory.
func (n *nurse) weigh(now time.Time) {
	pid := int(n.process.Load())
	if pid == 0 || n.pool.server.cfg.WorkerMemory < 0 {
		return
	}
	bytes, ok := residentMemory(pid)
	if !ok {
		return
	}
	n.weight.Store(bytes)
	w, over := n.overweight(bytes)
	switch {
	case n.leaving.IsZero() && over:
		n.leaving = now
		n.pool.events.tell(func(e PoolEvents) { e.WorkerLeaving(n.worker) })
	case n.leaving.IsZero():
		return
	case n.idle() && now.Sub(n.leaving) >= roundEvery/2:
		n.letGo("", w)
	case n.pool.server.cfg.WorkerMemory > 0 && bytes/farOver >= w.limit/farOverOf || now.Sub(n.leaving) > leavePatience:
		n.letGo(" in mid-bundle", w)
	}
}

func (n *nurse) letGo(when string, w weighed) {
	text := fmt.Sprintf("SDK harness %s holds %s of memory, and %s is %s: it is replaced%s", n.id, sizeText(w.bytes), w.why, sizeText(w.limit), when)
	n.pool.warn(text + ".")
	n.end(&beam.Error{Code: beam.Unavailable, Where: "SDK harness " + n.id, What: text,
		Cure: "see what its functions keep, or set the server's --worker-memory-limit higher"})
}

// weightText is what the worker had in memory when it was last weighed, for the
// text of its end.
func (w *worker) weightText() string {
	if bytes := w.weight.Load(); bytes > 0 {
		return fmt.Sprintf(", which held %s of memory a moment before,", sizeText(bytes))
	}
	return ""
}

// sizeText writes a number of bytes as people read it.
func sizeText(n int64) string {
	const mib = 1 << 20
	if n < 1<<30 {
		return fmt.Sprintf("%.0f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/mib/1024)
}
