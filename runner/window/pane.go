package window

import "fresnel/internal/beam"

// panes numbers the panes of a cell. Their timings are any number of early ones,
// at most one on time, then late ones.
type panes struct {
	// index is that of the next pane, nonSpeculative of the next that is not early.
	index, nonSpeculative int64
}

// next returns the pane that is emitted now.
func (p *panes) next(timing beam.Timing, last bool) beam.Pane {
	pane := beam.Pane{First: p.index == 0, Last: last, Timing: timing, Index: p.index, NonSpeculative: -1}
	p.index++
	if timing != beam.Early {
		pane.NonSpeculative = p.nonSpeculative
		p.nonSpeculative++
	}
	return pane
}

// timing is that of a pane that is emitted now: early up to the end of the
// window; on time if it is the first after it, and its timestamp is held; late
// else.
func (c *cell) timing(wm beam.EventTime) beam.Timing {
	switch {
	case c.late, c.panes.nonSpeculative > 0:
		return beam.Late
	case wm <= c.end:
		return beam.Early
	}
	return beam.OnTime
}

// wanted says whether a pane is emitted: one with something new always is, an
// empty one if it is on time or the last and the user wants it then.
func (s *Strategy) wanted(empty, onTime, last bool) bool {
	return !empty || onTime && s.onTimeAlways || last && s.closeAlways
}
