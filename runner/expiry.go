package runner

import (
	"fmt"
	"slices"
	"strings"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/translate"
)

// expiry has a stage forget what it keeps for a window, its user state, its
// timers and the windows of its side inputs, once the watermark is above the
// window's end and the allowed lateness, and drop what comes later still. It is
// nil for stages that keep nothing by windows that end.
type expiry struct {
	input    *coder.Windowed
	key      *coder.Coder // of a stateful stage's KVs
	lateness int64        // milliseconds
	declared state.Declared
	// closing are the families that are to fire for every key and window seen.
	closing []*timerFamily
	// sides are the side inputs whose windows the main windows are mapped to, by the
	// runner or, asked, by the SDK.
	sides, asked []int
	// global: there is one window, and nothing is forgotten before the job is.
	global bool
}

// maxExpired bounds how many keys and windows a bundle forgets; the rest is due
// at once again.
const maxExpired = 10_000

func (x *harnessExecutor) newExpiry() (*expiry, error) {
	p := x.stage.plan
	e := &expiry{input: x.input, lateness: x.job.plan.Windowings[p.Inputs[0].Windowing].GetAllowedLateness()}
	switch x.input.WindowKind() {
	case coder.KindGlobalWindow:
		e.global = true
	case coder.KindIntervalWindow, coder.KindCustomWindow:
	default:
		return nil, nil // nobody but the SDK knows when such a window ends
	}
	var err error
	if e.sides, err = x.job.mappedSides(p); err != nil {
		return nil, err
	}
	if e.asked, err = x.job.askedSides(p); err != nil {
		return nil, err
	}
	if p.Keyed {
		if err := e.declare(x); err != nil {
			return nil, err
		}
	}
	if p.Keyed && !e.global || len(e.closing) > 0 || len(e.sides)+len(e.asked) > 0 {
		return e, nil
	}
	return nil, nil
}

func (e *expiry) declare(x *harnessExecutor) (err error) {
	p := x.stage.plan
	for _, s := range p.Harness.States {
		e.declared.States = append(e.declared.States, state.Name{Transform: s.Transform, Name: s.Name})
	}
	for _, t := range p.Harness.Timers {
		e.declared.Timers = append(e.declared.Timers, state.Name{Transform: t.Transform, Name: t.Family, ProcessingTime: t.ProcessingTime})
		if t.WindowExpiration {
			e.closing = append(e.closing, x.families[familyOf(t)])
		}
	}
	e.key, err = x.job.coders.coder(p.Inputs[0].Coder)
	return err
}

// until is the last watermark at which a window is alive.
func (e *expiry) until(window []byte) (end, until beam.EventTime, err error) {
	end, err = e.input.Window().MaxTimestamp(window)
	return end, min(end.AddMillis(e.lateness), beam.MaxEventTime-1), err
}

// bound has what a timer emits be in time for its window, and tells whether it is set
// at all. One that is set beyond its window fires as the window expires, after the
// others, in the order of their times: nothing can come for the window after that, and
// what is kept for it is forgotten. It is handed back as it was set, as the Fn API has
// a runner do with timers: Python's SDK stamps what it emits with its time. Those that
// fire then set no more beyond it. What a
// timer emits that is set to a window's end, which in Python is the instant after its
// last one, or to that and the allowed lateness, is in time too.
func (hb *harnessBundle) bound(t *state.Timer) (alive bool, err error) {
	e := hb.x.expiry
	if e == nil || e.global {
		return true, nil
	}
	end, until, err := e.until(t.Window)
	if err != nil {
		return false, err
	}
	if t.Hold == end+1 || t.Hold == until+1 {
		t.Hold--
	}
	if t.ProcessingTime || t.Fire <= until+1 {
		return true, nil
	}
	if hb.turns.last[keyWindow{string(t.Window), string(t.User)}] {
		return false, nil
	}
	if hb.x.toldBeyond.CompareAndSwap(false, true) {
		hb.x.job.warn(fmt.Sprintf("%s: the timer %s is set for %v, beyond its window and the allowed lateness: it fires when the window expires, at %v",
			hb.x.stage.where(), strings.TrimPrefix(t.Family, "ts-"), t.Fire, until+1)) // SDKs put that before the user's name
	}
	if t.Hold != beam.MaxEventTime {
		t.Hold = min(t.Hold, until)
	}
	return true, nil
}

