package window

import "fresnel/internal/beam"

// stamp is the timestamp of a pane as its elements decide it: the earliest or the
// latest of those that were not behind the watermark when they came, or the
// end of the window. Without such an element there is none, and the pane takes
// the end of the window.
type stamp struct {
	at  beam.EventTime
	set bool
}

// stamps says whether elements decide the timestamps of panes.
func (g *Grouping) stamps() bool { return g.Strategy.outputTime != endOfWindow }

// stampOf is the stamp that one element gives, in a window with the last
// instant end.
func (g *Grouping) stampOf(ts, end, wm beam.EventTime) stamp {
	if g.Strategy.outputTime == endOfWindow {
		ts = end
	}
	ts = min(ts, end)
	return stamp{at: ts, set: ts >= wm}
}

// add combines two stamps.
func (s *stamp) add(o stamp, by outputTime) {
	switch {
	case !o.set:
	case !s.set:
		*s = o
	case by == latestInPane:
		s.at = max(s.at, o.at)
	case by == earliestInPane:
		s.at = min(s.at, o.at)
	default:
		s.at = o.at
	}
}

// or returns the stamp, end if there is none.
func (s stamp) or(end beam.EventTime) beam.EventTime {
	if s.set {
		return s.at
	}
	return end
}
