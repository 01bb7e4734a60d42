package engine

import "time"

// width is how many bundles of a stage one worker runs at once. Two keep an
// interpreter busy that computes. User code that waits, for a service or a
// disk, leaves it idle, and is given more: while work waits and elements take
// long the width doubles, up to maxWidth, and each bundle tells what that has
// brought. Where an element takes in proportion to the bundles beside it, the
// code computes, and the width falls back; where it takes as long as ever, it
// waits. The two parts are the slope and the rest of a regression of the one on
// the other, that forgets.
//
// A stage that owns state keeps to the slots: what it waits for is mostly the
// runner, and its shards are few.
type width struct {
	// n is the width where it is more than the worker's slots, else 0.
	n int
	// since is when n last changed; told counts the bundles that have since run with
	// about as many beside them.
	since instant
	told  int
	// w, x, y, xx, xy are decayed sums of the measurements: x is the number of
	// bundles in flight, y the time of an element beside them.
	w, x, y, xx, xy float64
	// rest is how many more bundles of a stage that computes must end before it is
	// tried again, failed how often it was tried for nothing.
	rest, failed int
}

const (
	maxWidth = 16
	// slow is the time of an element from which on it may be waiting, slowByte what
	// each of its bytes adds: a megabyte takes Python 4 to 7 ms by itself, and twice
	// as long beside another bundle.
	slow     = time.Millisecond
	slowByte = instant(25 * time.Nanosecond)
	// probeTime is how long a width is tried at least, blindTime how long where no
	// bundle has told of it: those of code that computes end all the later.
	probeTime = instant(40 * time.Millisecond)
	blindTime = instant(time.Second)
	// overdueAfter is how long a bundle runs until it is split to try more width,
	// though none of its stage has ended yet that would tell what that brings.
	overdueAfter = instant(time.Second)
	// probe is how many elements go in a bundle of a stage that is known to be slow,
	// and nothing else.
	probe = 2
	// restFor is for how many bundles a stage that computes is left alone; one that
	// waits is looked at again as often.
	restFor = 64
)

// measure takes in that an element took t with n bundles in flight.
func (d *width) measure(n, t float64) {
	d.w = d.w*forget + 1
	d.x = d.x*forget + n
	d.y = d.y*forget + t
	d.xx = d.xx*forget + n*n
	d.xy = d.xy*forget + n*t
	d.rest--
	if n > float64(d.n)/2 {
		d.told++
	}
}

// best is the width at which what waits and what computes fill each other's
// time; false if the measurements do not tell.
func (d *width) best() (int, bool) {
	if d.w == 0 {
		return 0, false
	}
	meanN, meanT := d.x/d.w, d.y/d.w
	variance := d.xx/d.w - meanN*meanN
	if variance < 0.04*meanN*meanN {
		return 0, false
	}
	computes := (d.xy/d.w - meanN*meanT) / variance
	if computes <= meanT/(2*maxWidth) {
		return maxWidth, true
	}
	waits := max(meanT-computes*meanN, 0)
	return min(int(1+waits/computes), maxWidth), true
}

// judge narrows a width that has brought nothing.
func (d *width) judge(slots int, now instant) {
	if d.n == 0 {
		return
	}
	best, known := d.best()
	switch {
	case known && best <= slots:
		*d = width{rest: restFor << min(d.failed, 10), failed: d.failed + 1}
	case known && best < d.n:
		d.set(best, now)
	case !known && d.told >= restFor:
		d.set(max(d.n/2, slots), now) // to see what that brings
	}
}

// pays tells whether more width is known to bring more: only then are bundles
// split for it, which costs a harness that computes.
func (d *width) pays() bool {
	best, known := d.best()
	return known && best > d.n
}

// overdue tells whether the bundle takes so long that its elements must be slow,
// and none of its stage has told how slow.
func (e *Engine) overdue(b *bundle) bool {
	if b.stage.width.w > 0 {
		return false
	}
	due := b.started + overdueAfter
	if due > e.now {
		e.wakeAt(due)
		return false
	}
	return true
}

func (d *width) set(n int, now instant) { d.n, d.since, d.told = n, now, 0 }

// timed takes in the time of a bundle that has ended.
func (e *Engine) timed(b *bundle, elapsed time.Duration) {
	st, wall, served := b.stage, e.now-b.started, b.worker.served-b.servedAt
	if b.worker.wide || st.lingers() || b.size.elements == 0 || elapsed < 0 || served <= 0 {
		return
	}
	st.width.measure(float64(wall)/float64(served), float64(elapsed)/float64(b.size.elements))
	st.width.judge(b.worker.slots, e.now)
}

// waits tells whether the code of the stage waits, as far as is known.
func (st *stage) waits() bool { return st.width.n > 0 }

// widen has workers run more bundles of a stage at once, if all that they may
// are running, more wait, and its code may be waiting.
func (e *Engine) widen(st *stage) bool {
	d := &st.width
	if st.pool.Native || st.Exclusive || st.lingers() || d.rest > 0 || d.n >= maxWidth ||
		st.running == 0 || st.running < st.pool.slotsOf(st) {
		return false
	}
	n := min(2*max(d.n, st.pool.Slots), maxWidth)
	if best, known := d.best(); known {
		n = min(n, best)
	}
	if n <= max(d.n, st.pool.Slots) || !e.isSlow(st) {
		return false
	}
	if due := d.due(); due > e.now {
		e.wakeAt(due)
		return false
	}
	switch seen := e.sightOf(st.pool); {
	case seen == lookedAt:
		return false
	case seen == computing, seen == hidden && st.Restrictions: // of those nobody can tell
		d.computes()
		return false
	}
	d.set(n, e.now)
	return true
}

// computes notes that the code of the stage does not wait: it was seen to put out
// very much.
func (d *width) computes() { *d = width{rest: restFor, failed: d.failed} }

// due is when a width has been tried for long enough: longer if no bundle has
// told of it.
func (d *width) due() instant {
	switch {
	case d.n == 0:
		return 0
	case d.told == 0:
		return d.since + blindTime
	}
	return d.since + probeTime
}

// slowness is the time from which on elements of some size are slow: nothing that
// only moves their bytes takes as long.
func slowness(a amount) instant {
	return instant(a.elements)*instant(slow) + instant(a.bytes)*slowByte
}

// isSlow tells whether the elements of a stage take long enough to be waiting
// for something. Before any has ended, those in flight tell.
func (e *Engine) isSlow(st *stage) bool {
	if st.width.w > 0 {
		mean := st.width.y / st.width.w
		return mean*float64(st.consumed.elements) >= float64(slowness(st.consumed))
	}
	for _, w := range st.pool.workers {
		if w == nil {
			continue
		}
		for _, b := range w.running {
			if b.stage != st || b.size.elements == 0 {
				continue
			}
			due := b.started + max(probeTime, slowness(b.size))
			if due <= e.now {
				return true
			}
			e.wakeAt(due)
		}
	}
	return false
}
