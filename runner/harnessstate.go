package runner

import (
	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/state"
)

// Get answers a bundle's read of user state or of a side input.
func (hb *harnessBundle) Get(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	switch k.Kind {
	case fnapi.StateIterableSideInput, fnapi.StateMultimapSideInput, fnapi.StateMultimapKeysSideInput, fnapi.StateMultimapKeysValuesSideInput:
		return hb.getSide(k, token)
	}
	sh, err := hb.shard(k)
	if err != nil {
		return nil, nil, err
	}
	switch k.Kind {
	case fnapi.StateBag:
		return sh.Bag(cell(k), token)
	case fnapi.StateMultimap:
		return sh.Multimap(cell(k), token)
	case fnapi.StateMultimapKeys:
		return sh.MultimapKeys(cell(k), token)
	case fnapi.StateOrderedList:
		start, end := listRange(k)
		return sh.OrderedList(cell(k), start, end, token)
	}
	return nil, nil, hb.unknownState(k)
}

// Append adds to user state.
func (hb *harnessBundle) Append(k fnapi.StateKey, data []byte) error {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	sh, err := hb.shard(k)
	if err != nil {
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

// Clear empties user state.
func (hb *harnessBundle) Clear(k fnapi.StateKey) error {
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
	case fnapi.StateMultimapKeys:
		sh.ClearMultimapKeys(cell(k))
	case fnapi.StateOrderedList:
		start, end := listRange(k)
		sh.ClearOrderedList(cell(k), start, end)
	default:
		return hb.unknownState(k)
	}
	return nil
}

func cell(k fnapi.StateKey) state.Key {
	return state.Key{Transform: k.Transform, Name: k.Name, Window: k.Window, User: k.Key, Map: k.MapKey}
}

// listRange is the range of an ordered list that a request is about: all of it
// if none is given.
func listRange(k fnapi.StateKey) (start, end int64) {
	if !k.HasRange {
		return -1 << 63, 1<<63 - 1
	}
	return k.Start, k.End
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
		return nil, nil, hb.unknownState(k)
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

func (hb *harnessBundle) side(k fnapi.StateKey) *state.SideInput {
	for i, s := range hb.x.stage.plan.Harness.SideInputs {
		if s.Transform == k.Transform && s.Name == k.Name {
			return hb.x.stage.sides[i]
		}
	}
	return nil
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
		if err == coder.ErrShort {
			hb.keepTail(f, data)
			return nil
		}
		if err != nil {
			return err
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
	windows, err := f.windows(t)
	if err != nil {
		return err
	}
	for _, w := range windows {
		id := state.TimerID{Transform: f.Transform, Family: f.Family, Tag: t.Tag, Window: w, User: t.Key, ProcessingTime: f.processingTime}
		if t.Clear {
			sh.ClearTimer(id)
			continue
		}
		sh.SetTimer(state.Timer{TimerID: id, Fire: t.Fire, Hold: t.Hold, Pane: append([]byte(nil), t.Pane...)})
	}
	return nil
}

// windows cuts a timer's windows apart: the coder's second component skips one.
func (f *timerFamily) windows(t *coder.Timer) ([][]byte, error) {
	var all [][]byte
	rest := t.Windows
	for range t.WindowCount {
		n, err := f.coder.Component(1).Skip(rest)
		if err != nil {
			return nil, err
		}
		all, rest = append(all, rest[:n:n]), rest[n:]
	}
	return all, nil
}
