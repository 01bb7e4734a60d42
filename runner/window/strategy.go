package window

import (
	"fmt"
	"strings"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// outputTime says which timestamp a pane has (OutputTime).
type outputTime uint8

const (
	endOfWindow outputTime = iota
	latestInPane
	earliestInPane
)

var outputTimeNames = [...]string{"", " latest", " earliest"}

// Strategy is a parsed WindowingStrategy, immutable.
type Strategy struct {
	fn          Fn
	windowCoder *coder.Coder
	merging     bool
	trigger     *trigger

	accumulating bool
	outputTime   outputTime
	// lateness is the allowed lateness in milliseconds: it may be longer than a
	// time.Duration.
	lateness int64
	// closeAlways is ClosingBehavior EMIT_ALWAYS: the last pane is emitted even
	// if it has nothing new.
	closeAlways bool
	// onTimeAlways is OnTimeBehavior FIRE_ALWAYS: so is the on-time pane.
	onTimeAlways bool
	// onTimeByTrigger: the closing of a window makes an empty on-time pane only
	// if the trigger is ready for it.
	onTimeByTrigger bool
}

// Fn returns the window function.
func (s *Strategy) Fn() Fn { return s.fn }

// WindowCoder returns the coder of the windows.
func (s *Strategy) WindowCoder() *coder.Coder { return s.windowCoder }

// Merging says whether a grouping must merge windows, as for sessions before
// their first grouping.
func (s *Strategy) Merging() bool { return s.merging }

// Accumulating says whether a pane has the values of the panes before it.
func (s *Strategy) Accumulating() bool { return s.accumulating }

// DefaultTrigger says whether the user left the trigger alone.
func (s *Strategy) DefaultTrigger() bool { return s.trigger.nodes[0].kind == nodeDefault }

// FiresPerElement says whether the trigger counts elements (ElementCount,
// Always), so that a combiner before the grouping would change its panes.
func (s *Strategy) FiresPerElement() bool { return s.trigger.perElement }

// AllowedLateness is how long after its end a window takes data, at most the
// longest time.Duration.
func (s *Strategy) AllowedLateness() time.Duration {
	return time.Duration(min(s.lateness, int64(maxDuration/time.Millisecond))) * time.Millisecond
}

// GarbageTime returns the last watermark at which a window that ends with the
// instant end is alive: end plus the allowed lateness, at most the end of the
// global window.
func (s *Strategy) GarbageTime(end beam.EventTime) beam.EventTime {
	return min(end.AddMillis(s.lateness), beam.EndOfGlobalWindow)
}

// AwaitedUntil returns the last watermark at which the first pane of a window that
// ends with the instant end is waited for where it is a side input. That is end, if the
// trigger is sure to fire then whatever has come; with any other a pane may come until
// GarbageTime: for late elements, as a firing in processing time, or, where the trigger
// never fires as that of Java's Wait, with the closing. Java's
// Trigger.getWatermarkThatGuaranteesFiring, which is there to tell a side input's window
// that stays empty, has the same rules, and the end of time for those others: it knows
// no closing.
func (s *Strategy) AwaitedUntil(end beam.EventTime) beam.EventTime {
	if s.trigger.firesByEnd(0) {
		return end
	}
	return s.GarbageTime(end)
}

// WindowsEqual says whether both strategies have windows of one function.
func (s *Strategy) WindowsEqual(o *Strategy) bool { return s.fn == o.fn }

// IsIdentityAfter says whether a WindowInto of s surely changes no element that
// was windowed by prev. Only the global function is sure: a timestamp may have
// moved out of the windows that its element was assigned before.
func (s *Strategy) IsIdentityAfter(prev *Strategy) bool {
	return s.fn.Kind == Global && prev.fn.Kind == Global
}

// OnlyNonEmptyClosing returns s without empty closing panes. Python's SDK
// writes EMIT_ALWAYS into every strategy, whatever the user wants, and its own
// runners emit no empty pane but the on-time one of a trigger that fires at
// the end of the window: translate calls it for strategies of Python pipelines.
func (s *Strategy) OnlyNonEmptyClosing() *Strategy {
	c := *s
	c.closeAlways, c.onTimeByTrigger = false, true
	return &c
}

// onePane says whether each key and window has one pane only, at its end, so
// that the trigger need not be run.
func (s *Strategy) onePane() bool {
	return !s.merging && s.lateness == 0 && s.trigger.onlyAtEnd()
}

// String puts the strategy on one line, for plans.
func (s *Strategy) String() string {
	var b strings.Builder
	b.WriteString(s.fn.describe() + " " + s.trigger.describe(0))
	b.WriteString([...]string{" discarding", " accumulating"}[bit(s.accumulating)])
	b.WriteString(outputTimeNames[s.outputTime])
	if s.lateness > 0 {
		fmt.Fprintf(&b, " lateness=%s", s.AllowedLateness())
	}
	b.WriteString([...]string{"", " close=always"}[bit(s.closeAlways)])
	b.WriteString([...]string{" ontime=nonempty", ""}[bit(s.onTimeAlways)])
	return b.String()
}

func (f Fn) describe() string {
	switch {
	case !f.Standard():
		return "custom(" + f.URN + ")"
	case f.Kind == Global:
		return "global"
	case f.Kind == Session:
		return fmt.Sprintf("sessions(%s)", f.Size)
	case f.Kind == Sliding:
		return fmt.Sprintf("sliding(%s every %s%s)", f.Size, f.Period, f.describeOffset())
	}
	return fmt.Sprintf("fixed(%s%s)", f.Size, f.describeOffset())
}

func (f Fn) describeOffset() string {
	if f.Offset == 0 {
		return ""
	}
	return fmt.Sprintf(" at %s", f.Offset)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
