package runner

import (
	"sync/atomic"

	"fresnel/fnapi"
	"fresnel/internal/coder"
	"fresnel/runner/state"
)

// ahead reads cells of a stateful stage before they are asked for: those of all
// keys of a bundle, in the order in which the store has them. Workers ask for one
// after the other, in the order of the elements, and each by itself costs a look
// into many places of the disk. It does so for cells that the bundle before asked for,
// for half of its keys or more: user code may never read what it writes, and
// workers have a cache.
type ahead struct {
	key  *coder.Coder
	bags []*aheadBag
}

// aheadBag is a cell that the stage declares.
type aheadBag struct {
	state.Name
	worth atomic.Bool
}

func (x *harnessExecutor) newAhead() (*ahead, error) {
	p := x.stage.plan
	if !p.Keyed || len(p.Harness.States) == 0 {
		return nil, nil
	}
	key, err := x.job.coders.coder(p.Inputs[0].Coder)
	if err != nil {
		return nil, err
	}
	a := &ahead{key: key}
	for _, s := range p.Harness.States {
		a.bags = append(a.bags, &aheadBag{Name: state.Name{Transform: s.Transform, Name: s.Name}})
	}
	return a, nil
}

// reads is what a bundle may ask for, and what it asked for.
type reads struct {
	// keys counts keys and windows, last is the last of them; due are those of
	// timers.
	keys int
	last keyWindow
	due  []keyWindow
	bags map[state.Name]int
}

// asked notes that a bag is read, from its beginning.
func (r *reads) asked(k fnapi.StateKey) {
	if r.bags == nil {
		r.bags = map[state.Name]int{}
	}
	r.bags[state.Name{Transform: k.Transform, Name: k.Name}]++
}

// learn is told what a bundle asked for.
func (a *ahead) learn(r *reads) {
	if a == nil || r.keys == 0 {
		return
	}
	for _, b := range a.bags {
		b.worth.Store(2*r.bags[b.Name] >= r.keys)
	}
}

// readAhead reads what the bundle will ask for.
func (hb *harnessBundle) readAhead() error {
	if hb.ahead == nil {
		return nil
	}
	var el coder.Element
	for i := range hb.inputs {
		data := hb.inputs[i].data
		for at := 0; at < len(data); {
			n, err := hb.x.input.Scan(data[at:], &el)
			if err != nil {
				return hb.x.stage.badData(err)
			}
			if err := hb.wantElement(&el); err != nil {
				return hb.x.stage.badData(err)
			}
			at += n
		}
	}
	for _, k := range hb.reads.due {
		hb.want([]byte(k.user), []byte(k.window))
	}
	hb.txn.Fetch()
	return nil
}

func (hb *harnessBundle) wantElement(el *coder.Element) error {
	user, _, err := hb.ahead.key.SplitKV(el.Value)
	if err != nil {
		return err
	}
	return hb.x.input.EachWindow(el, func(window []byte) error {
		hb.want(user, window)
		return nil
	})
}

// want notes that what is kept for a key and window will be read.
func (hb *harnessBundle) want(user, window []byte) {
	if hb.reads.last.is(window, user) {
		return
	}
	hb.reads.last = keyWindow{string(window), string(user)}
	hb.reads.keys++
	sh := hb.shards[shardOf(user, hb.x.stage.spec.Shards)]
	if sh == nil {
		return // another check tells
	}
	for _, b := range hb.ahead.bags {
		if b.worth.Load() {
			sh.WantBag(state.Key{Transform: b.Transform, Name: b.Name.Name, Window: window, User: user})
		}
	}
}
