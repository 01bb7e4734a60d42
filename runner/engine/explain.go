package engine

import (
	"fmt"
	"strings"

	"fresnel/internal/beam"
)

// Explain tells what a job that has not ended waits for, a line for each stage
// that is not at its end, in the order of the data.
func (e *Engine) Explain() string {
	var lines []string
	for _, st := range e.byRank {
		if why := e.explain(st); len(why) > 0 {
			lines = append(lines, fmt.Sprintf("%s (input %v): %s", st.Name, st.input, strings.Join(why, "; ")))
		}
	}
	if len(lines) == 0 {
		return "nothing is left to do\n"
	}
	return strings.Join(lines, "\n") + "\n"
}

// explain lists what keeps one stage from its end, other than its producers.
func (e *Engine) explain(st *stage) []string {
	var why []string
	say := func(n int, format string, args ...any) {
		if n > 0 {
			why = append(why, fmt.Sprintf(format, args...))
		}
	}
	s := st.snapshot()
	say(s.Running, "%d bundles running", s.Running)
	say(len(st.again), "%d bundles wait for a slot", len(st.again))
	say(s.Blocks, "%d blocks with %d elements queued", s.Blocks, s.Elements)
	if s.Blocks > 0 && st.pool != nil && len(st.pool.workers) == 0 {
		why = append(why, fmt.Sprintf("no worker of pool %s is up", st.pool.Name))
	}
	why = append(why, e.explainApart(st)...)
	say(s.Entries, "%d outbox entries not acknowledged", s.Entries)
	say(s.Reading, "%d shards still read", s.Reading)
	if st.Role == Process && s.Hold < beam.MaxEventTime {
		why = append(why, fmt.Sprintf("state holds the watermark at %v", s.Hold))
	}
	if st.clocks.min() != never {
		what := map[bool]string{true: "rests until", false: "next processing-time timer"}[st.reads()]
		why = append(why, fmt.Sprintf("%s %v", what, e.time(st.clocks.min()).UTC()))
	}
	if next := st.events.min(); next <= beam.MaxEventTime {
		why = append(why, fmt.Sprintf("next event-time timer %v", next))
	}
	return why
}

// explainApart tells what the blocks that are not in queues wait for.
func (e *Engine) explainApart(st *stage) []string {
	var why []string
	gated := 0
	for i := range st.shards {
		gated += len(st.shards[i].gated)
	}
	if gated > 0 {
		why = append(why, fmt.Sprintf("%d blocks wait for side inputs", gated))
		for k := range st.sides {
			if st.sides[k].watermark < beam.MaxEventTime {
				why = append(why, fmt.Sprintf("side input %d is at %v", k, st.sides[k].watermark))
			}
		}
	}
	if delayed := st.apart.blocks - gated; delayed > 0 {
		why = append(why, fmt.Sprintf("%d blocks wait for the clock", delayed))
	}
	for _, b := range e.later {
		if b.stage == st {
			why = append(why, fmt.Sprintf("a failed bundle is tried again at %v", e.time(b.notBefore).UTC()))
		}
	}
	return why
}
