package runner

import (
	"sync"
	"time"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
)

// When a drain has brought the input of a stage to its end, its timers no longer
// wait for the clock: those that are set fire at once, as Flink has it. Timers that
// set themselves again would keep the job for ever: after many rounds those that
// are still being set are dropped.

// endOfClock is the time by which all processing-time timers are due.
var endOfClock = time.UnixMilli(int64(beam.MaxEventTime))

// lastRounds is how many rounds of timers a shard has at the end of a drain.
const lastRounds = 100

// lastTimers counts the rounds of timers at the end of a drain, by shard.
type lastTimers struct {
	mu     sync.Mutex
	rounds map[int]int
	told   bool
}

// round notes that all timers of a shard that were due have fired.
func (l *lastTimers) round(shard int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rounds == nil {
		l.rounds = map[int]int{}
	}
	l.rounds[shard]++
}

// half tells whether a shard has had half of its rounds.
func (l *lastTimers) half(shard int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rounds[shard] >= lastRounds/2
}

// over tells whether a shard has had its rounds; first, whether it is the first
// to be told so.
func (l *lastTimers) over(shard int) (over, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over = l.rounds[shard] >= lastRounds
	first = over && !l.told
	l.told = l.told || over
	return over, first
}

// atTheEnd tells that a bundle is one of the end of a drain.
func (x *harnessExecutor) atTheEnd(b engine.Bundle) bool {
	return b.Watermark >= beam.MaxEventTime && len(x.families) > 0 && x.job.draining.Load()
}

// tooLate tells that a timer of the shard is set no more.
func (hb *harnessBundle) tooLate(shard int) bool {
	if !hb.last {
		return false
	}
	over, first := hb.x.last.over(shard)
	if first {
		hb.x.job.warn(hb.x.stage.where() + ": the job drains, and timers that are set again and again have ended with it")
	}
	return over
}
