package runner

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
)

// TestADrainEndsTimersThatSetThemselvesAgain: a drain lets timers set others, in
// both domains and without waiting, but not for ever; the user is told.
func TestADrainEndsTimersThatSetThemselvesAgain(t *testing.T) {
	r := newRig(t)
	r.source("in", &fakeSource{batches: [][][]byte{{at(0, "k", "go")}}})
	const period = 500 // milliseconds
	now := func() beam.EventTime { return beam.FromTime(time.Now()) }
	r.do["work"] = func(c *call) error {
		return c.events(coder.GlobalWindow, func(e *item) error {
			return errors.Join(c.set("clock", coder.Timer{Key: str(e.key), Fire: now(), Hold: 0}),
				c.set("event", coder.Timer{Key: str(e.key), Fire: 1000, Hold: 1000}), c.out(e.Raw))
		}, func(family string, timer *coder.Timer) error {
			next := coder.Timer{Key: timer.Key, Tag: timer.Tag, Hold: timer.Hold}
			switch {
			case family == "event": // an endless loop in event time
				next.Fire, next.Hold = timer.Fire+60_000, timer.Fire+60_000
			case timer.Tag == "": // one in processing time, and a chain of three
				next.Fire = now() + period
				chain := coder.Timer{Key: timer.Key, Tag: "x", Fire: now() + period, Hold: 0}
				if err := firstError(c.out(at(0, "k", "beat")), c.set("clock", chain)); err != nil {
					return err
				}
			case len(timer.Tag) < 3:
				next.Tag, next.Fire = timer.Tag+"x", now()+period
			default:
				return c.out(at(0, "k", "end of the chain"))
			}
			return c.set(family, next)
		})
	}
	out := r.sink("out")
	j := r.start(newPipe().read("read", "in", "u_a:").pardo("work", stateful("timer"), "in=u_a", "out=u_b:").write("write", "out", "u_b"))
	out.await(1)
	close(j.drain)
	began := time.Now()
	j.mustEnd()
	if took := time.Since(began); took > lastRounds*period*time.Millisecond/2 {
		t.Errorf("the timers were waited for: the drain took %v", took)
	}
	all := strings.Join(out.got(), " ")
	if n := strings.Count(all, "beat"); n > lastRounds+2 {
		t.Errorf("%d beats", n)
	}
	if !strings.Contains(all, "end of the chain") {
		t.Error("a chain of timers did not come to its end: ", all)
	}
	if said := j.said(jobservice.Warning); !strings.Contains(said, "Work: the job drains") {
		t.Errorf("the user was told: %s", said)
	}
}

// TestADrainDoesNotWaitForTimers: what would have been due in an hour is due when
// the input has ended.
func TestADrainDoesNotWaitForTimers(t *testing.T) {
	r := newRig(t)
	r.source("in", &fakeSource{batches: [][][]byte{{at(0, "k", "go")}}})
	r.do["work"] = func(c *call) error {
		return c.events(coder.GlobalWindow, func(e *item) error {
			later := beam.FromTime(time.Now().Add(time.Hour))
			return errors.Join(c.set("clock", coder.Timer{Key: str(e.key), Fire: later, Hold: 0}), c.out(e.Raw))
		}, func(string, *coder.Timer) error { return c.out(at(0, "k", "rung")) })
	}
	out := r.sink("out")
	j := r.start(newPipe().read("read", "in", "u_a:").pardo("work", stateful("timer"), "in=u_a", "out=u_b:").write("write", "out", "u_b"))
	out.await(1)
	close(j.drain)
	j.mustEnd()
	out.want("k=go", "k=rung")
}
