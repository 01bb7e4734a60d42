package window

import "fresnel/internal/beam"

// noHold is the hold of a cell that no pane is to come of.
const noHold = beam.MaxEventTime

// holdOf returns the least timestamp of the panes to come of a cell, so that
// none of them is late for who reads them: the stamp of its elements; where
// they have none, as they came late, the next time at which the window fires
// by itself; likewise where an empty pane is promised.
func (s *Strategy) holdOf(c *cell) beam.EventTime {
	if c.closed {
		return noHold
	}
	hold := noHold
	if !c.empty() {
		hold = c.stamp.or(c.nextEvent())
	}
	if s.onTimeAlways && !c.ended {
		hold = min(hold, c.end)
	}
	if s.closeAlways {
		hold = min(hold, c.gc)
	}
	return hold
}

// nextEvent is the instant past which the watermark changes the cell.
func (c *cell) nextEvent() beam.EventTime {
	if c.ended {
		return c.gc
	}
	return c.end
}