// last tells whether a timer fires as its window expires.
func (e *expiry) last(t *state.Timer) bool {
	if e == nil || e.global || t.ProcessingTime {
		return false
	}
	_, until, err := e.until(t.Window)
	return err == nil && t.Fire > until
}

// declarations are what the stage may keep, if that expires.
func (e *expiry) declarations() state.Declared {
	if e == nil {
		return state.Declared{}
	}
	return e.declared
}

// keep notes that the bundle keeps something for a user key in a window.
func (hb *harnessBundle) keep(sh *state.Shard, window, user []byte) error {
	e := hb.x.expiry
	if e == nil || e.global {
		return nil
	}
	if hb.keptLast.is(window, user) {
		return nil
	}
	_, until, err := e.until(window)
	if err != nil {
		return hb.x.stage.badData(err)
	}
	hb.keptLast = keyWindow{string(window), string(user)}
	sh.Keep(window, user, until)
	return nil
}

// keyWindow is the last key and window that something was kept for: requests of
// one key mostly come together.
type keyWindow struct{ window, user string }

func (k keyWindow) is(window, user []byte) bool {
	return k.window == string(window) && k.user == string(user)
}

// expire forgets what has expired, unless elements are due that may read it.
func (hb *harnessBundle) expire(sh *state.Shard) {
	e := hb.x.expiry
	if e == nil || e.global || hb.sortedDue(sh) <= hb.b.Watermark {
		return
	}
	sh.Expire(hb.b.Watermark, e.declared, maxExpired)
}

// forgetSides forgets the windows of side inputs that no main window is mapped
// to any more, in the job's loop.
func (hb *harnessBundle) forgetSides() {
	e := hb.x.expiry
	if e == nil || len(e.sides)+len(e.asked) == 0 || hb.b.Watermark == beam.MaxEventTime {
		return
	}
	// An interval window's encoding begins with its end.
	end := hb.b.Watermark.AddMillis(-e.lateness)
	bound := string(coder.AppendTimestamp(nil, end.AddMillis(1)))
	for _, i := range e.sides {
		hb.forgetSide(i, bound)
	}
	for _, i := range e.asked {
		if hb.x.job.mayForget(sideKey{hb.x.stage.index, i}, end) {
			hb.forgetSide(i, bound)
		}
	}
}

// forgetSide forgets the windows that are encoded below bound of a side input.
func (hb *harnessBundle) forgetSide(i int, bound string) {
	hb.x.stage.sides[i].Forget(bound)
	hb.x.job.gates.forget(sideKey{hb.x.stage.index, i}, bound)
	if l := hb.x.job.journal; l != nil {
		l.forgetSide(hb.x.stage.index, i, bound)
	}
}

// mayForget tells that no main window which ends at a time or later is mapped to a
// side window that ends before it.
func (j *job) mayForget(k sideKey, before beam.EventTime) bool {
	m := j.mappings[k]
	return m != nil && m.forget(before)
}

// askedSides are the side inputs of a stage whose windows an SDK maps, if they are
// such that end.
func (j *job) askedSides(s *translate.Stage) ([]int, error) {
	var asked []int
	for i, side := range s.Harness.SideInputs {
		c, err := j.windowCoder(side.Collection.Windowing)
		if err != nil {
			return nil, err
		}
		if asksMapping(side, s) && c.Kind() == coder.KindIntervalWindow {
			asked = append(asked, i)
		}
	}
	return asked, nil
}

