package engine

import "time"

// wall is a time of the clock in an image: nanoseconds since 1970, 0 for none.
type wall int64

const (
	unsetWall wall = 0
	lastWall  wall = 1 << 62 // in the year 2116
)

var wallEpoch = time.Unix(0, 0)

func wallOf(t time.Time) wall {
	if t.IsZero() {
		return unsetWall
	}
	return clampWall(int64(t.Sub(wallEpoch)))
}

func clampWall(ns int64) wall { return min(max(wall(ns), 1), lastWall) }

// time is the zero time for none.
func (w wall) time() time.Time {
	if w == unsetWall {
		return time.Time{}
	}
	return wallEpoch.Add(time.Duration(w))
}

// wall is the time of the clock at an instant, none for never.
func (e *Engine) wall(i instant) wall {
	if i == never {
		return unsetWall
	}
	return wallOf(e.epoch.Add(time.Duration(i)))
}
