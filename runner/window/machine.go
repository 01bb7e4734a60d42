package window

// The state machine of a trigger, for one key and window. Its verbs are those
// of the model: an element arrives, time passes (tick), the trigger is asked
// whether it is ready, a pane is fired, windows merge.
//
// A node is finished when it will not be ready again. A leaf that fired is
// finished; Repeat and the sub-triggers of AfterEndOfWindow start over; the
// pane's trigger as a whole is done when the root is finished.

// nodeState is the state of one node in one cell.
type nodeState struct {
	// n counts elements (nodeCount), or is the instant at which the delay since
	// the first element ends (nodeDelay).
	n int64
	// set: the delay has begun.
	set bool
	// reached: Advance saw the end of the delay.
	reached bool
	// finished; of nodeEndOfWindow the root's finish. passed: the pane at the
	// end of the window has fired (nodeEndOfWindow).
	finished, passed bool
}

// run is a trigger with the state of one cell and the moment of an event.
type run struct {
	*trigger
	st []nodeState
	// ended: the watermark is past the end of the window.
	ended bool
}

func (r run) finished() bool { return r.st[0].finished }

// element tells node i that an element arrived at now.
func (r run) element(i int, now instant) {
	n, st := &r.nodes[i], &r.st[i]
	switch n.kind {
	case nodeCount:
		st.n++
	case nodeDelay:
		if !st.set {
			*st = nodeState{n: int64(n.due(now)), set: true, finished: st.finished}
		}
	case nodeAfterEach, nodeEndOfWindow:
		r.elementInTurn(i, now)
	case nodeAfterAll:
		for _, sub := range n.subs {
			if !r.st[sub].finished {
				r.element(sub, now)
			}
		}
	default:
		for _, sub := range n.subs {
			r.element(sub, now)
		}
	}
}

// elementInTurn tells the sub-trigger whose turn it is; all of them where a
// merge may give the turn back to an earlier one.
func (r run) elementInTurn(i int, now instant) {
	for k, sub := range r.nodes[i].subs {
		if sub != noSub && (r.merging || k == r.turn(i)) {
			r.element(sub, now)
		}
	}
}

// turn is the place in subs of the sub-trigger that runs; past the last if
// there is none.
func (r run) turn(i int) int {
	if r.nodes[i].kind == nodeEndOfWindow {
		return bit(r.st[i].passed)
	}
	subs := r.nodes[i].subs
	for k, sub := range subs {
		if !r.st[sub].finished {
			return k
		}
	}
	return len(subs)
}

// ready says whether node i would fire.
func (r run) ready(i int) bool {
	n, st := &r.nodes[i], &r.st[i]
	switch n.kind {
	case nodeDefault:
		return r.ended
	case nodeAlways:
		return true
	case nodeCount:
		return st.n >= n.count
	case nodeDelay:
		return st.reached
	case nodeEndOfWindow:
		return r.ended && !st.passed || r.readyInTurn(i)
	case nodeAfterEach:
		return r.readyInTurn(i)
	case nodeRepeat:
		return r.ready(n.subs[0])
	case nodeOrFinally:
		return r.ready(n.subs[0]) || r.ready(n.subs[1])
	case nodeAfterAny:
		return r.anyReady(n.subs)
	case nodeAfterAll:
		return r.allReady(n.subs)
	}
	return false // nodeNever
}

func (r run) readyInTurn(i int) bool {
	subs, k := r.nodes[i].subs, r.turn(i)
	return k < len(subs) && subs[k] != noSub && r.ready(subs[k])
}

func (r run) anyReady(subs []int) bool {
	for _, sub := range subs {
		if r.st[sub].finished || r.ready(sub) {
			return true
		}
	}
	return false
}

func (r run) allReady(subs []int) bool {
	for _, sub := range subs {
		if !r.st[sub].finished && !r.ready(sub) {
			return false
		}
	}
	return true
}

// fire moves node i, which is ready, past its firing.
func (r run) fire(i int) {
	n, st := &r.nodes[i], &r.st[i]
	switch n.kind {
	case nodeCount, nodeDelay:
		*st = nodeState{finished: true}
	case nodeEndOfWindow:
		r.fireEndOfWindow(i)
	case nodeRepeat:
		r.fireAgain(n.subs[0])
	case nodeOrFinally:
		r.fireOrFinally(i)
	case nodeAfterAny, nodeAfterAll:
		r.fireReady(n.subs)
		st.finished = true
	case nodeAfterEach:
		r.fireInTurn(i)
	}
}

// fireAgain fires a sub-trigger that is repeated.
func (r run) fireAgain(sub int) {
	r.fire(sub)
	if r.st[sub].finished {
		r.reset(sub)
	}
}