// admit drops elements whose window has expired from the bundle's input, and
// sets the timers that are to fire when a window expires.
func (hb *harnessBundle) admit() error {
	e := hb.x.expiry
	if e == nil {
		return nil
	}
	for i := range hb.inputs {
		in := &hb.inputs[i]
		late := !e.global && in.Block.MinTime < hb.b.Watermark
		if !late && len(e.closing) == 0 {
			continue
		}
		if err := hb.admitBlock(in, late); err != nil {
			return hb.x.stage.badData(err)
		}
	}
	return nil
}

// admitBlock copies a block from the first element on that is to be dropped.
func (hb *harnessBundle) admitBlock(in *input, late bool) error {
	e := hb.x.expiry
	var kept []byte
	copying := false
	var el coder.Element
	for at := 0; at < len(in.data); {
		n, err := e.input.Scan(in.data[at:], &el)
		if err != nil {
			return err
		}
		alive := el
		if late {
			if err := e.alive(&alive, hb.b.Watermark); err != nil {
				return err
			}
		}
		if alive.WindowCount < el.WindowCount && !copying {
			copying, kept = true, append(kept, in.data[:at]...)
		}
		switch {
		case alive.WindowCount == 0:
			hb.dropped++
		case alive.WindowCount < el.WindowCount:
			kept = coder.AppendElement(kept, &alive)
		case copying:
			kept = append(kept, el.Raw...)
		}
		if err := hb.close(&alive); err != nil {
			return err
		}
		at += n
	}
	if copying {
		in.data, in.own = kept, true
	}
	return nil
}

// alive takes the windows that have expired at watermark wm from an element.
func (e *expiry) alive(el *coder.Element, wm beam.EventTime) error {
	var windows []byte
	count := 0
	err := e.input.EachWindow(el, func(raw []byte) error {
		_, until, err := e.until(raw)
		if err == nil && until >= wm {
			windows = append(windows, raw...)
			count++
		}
		return err
	})
	if count < el.WindowCount {
		el.Windows, el.WindowCount = windows, count
	}
	return err
}

// close sets the timers that fire when the windows of an element expire, unless
// they are set.
func (hb *harnessBundle) close(el *coder.Element) error {
	e := hb.x.expiry
	if len(e.closing) == 0 || el.WindowCount == 0 {
		return nil
	}
	user, _, err := e.key.SplitKV(el.Value)
	if err != nil {
		return err
	}
	sh := hb.shards[shardOf(user, hb.x.stage.spec.Shards)]
	if sh == nil {
		return &beam.Error{Code: beam.Internal, What: "an element is in a shard that its key is not in"}
	}
	return e.input.EachWindow(el, func(window []byte) error {
		end, until, err := e.until(window)
		if err != nil {
			return err
		}
		for _, f := range e.closing {
			sh.SetFirst(state.Timer{TimerID: f.id(user, window), Fire: until + 1, Hold: end, Pane: noFiring})
		}
		return hb.keep(sh, window, user)
	})
}

// closes tells whether a family fires when windows expire.
func (e *expiry) closes(f fnapi.TimerFamily) bool {
	return e != nil && slices.ContainsFunc(e.closing, func(c *timerFamily) bool { return c.TimerFamily == f })
}

// noFiring is an encoded pane.
var noFiring = coder.AppendPane(nil, beam.NoFiring)

// idle ends a bundle that has nothing to ask a harness.
func (hb *harnessBundle) idle() bool {
	if len(hb.due) > 0 {
		return false
	}
	for _, in := range hb.inputs {
		if len(in.data) > 0 {
			return false
		}
	}
	return true
}

// times are the new times of the bundle's shards.
func (hb *harnessBundle) times() []engine.ShardTimes {
	var all []engine.ShardTimes
	for n, sh := range hb.shards {
		hb.expire(sh)
		t := engine.ShardTimes{Shard: n}
		t.NextEvent, t.NextProcessing, t.Hold = sh.Times(hb.b.Watermark)
		t.NextEvent = min(t.NextEvent, hb.sortedDue(sh))
		if hb.last && !t.NextProcessing.IsZero() {
			t.NextProcessing = hb.b.Now
		}
		all = append(all, t)
	}
	return all
}
