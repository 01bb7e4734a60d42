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
	// meant is the time at which a timer that user code set for fire is due. Told says
	// that its bundle was told the clock's time, by timers that fired.
	meant(fire beam.EventTime, told bool) beam.EventTime
}

// wallClock is the machine's clock as it was at the job's start, and goes on by
// itself: what the machine's is set to afterwards neither stops the job nor has
// everything be due at once.
type wallClock struct {
	start time.Time
	// wall is the machine's clock.
	wall func() time.Time
}

func newWallClock() *wallClock { return &wallClock{start: time.Now(), wall: time.Now} }

// now uses the monotonic reading, so that a clock that jumps does no harm.
func (c *wallClock) now() time.Time        { return c.start.Add(time.Since(c.start)).Round(0) }
func (c *wallClock) virtual() bool         { return false }
func (c *wallClock) jumpTo(time.Time) bool { return false }

// jump is by how much the machine's clock must have been set for timers to mind.
const jump = 2 * time.Second

// meant goes by the machine's clock, as user code does, also where that has been set
// since the job began: ten seconds from its now are ten seconds from ours. What
// lies ahead of a time that user code was told, but not of the machine's, goes by
// the former.
func (c *wallClock) meant(fire beam.EventTime, told bool) beam.EventTime {
	now, wall := c.now(), c.wall().Round(0)
	if ahead := wall.Sub(now); ahead < jump && ahead > -jump || fire >= beam.MaxEventTime {
		return fire
	} else if at := fire.Time(); told && at.After(now) && (ahead < 0 || at.Before(wall)) {
		return fire
	}
	return min(fire.AddMillis(now.Sub(wall).Milliseconds()), beam.MaxEventTime)
}

// virtualClock begins at the wall time of the job's start, since that is what
// user code asks for the time.
type virtualClock struct {
	start beam.EventTime
	wall  func() time.Time
	mu    sync.Mutex
	t     time.Time
}

func newVirtualClock() *virtualClock {
	now := time.Now().Truncate(time.Millisecond)
	return &virtualClock{start: beam.EventTime(now.UnixMilli()), wall: time.Now, t: now}
}

// meant tells three clocks apart that user code goes by. One of a test's own begins
// at zero: such times are decades ago, and count from the job's start. The
// machine's, which knows nothing of what the script has skipped: what is set ten
// seconds from now is due ten seconds from the script's now. And this one, of which
// user code knows the time of a timer that fires: what it sets by that is later.
func (c *virtualClock) meant(fire beam.EventTime, told bool) beam.EventTime {
	if fire >= 0 && fire < c.start/2 {
		return c.start + fire
	}
	now := beam.FromTime(c.now())
	if told && fire > now {
		return fire
	}
	return min(fire.AddMillis(int64(now-beam.FromTime(c.wall()))), beam.MaxEventTime)
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
