package engine

import (
	"math"
	"slices"
	"time"
)

// pool is a set of workers, and the stages that run on them.
type pool struct {
	PoolSpec
	index int
	// workers by position; positions of lost workers are nil until used again.
	workers []*worker
	// stages that run here; ready has the ranks of those with work.
	stages []*stage
	ready  bitset
	// picks counts bundles started, for the age of what waits.
	picks int
	// alone: a bundle whose code computes has its worker for itself (pairing.go).
	alone bool
	// asked: the CPU times of its workers are on their way; nextLook is when it is
	// worth to ask again.
	asked    bool
	nextLook instant
}

// worker is one SDK harness, or the runner itself for a native pool.
type worker struct {
	id, pos int
	slots   int
	// wide workers run bundles side by side; a harness has one interpreter for all.
	wide bool
	// leaving workers get no more bundles.
	leaving bool
	// running are the bundles in flight, in the order of their start; load counts
	// those that end by themselves. Unbounded restrictions run until they are cut,
	// which says nothing of how busy they are.
	running []*bundle
	load    int
	// emitted counts those of running that have put out all, and take no slot.
	emitted int
	// busy is the decaying share of time with a bundle in flight, as of seen.
	busy float64
	seen instant
	// idleSince is when load came down to 0.
	idleSince instant
	// served grows by the time that one bundle had of the worker, had it run all
	// along: with n in flight, at a n-th of the clock's speed.
	served instant
	cpu    load
}

// busyMemory is the time constant of worker.busy: it is the busy share of about
// the last tenth of a second.
const busyMemory = instant(100 * time.Millisecond)

// pass brings the worker's measures up to now.
func (w *worker) pass(now instant) {
	dt := now - w.seen
	if dt <= 0 {
		return
	}
	w.seen = now
	fade := math.Exp(-float64(dt) / float64(busyMemory))
	w.busy *= fade
	if w.load > 0 {
		w.busy += 1 - fade
	}
	if n := w.occupied(); n > 0 {
		w.served += dt / instant(n)
		w.cpu.pass(dt, n)
	}
}

// lingers tells whether bundles of the stage end when they like, or are cut.
func (st *stage) lingers() bool { return st.Role == Source || st.CheckpointAfter > 0 }

// load is 0 for a bundle that lingers.
func (b *bundle) load() int {
	if b.stage.lingers() {
		return 0
	}
	return 1
}

// free is how many bundles of the stage the worker has slots for. Bundles that
// wait take one slot of those that compute, all together, and leave the last; one
// that should run alone takes all.
func (w *worker) free(st *stage) int {
	if w.leaving {
		return 0
	}
	if st.waits() {
		return st.width.n - w.occupied()
	}
	compute, wait := 0, 0
	for _, b := range w.running {
		switch {
		case b.emitted:
		case b.stage.waits():
			wait = min(1, w.slots-1)
		case b.stage.alone():
			compute = w.slots
		default:
			compute++
		}
	}
	return w.slots - compute - wait
}

func (w *worker) begin(b *bundle, now instant) {
	w.pass(now)
	w.running = append(w.running, b)
	w.cpu.begin(b.stage)
	w.load += b.load()
	b.worker, b.started, b.servedAt = w, now, w.served
}

func (w *worker) end(b *bundle, now instant) {
	w.pass(now)
	if i := slices.Index(w.running, b); i >= 0 {
		w.running = slices.Delete(w.running, i, i+1)
		if b.emitted {
			w.emitted--
		}
		w.load -= b.load()
	}
	if w.load == 0 {
		w.idleSince = now
	}
}

// occupied is how many bundles compute, or may.
func (w *worker) occupied() int { return len(w.running) - w.emitted }

// hasEmitted notes that a bundle has put out all. It stays a load, which small
// bundles go by.
func (w *worker) hasEmitted(b *bundle, now instant) {
	w.pass(now)
	b.emitted = true
	w.emitted++
}

// shortestWait keeps the clock's ticks from being finer than clocks are.
const shortestWait = instant(200 * time.Microsecond)

func newPool(index int, spec PoolSpec, stages int, streaming bool) *pool {
	p := &pool{PoolSpec: spec, index: index, ready: newBitset(stages), alone: spec.Measurable && !spec.Native && !streaming}
	if spec.Native {
		def(&p.PerBundle, 50*time.Microsecond)
	}
	def(&p.PerBundle, 2*time.Millisecond)
	if spec.Native {
		p.add(0, 0)
	}
	return p
}

// find returns the worker with the id, or nil.
func (p *pool) find(id int) *worker {
	for _, w := range p.workers {
		if w != nil && w.id == id {
			return w
		}
	}
	return nil
}

// add puts a worker at the first free position.
func (p *pool) add(id int, now instant) *worker {
	w := &worker{id: id, slots: p.Slots, wide: p.Native, seen: now}
	w.pos = slices.Index(p.workers, nil)
	if w.pos < 0 {
		w.pos = len(p.workers)
		p.workers = append(p.workers, nil)
	}
	p.workers[w.pos] = w
	return w
}

// slotsOf are the slots that all workers have for a stage.
func (p *pool) slotsOf(st *stage) int {
	n := 0
	for _, w := range p.workers {
		switch {
		case w == nil || w.leaving:
		case st.alone():
			n++
		default:
			n += max(w.slots, st.width.n)
		}
	}
	return max(n, 1)
}

// free slots of all workers for a stage.
func (p *pool) free(st *stage) int {
	n := 0
	for _, w := range p.workers {
		if w != nil {
			n += max(w.free(st), 0)
		}
	}
	return n
}

// spares tells whether the worker's last free slot is kept from a stage whose
// bundles may wait for long (sources, unbounded restrictions), for the stages
// that work off what those produce.
func (p *pool) spares(w *worker, st *stage) bool {
	if !st.lingers() || w.slots == 1 || w.free(st) > 1 {
		return false
	}
	return slices.ContainsFunc(p.stages, func(o *stage) bool { return !o.lingers() })
}

// freest returns the worker that should take the next bundle of a stage: of those with a
// free slot one with fewest bundles in flight; among these the one used most
// lately, so that a trickle keeps one worker warm instead of waking all.
func (p *pool) freest(st *stage, now instant, may func(*worker) bool) *worker {
	var best *worker
	for _, w := range p.workers {
		if w == nil || w.free(st) <= 0 {
			continue
		}
		w.pass(now)
		if !may(w) {
			continue
		}
		if best == nil || len(w.running) < len(best.running) ||
			len(w.running) == len(best.running) && w.busy > best.busy {
			best = w
		}
	}
	return best
}
