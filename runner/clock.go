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
}

// wallClock never runs backwards.
type wallClock struct{ start time.Time }

func newWallClock() *wallClock { return &wallClock{start: time.Now()} }

// now uses the monotonic reading, so that a clock that jumps does no harm.
func (c *wallClock) now() time.Time        { return c.start.Add(time.Since(c.start)).Round(0) }
func (c *wallClock) virtual() bool         { return false }
func (c *wallClock) jumpTo(time.Time) bool { return false }

// virtualClock begins at the wall time of the job's start.
type virtualClock struct {
	mu sync.Mutex
	t  time.Time
}

func newVirtualClock() *virtualClock { return &virtualClock{t: time.Now().Truncate(time.Millisecond)} }

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
