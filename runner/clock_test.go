package runner

import (
	"testing"
	"time"

	"fresnel/internal/beam"
)

// TestAClockThatJumpsMovesNoTimer: a timer of ten seconds takes ten seconds, whether
// it was set before the machine's clock was set to another time or after, forwards
// or backwards.
func TestAClockThatJumpsMovesNoTimer(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{0, time.Second, time.Hour, -time.Hour, 30 * 24 * time.Hour, -30 * 24 * time.Hour} {
		c := newWallClock()
		before := c.now()
		c.wall = func() time.Time { return time.Now().Add(by) }
		if moved := c.now().Sub(before); moved < 0 || moved > time.Minute {
			t.Errorf("by %v: the job's clock jumps too, by %v", by, moved)
		}
		for _, told := range []bool{false, true} {
			const d = 10 * time.Second
			due := c.meant(beam.FromTime(c.wall().Add(d)), told).Time().Sub(c.now())
			if short := d - due; short < -jump || short > jump+time.Second {
				t.Errorf("by %v, told %v: what is set for %v from now is due in %v", by, told, d, due)
			}
		}
		due := c.meant(beam.FromTime(c.now().Add(10*time.Second)), true).Time().Sub(c.now())
		if due < 8*time.Second || due > 12*time.Second {
			t.Errorf("by %v: what is set for 10s from the time of a timer that fires is due in %v", by, due)
		}
		if got := c.meant(beam.MaxEventTime, false); got != beam.MaxEventTime {
			t.Errorf("by %v: the end of time is %v", by, got)
		}
	}
}
