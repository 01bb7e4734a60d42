package runner

import (
	"errors"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/state"
)

// stateOf answers a bundle's state requests. It survives a panic: it is called
// by the server's goroutines (I7).
type stateOf struct{ hb *harnessBundle }

// Get answers a bundle's read of user state, of a side input or of a hot key.
func (s stateOf) Get(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	defer guard(&err)
	defer s.hb.arrived().Add(-1)
	return s.hb.get(k, token)
}

// Append adds to user state.
func (s stateOf) Append(k fnapi.StateKey, data []byte) (err error) {
	defer guard(&err)
	defer s.hb.arrived().Add(-1)
	return s.hb.append(k, data)
}

// Clear empties user state.
func (s stateOf) Clear(k fnapi.StateKey) (err error) {
	defer guard(&err)
	defer s.hb.arrived().Add(-1)
	return s.hb.clear(k)
}

func (hb *harnessBundle) get(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	switch k.Kind {
	case fnapi.StateIterableSideInput, fnapi.StateMultimapSideInput, fnapi.StateMultimapKeysSideInput, fnapi.StateMultimapKeysValuesSideInput:
		return hb.getSide(k, token)
	case fnapi.StateRunner:
		return hb.x.job.rests.page(k.Key, token)
	}
	sh, err := hb.shard(k)
	if err != nil {
		return nil, nil, err
	}
	switch k.Kind {
	case fnapi.StateBag:
		if len(token) == 0 {
			hb.reads.asked(k)
		}
		return sh.Bag(cell(k), token)
	case fnapi.StateMultimap:
		return sh.Multimap(cell(k), token)
	case fnapi.StateMultimapKeys:
		return sh.MultimapKeys(cell(k), token)
	case fnapi.StateMultimapEntries:
		return hb.entries(sh, k, token)
	case fnapi.StateOrderedList:
		return sh.OrderedList(cell(k), listRange(k), token)
	}
	return nil, nil, hb.unknownState(k)
}

// entries returns a page of a multimap's keys and values. The runner has to know
// where a value ends.
func (hb *harnessBundle) entries(sh *state.Shard, k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	for _, s := range hb.x.stage.plan.Harness.States {
		if s.Transform != k.Transform || s.Name != k.Name {
			continue
		}
		values, err := hb.x.job.coders.coder(s.Coder)
		if err != nil {
			return nil, nil, hb.x.stage.badData(err)
		}
		return sh.MultimapEntries(cell(k), values, token)
	}
	return nil, nil, badHarness(hb.x.stage, "a bundle reads the entries of %q of %q, which its stage does not declare", k.Name, k.Transform)
}

func (hb *harnessBundle) append(k fnapi.StateKey, data []byte) error {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	sh, err := hb.shard(k)
	if err != nil {
		return err
	}
	if err := hb.keep(sh, k.Window, k.Key); err != nil {
		return err
	}
	switch k.Kind {
	case fnapi.StateBag:
		sh.AppendBag(cell(k), data)
	case fnapi.StateMultimap:
		sh.AppendMultimap(cell(k), data)
	case fnapi.StateOrderedList:
		return sh.AppendOrderedList(cell(k), data)
	default:
		return hb.unknownState(k)
	}
	return nil
}

func (hb *harnessBundle) clear(k fnapi.StateKey) error {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	sh, err := hb.shard(k)
	if err != nil {
		return err
	}
	switch k.Kind {
	case fnapi.StateBag:
		sh.ClearBag(cell(k))
	case fnapi.StateMultimap:
		sh.ClearMultimap(cell(k))
	case fnapi.StateMultimapKeys, fnapi.StateMultimapEntries:
		sh.ClearMultimapKeys(cell(k))
	case fnapi.StateOrderedList:
		sh.ClearOrderedList(cell(k), listRange(k))
	default:
		return hb.unknownState(k)
	}
	return nil
}

func cell(k fnapi.StateKey) state.Key {
	return state.Key{Transform: k.Transform, Name: k.Name, Window: k.Window, User: k.Key, Map: k.MapKey}
}

func listRange(k fnapi.StateKey) state.Range {
	return state.Range{Start: k.Start, End: k.End, Set: k.HasRange}
}

