package fnapi

import "time"

const (
	// trailTime is how long it is quiet after a response until no more writes of
	// user state are taken to come, openTime how long the stream they come on may
	// take to open, once for a worker.
	trailTime = 3 * time.Millisecond
	openTime  = 200 * time.Millisecond
)

// trail is what may come of user state behind a bundle's response. Python's and
// Go's harnesses wait for the answers to what they write before they respond;
// Java's does not (BagUserState.asyncClose), and State and Control are streams of
// different connections, of which either may be faster. What comes when the bundle
// is over would be lost. Guarded by the bundle's mu.
type trail struct {
	timer *time.Timer
	last  time.Time // when the last request came
	over  bool
}

// awaited tells whether writes may still come, and has the bundle looked at again
// when none does any more. Called with r.mu held, by a bundle that has all else.
func (r *running) awaited() bool {
	t := &r.trail
	if !r.worker.trails || !r.bundle.Descriptor.UserState || t.over {
		return false
	}
	if t.timer == nil {
		wait := trailTime
		if !r.worker.stateOpen.Swap(true) { // harnesses open it with their first bundle that may need it
			wait = openTime
		}
		t.timer = time.AfterFunc(wait, r.lookBehind)
	}
	return true
}

func (r *running) lookBehind() {
	r.update(func() {
		if t := &r.trail; time.Since(t.last) < trailTime {
			t.timer.Reset(trailTime)
		} else {
			t.over = true
		}
	})
}