// fireEndOfWindow fires the early trigger before the end of the window, the
// late one after the pane at the end, both repeated. Without a late one, the
// pane at the end is the last.
func (r run) fireEndOfWindow(i int) {
	st, subs := &r.st[i], r.nodes[i].subs
	switch {
	case st.passed:
		r.fireAgain(subs[1])
	case !r.ended:
		r.fireAgain(subs[0])
	default:
		st.passed, st.finished = true, subs[1] == noSub
		r.resetAll(subs)
	}
}

// fireOrFinally fires the end if that is ready, else the main trigger.
func (r run) fireOrFinally(i int) {
	main, finally := r.nodes[i].subs[0], r.nodes[i].subs[1]
	if r.ready(finally) {
		r.fire(finally)
		r.st[i].finished = true
		return
	}
	r.fire(main)
	r.st[i].finished = r.st[main].finished
}

func (r run) fireReady(subs []int) {
	for _, sub := range subs {
		if r.ready(sub) {
			r.fire(sub)
		} else {
			r.clear(sub)
		}
	}
}

func (r run) fireInTurn(i int) {
	subs := r.nodes[i].subs
	r.fire(subs[r.turn(i)])
	if r.merging { // all of them saw the elements of this pane
		for _, sub := range subs {
			r.clear(sub)
		}
	}
	r.st[i].finished = r.turn(i) == len(subs)
}

// clear forgets what the subtree at i counted, and not what is finished.
func (r run) clear(i int) {
	for k := i; k < r.nodes[i].end; k++ {
		st := &r.st[k]
		*st = nodeState{finished: st.finished, passed: st.passed}
	}
}

// reset makes the subtree at i as new.
func (r run) reset(i int) { clear(r.st[i:r.nodes[i].end]) }

func (r run) resetAll(subs []int) {
	for _, sub := range subs {
		if sub != noSub {
			r.reset(sub)
		}
	}
}

// tick lets processing time pass, and returns the next instant that the
// trigger waits for, never if there is none.
func (r run) tick(now instant) (next instant) {
	next = never
	for i := range r.st {
		st := &r.st[i]
		if !st.set || st.reached {
			continue
		}
		if st.reached = instant(st.n) <= now; !st.reached {
			next = min(next, instant(st.n))
		}
	}
	return next
}

// merge sets node i from the states of the windows that become this one.
func (r run) merge(i int, from [][]nodeState) {
	n, st := &r.nodes[i], &r.st[i]
	switch n.kind {
	case nodeCount:
		*st = mergeCounts(i, from)
	case nodeDelay:
		*st = mergeDelays(i, st.finished, from)
	case nodeEndOfWindow:
		r.mergeEndOfWindow(i, from)
	case nodeAfterEach:
		r.mergeEach(i, from)
	default:
		for _, sub := range n.subs {
			r.merge(sub, from)
		}
		st.finished = r.mergedFinish(n)
	}
}

// mergedFinish is whether a composite of merged sub-triggers is finished.
func (r run) mergedFinish(n *node) bool {
	finished := 0
	for _, sub := range n.subs {
		finished += bit(r.st[sub].finished)
	}
	switch n.kind {
	case nodeAfterAll:
		return finished == len(n.subs)
	case nodeAfterAny, nodeOrFinally:
		return finished > 0
	}
	return false
}

// mergeCounts: a count that one of the windows had in full is had.
func mergeCounts(i int, from [][]nodeState) (sum nodeState) {
	for _, st := range from {
		if st[i].finished {
			return nodeState{finished: true}
		}
		sum.n += st[i].n
	}
	return sum
}

// mergeDelays: the first element of the pane is that of all windows.
func mergeDelays(i int, finished bool, from [][]nodeState) (least nodeState) {
	if finished {
		return nodeState{finished: true}
	}
	for _, st := range from {
		if s := st[i]; s.set && (!least.set || s.n < least.n) {
			least = nodeState{n: s.n, set: true, reached: s.reached}
		}
	}
	return least
}

// mergeEndOfWindow: the merged window is past its end only if all its parts
// are, and it is itself; else its elements wait for a new end.
func (r run) mergeEndOfWindow(i int, from [][]nodeState) {
	st, subs := &r.st[i], r.nodes[i].subs
	passed := r.ended
	for _, s := range from {
		passed = passed && s[i].passed
	}
	*st = nodeState{passed: passed, finished: passed && subs[1] == noSub}
	r.resetAll(subs)
	if runs := subs[bit(passed)]; runs != noSub {
		r.merge(runs, from)
	}
}

// mergeEach: the steps up to the first that is not finished in the merged
// window merge; those behind it begin again.
func (r run) mergeEach(i int, from [][]nodeState) {
	before := true
	for _, sub := range r.nodes[i].subs {
		if !before {
			r.reset(sub)
			continue
		}
		r.merge(sub, from)
		before = r.st[sub].finished
	}
	r.st[i].finished = before
}
