package runner

import (
	"sync/atomic"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/state"
)

// The timers of a key and window fire in the order of their times, and one that
// fires may clear or set those that are due after it. What it does is known when
// its bundle is over, so a bundle has of each key and window only the timers of
// the first time that is due: the others are due in the next one. Beam's Java
// harness puts timers in order by itself, within a bundle; others do not.
//
// Mostly timers only emit. Where a stage's first ones have set none, all that are
// due go in one bundle. Should one of them set or clear one of its own key after
// all, that bundle does not count: it runs again in turn, as do all to come.

// maxTimers bounds how many timers of a shard fire in one bundle, where memory
// does not before; the rest is due at once again.
const maxTimers = 10_000

// calmTimers is how many timers of a stage must have fired and set none until
// those of one key go together.
const calmTimers = 100

// turns is what a stage knows of its timers.
type turns struct {
	calm   atomic.Int64 // timers that fired and set none
	strict atomic.Bool  // some set others
}

// together tells that all timers that are due may go in one bundle.
func (t *turns) together() bool { return !t.strict.Load() && t.calm.Load() >= calmTimers }

// bundleTurns watches over the timers of a bundle.
type bundleTurns struct {
	fired int
	// told: some of them are of processing time.
	told bool
	// sets counts the timers that were set or cleared; broken: one of them was of a
	// key in several.
	sets   int
	broken bool
	// several are the keys and windows with timers of more than one time, by their
	// first. It is nil where they fire in turn.
	several map[keyWindow]firing
	// last are the keys and windows of which a timer fires as the window expires.
	last map[keyWindow]bool
}

type firing struct {
	at      beam.EventTime
	several bool
}

// fires notes a timer that fires; last: as its window expires.
func (t *bundleTurns) fires(timer *state.Timer, last bool) {
	t.fired++
	t.told = t.told || timer.ProcessingTime
	if last {
		t.expires(keyWindow{string(timer.Window), string(timer.User)})
	}
	if t.several != nil {
		t.turn(keyWindow{string(timer.Window), string(timer.User)}, timer.Fire)
	}
}

func (t *bundleTurns) expires(k keyWindow) {
	if t.last == nil {
		t.last = map[keyWindow]bool{}
	}
	t.last[k] = true
}

func (t *bundleTurns) turn(k keyWindow, at beam.EventTime) {
	f, ok := t.several[k]
	if !ok {
		f.at = at
	}
	f.several = f.several || f.at != at
	t.several[k] = f
}

// set notes a timer that is set or cleared.
func (t *bundleTurns) set(user, window []byte) {
	t.sets++
	if t.several != nil && t.several[keyWindow{string(window), string(user)}].several {
		t.broken = true
	}
}

// keptTurns is an error if a timer has set or cleared one that fired with it.
func (hb *harnessBundle) keptTurns() error {
	t := &hb.x.turns
	if hb.turns.fired == 0 || len(hb.inputs) > 0 {
		return nil
	}
	if hb.turns.sets == 0 {
		t.calm.Add(int64(hb.turns.fired))
		return nil
	}
	t.strict.Store(true)
	if hb.turns.broken {
		return &beam.Error{Code: beam.Unavailable, Where: hb.x.stage.where(),
			What: "a timer set or cleared another one of its key that had fired with it: they are fired again, one after the other"}
	}
	return nil
}

// takeDue takes the timers that are due from the shards, in the order of their
// times.
func (hb *harnessBundle) takeDue() {
	for _, work := range hb.b.Work {
		if !work.EventDue && !work.ProcessingDue {
			continue
		}
		most := hb.timersOfShard()
		d := state.Due{Event: work.EventDue, Watermark: hb.timersUpTo(work.Shard), Declared: hb.x.expiry.declarations(),
			Processing: work.ProcessingDue, Now: hb.b.Now, Limit: most, InTurn: hb.inTurn(work.Shard)}
		if hb.last {
			d.Now = endOfClock
		}
		due := hb.shards[work.Shard].TakeDue(d)
		for i := range due {
			hb.fire(&due[i])
		}
		if hb.last && len(due) < most {
			hb.x.last.round(work.Shard)
		}
	}
}

// timersOfShard is how many timers of each shard fire in the bundle.
func (hb *harnessBundle) timersOfShard() int {
	if most := hb.x.stage.spec.MaxElements; most > 0 {
		return min(maxTimers, max(most/len(hb.b.Work), 1))
	}
	return maxTimers
}

// inTurn tells that a shard's timers fire in turn. At the end of a drain they do
// so for half of its rounds.
func (hb *harnessBundle) inTurn(shard int) bool {
	if hb.last {
		return !hb.x.last.half(shard)
	}
	together := hb.x.turns.together() && len(hb.inputs) == 0 && hb.x.sorter == nil
	if together && hb.turns.several == nil {
		hb.turns.several = map[keyWindow]firing{}
	}
	return !together
}

// fire adds a timer to those that the worker gets: to the last run, if it is of
// the same family.
func (hb *harnessBundle) fire(t *state.Timer) {
	hb.turns.fires(t, hb.x.expiry.last(t))
	if hb.ahead != nil {
		hb.reads.due = append(hb.reads.due, keyWindow{string(t.Window), string(t.User)})
	}
	f := fnapi.TimerFamily{Transform: t.Transform, Family: t.Family}
	if n := len(hb.due); n == 0 || hb.due[n-1].TimerFamily != f {
		hb.due = append(hb.due, fnapi.TimerData{TimerFamily: f})
	}
	if hb.x.expiry.closes(f) {
		t.Fire = t.Hold // an SDK may emit at either, and the window must hold it
	}
	run := &hb.due[len(hb.due)-1]
	run.Data = coder.AppendTimer(run.Data, &coder.Timer{Key: t.User, Tag: t.Tag, Windows: t.Window, WindowCount: 1,
		Fire: t.Fire, Hold: t.Hold, Pane: t.Pane})
}
