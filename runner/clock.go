package runner

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"fresnel/internal/beam"
)

// clock is a job's processing time: the machine's, or one that only moves when
// a TestStream says so or when nothing else can happen.
type clock interface {
	now() time.Time
	virtual() bool
	// jumpTo moves a virtual clock forward; false on the machine's clock.
	jumpTo(t time.Time) bool
	// meant is the time at which a timer that user code set for fire is due.
	meant(fire beam.EventTime) beam.EventTime
}

// wallClock never runs backwards.
type wallClock struct{ start time.Time }

func newWallClock() *wallClock { return &wallClock{start: time.Now()} }

// now uses the monotonic reading, so that a clock that jumps does no harm.
func (c *wallClock) now() time.Time        { return c.start.Add(time.Since(c.start)).Round(0) }
func (c *wallClock) virtual() bool         { return false }
func (c *wallClock) jumpTo(time.Time) bool { return false }

func (c *wallClock) meant(fire beam.EventTime) beam.EventTime { return fire }

// virtualClock begins at the wall time of the job's start, since that is what
// user code asks for the time.
type virtualClock struct {
	start beam.EventTime
	mu    sync.Mutex
	t     time.Time
}

func newVirtualClock() *virtualClock {
	now := time.Now().Truncate(time.Millisecond)
	return &virtualClock{start: beam.EventTime(now.UnixMilli()), t: now}
}

// meant counts what is set by a clock that begins at zero, as tests that bring
// their own have it, from the job's start: such times are decades ago.
func (c *virtualClock) meant(fire beam.EventTime) beam.EventTime {
	if fire >= 0 && fire < c.start/2 {
		return c.start + fire
	}
	return fire
}

func (c *virtualClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *virtualClock) virtual() bool { return true }

func (c *virtualClock) jumpTo(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.After(c.t) {
		return false
	}
	c.t = t
	return true
}

// panicked makes an error of a recovered panic.
func panicked(p any) error {
	return &beam.Error{Code: beam.Internal, What: fmt.Sprintf("panic: %v\n%s", p, debug.Stack())}
}