// shard returns the view of the shard that holds the key: it must be one of the
// bundle's.
func (hb *harnessBundle) shard(k fnapi.StateKey) (*state.Shard, error) {
	n := shardOf(k.Key, hb.x.stage.spec.Shards)
	sh := hb.shards[n]
	if sh == nil {
		return nil, &beam.Error{Code: beam.BadData, Where: hb.x.stage.where(),
			What: "a bundle asked for the state " + k.Name + " of a key that is not in it"}
	}
	return sh, nil
}

func (hb *harnessBundle) unknownState(k fnapi.StateKey) error {
	return &beam.Error{Code: beam.Unsupported, Where: hb.x.stage.where(), What: "a state request of a kind that the runner does not know, for " + k.Name}
}

func (hb *harnessBundle) getSide(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	side := hb.side(k)
	if side == nil {
		return nil, nil, badHarness(hb.x.stage, "a bundle reads the side input %q of %q, which its stage does not have", k.Name, k.Transform)
	}
	switch k.Kind {
	case fnapi.StateIterableSideInput:
		return side.Iterable(k.Window, token)
	case fnapi.StateMultimapSideInput:
		return side.Multimap(k.Window, k.Key, token)
	case fnapi.StateMultimapKeysSideInput:
		return side.MultimapKeys(k.Window, token)
	}
	return side.MultimapKeysValues(k.Window, token)
}

func (hb *harnessBundle) side(k fnapi.StateKey) *state.SideView {
	for i, s := range hb.x.stage.plan.Harness.SideInputs {
		if s.Transform == k.Transform && s.Name == k.Name {
			return hb.views[i]
		}
	}
	return nil
}

// timerFamily is a family of timers that the stage declares.
type timerFamily struct {
	fnapi.TimerFamily
	processingTime bool
	coder          *coder.Coder
}

func (f *timerFamily) id(user, window []byte) state.TimerID {
	return state.TimerID{Transform: f.Transform, Family: f.Family, Window: window, User: user, ProcessingTime: f.processingTime}
}

// setTimers applies a run of timers that user code set or cleared; a timer may
// span calls.
func (hb *harnessBundle) setTimers(f *timerFamily, data []byte) error {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	if tail := hb.timers[f.TimerFamily]; len(tail) > 0 {
		data = append(tail, data...)
		delete(hb.timers, f.TimerFamily)
	}
	var t coder.Timer
	for len(data) > 0 {
		n, err := f.coder.ScanTimer(data, &t)
		if errors.Is(err, coder.ErrShort) {
			hb.keepTail(f, data)
			return nil
		}
		if err != nil {
			return hb.x.stage.badOutput(err)
		}
		if err := hb.setTimer(f, &t); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (hb *harnessBundle) keepTail(f *timerFamily, data []byte) {
	if hb.timers == nil {
		hb.timers = map[fnapi.TimerFamily][]byte{}
	}
	hb.timers[f.TimerFamily] = append([]byte(nil), data...)
}

func (hb *harnessBundle) setTimer(f *timerFamily, t *coder.Timer) error {
	sh, err := hb.shard(fnapi.StateKey{Key: t.Key, Name: f.Family})
	if err != nil {
		return err
	}
	return f.coder.EachTimerWindow(t, func(w []byte) error {
		hb.turns.set(t.Key, w)
		id := f.id(t.Key, w)
		id.Tag = t.Tag
		if t.Clear || hb.tooLate(shardOf(t.Key, hb.x.stage.spec.Shards)) {
			sh.ClearTimer(id)
			return nil
		}
		if err := hb.keep(sh, w, t.Key); err != nil {
			return err
		}
		timer := state.Timer{TimerID: id, Fire: t.Fire, Hold: t.Hold, Pane: t.Pane}
		if f.processingTime {
			timer.Fire = hb.x.job.clock.meant(t.Fire, hb.turns.told)
		}
		alive, err := hb.bound(&timer)
		switch {
		case err != nil:
			return hb.x.stage.badData(err)
		case alive:
			sh.SetTimer(timer)
		default:
			sh.ClearTimer(id)
		}
		return nil
	})
}
