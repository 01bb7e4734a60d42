package runner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// setting is a way to run a job that must not change its result.
type setting struct {
	workers, keyShards, lanes int
	pending                   int64 // bytes that may wait
	kills                     int64 // workers that die in the middle of a bundle
	bundle                    int   // elements of a bundle at most, if not 0
	slow, sorted, streaming   bool
	splits                    bool // at random moments, at random places
}

// TestOneResultInAllSettings (I10): a job with a splittable DoFn, shuffles, windows,
// state, timers, a grouping and a side input has one result, whatever the workers,
// shards and memory, however often workers die, and wherever bundles are split.
func TestOneResultInAllSettings(t *testing.T) {
	t.Parallel()
	var splits atomic.Int64
	t.Cleanup(func() {
		if !t.Failed() && splits.Load() == 0 {
			t.Error("no bundle was split")
		}
	})
	for i, s := range []setting{
		{workers: 1, keyShards: 8, lanes: 4}, {workers: 1, keyShards: 1, lanes: 1, kills: 2},
		{workers: 3, keyShards: 5, lanes: 3, kills: 3, slow: true}, {workers: 2, keyShards: 13, lanes: 7, pending: 500},
		{workers: 4, keyShards: 8, lanes: 4, kills: 3, sorted: true}, {workers: 2, keyShards: 3, lanes: 2, kills: 3, streaming: true, pending: 500},
		{workers: 3, keyShards: 8, lanes: 4, streaming: true, sorted: true, slow: true, kills: 3},
		{workers: 2, keyShards: 8, lanes: 4, bundle: 1}, {workers: 3, keyShards: 4, lanes: 2, bundle: 2, streaming: true, kills: 3},
		{workers: 1, keyShards: 8, lanes: 4, splits: true}, {workers: 3, keyShards: 5, lanes: 3, splits: true, kills: 3},
		{workers: 2, keyShards: 8, lanes: 1, splits: true, kills: 2, streaming: true, sorted: true},
		{workers: 4, keyShards: 2, lanes: 2, splits: true, bundle: 20, pending: 500},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { s.run(t, &splits) })
	}
}

const (
	sameElements = 300
	sameStep     = 1700 // milliseconds from one to the next
)

// run counts the splits made.
func (s setting) run(t *testing.T, made *atomic.Int64) {
	r := newRig(t)
	r.runner.cfg.KeyShards, r.runner.cfg.Lanes, r.runner.cfg.MaxPendingBytes = s.keyShards, s.lanes, orDefault(s.pending, 64<<20)
	r.options["experiments"] = []any{fmt.Sprint("sdk_workers=", s.workers)}
	r.options["streaming"] = s.streaming
	r.runner.maxBundle = orDefault(s.bundle, maxBundle)
	if s.splits {
		r.runner.splitAfter = time.Millisecond
	}
	var restrictions, small [][]byte
	for _, i := range rand.Perm(4) {
		restrictions = append(restrictions, restriction("part", i*sameElements/4, (i+1)*sameElements/4))
	}
	for i := range 5 {
		small = append(small, at(0, "s", fmt.Sprint(i)))
	}
	r.do["make"], r.do["makeSide"] = create(restrictions...), create(small...)
	byElement := func(in *coder.Windowed, f func(c *call, e *item, i int) ([]byte, error)) do {
		return func(c *call) error {
			c.in = in
			return (&cutter{call: c, wanted: s.splits, made: made}).work(f)
		}
	}
	r.do["read"] = byElement(sizedItems, func(_ *call, _ *item, i int) ([]byte, error) {
		return at(beam.EventTime(i*sameStep), fmt.Sprint("k", i%7), fmt.Sprintf("%03d", i)), nil
	})
	r.do["pass"] = byElement(global, func(_ *call, e *item, _ int) ([]byte, error) { return e.Raw, nil })
	r.do["work"] = s.collect
	r.do["join"] = byElement(coder.NewWindowed(groupedPairs, coder.IntervalWindow), func(_ *call, e *item, _ int) ([]byte, error) {
		return at(0, e.key, strings.Join(e.values, "|")), nil
	})
	r.do["look"] = byElement(global, func(c *call, e *item, _ int) ([]byte, error) {
		data, err := c.getAll(iterableKey("look", nil))
		return e.pair(e.key, e.value+" "+valuesOfPairs(data)), err
	})
	s.trouble(r)
	out := r.sink("out")
	p := newPipe()
	p.coder("restriction", "beam:coder:string_utf8:v1")
	r.start(p.impulse("impulse", "i").pardo("make", nil, "in=i", "out=z:str").
		pardo("read", func(d *pipepb.ParDoPayload) { d.RestrictionCoderId = "restriction" }, "in=z", "out=a:").
		impulse("impulse2", "i2").pardo("makeSide", nil, "in=i2", "out=s:").
		reshuffle("spread", "in=a", "out=b:").pardo("pass", nil, "in=b", "out=c:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=c", "out=d:kv/minute").
		pardo("work", func(d *pipepb.ParDoPayload) {
			stateful("timer60")(d)
			d.RequiresTimeSortedInput = s.sorted
		}, "in=d", "out=e:kv/minute").
		group("group", "in=e", "out=f:grouped/minute").pardo("join", nil, "in=f", "out=g:").
		reshuffle("again", "in=g", "out=h:").pardo("look", withSide("iterable"), "in=h", "side=s", "out=j:").
		write("write", "out", "j")).mustEnd()
	out.want(sameResult()...)
}

// trouble has every script take its time, or its worker die.
func (s setting) trouble(r *rig) {
	var kills atomic.Int64
	kills.Store(s.kills)
	for id, f := range r.do {
		r.do[id] = func(c *call) error {
			if s.slow {
				time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
			}
			if rand.IntN(6) == 0 && kills.Add(-1) >= 0 {
				err := f(c)
				return firstError(c.dies(), err)
			}
			return f(c)
		}
	}
}

// collect keeps what comes for a key and window, and emits it when the window
// ends.
func (s setting) collect(c *call) error {
	return c.events(coder.IntervalWindow, func(e *item) error {
		end, err := coder.IntervalWindow.MaxTimestamp(e.Windows)
		if err != nil {
			return err
		}
		return firstError(c.Append(bagKey(str(e.key), e.Windows), str(e.value)),
			c.set("event", coder.Timer{Key: str(e.key), Windows: e.Windows, Fire: end, Hold: end}))
	}, func(_ string, timer *coder.Timer) error {
		all, err := c.bag(timer.Key, timer.Windows)
		if !s.sorted {
			slices.Sort(all)
		}
		e := item{Element: coder.Element{Timestamp: timer.Hold, Windows: timer.Windows, WindowCount: 1, Pane: noFiring}}
		return firstError(err, c.out(e.pair(string(timer.Key[1:]), strings.Join(all, ","))))
	})
}

// sameResult is the result by the model.
func sameResult() []string {
	sums := map[string][]string{}
	for i := range sameElements {
		k := fmt.Sprintf("k%d %d", i%7, i*sameStep/60_000)
		sums[k] = append(sums[k], fmt.Sprintf("%03d", i))
	}
	var want []string
	for k, values := range sums {
		want = append(want, k[:2]+"="+strings.Join(values, ",")+" 0+1+2+3+4")
	}
	return want
}

// cutter works on a bundle one element after the other, and cuts it where it is
// asked to: somewhere in what it has not begun, or within the span of the
// restriction that it is at.
type cutter struct {
	*call
	wanted bool
	made   *atomic.Int64

	mu    sync.Mutex
	items []*item
	// at is the element under work, of which [from, to) is the span that is its own
	// and next comes; from end on elements are given away.
	at, end        int
	from, next, to int
}

func (k *cutter) work(f func(c *call, e *item, i int) ([]byte, error)) error {
	if err := k.each(func(e *item) error { k.items = append(k.items, e); return nil }); err != nil {
		return err
	}
	k.end = len(k.items)
	if k.wanted {
		k.OnSplit(k.split)
	}
	for {
		e, i, ok := k.turn()
		if !ok {
			return nil
		}
		if k.wanted {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
		element, err := f(k.call, e, i)
		if err := firstError(err, k.out(element)); err != nil {
			return err
		}
	}
}

// turn is the next element, or the next position of a restriction.
func (k *cutter) turn() (e *item, i int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.next >= k.to {
		if k.to > 0 {
			k.at++
		}
		if k.at >= k.end {
			k.end = 0
			return nil, 0, false
		}
		k.from, k.to = 0, 1
		if k.restrictions() {
			k.from, k.to = span(k.items[k.at].value)
		}
		k.next = k.from
	}
	k.next++
	return k.items[k.at], k.next - 1, true
}

func (k *cutter) restrictions() bool { return k.in == sizedItems }

func (k *cutter) split(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
	k.mu.Lock()
	defer k.mu.Unlock()
	rest := k.end - k.at - 1
	within := k.to - k.next
	switch {
	case k.to == 0 || k.at >= k.end:
	case k.restrictions() && within > 0 && (rest <= 0 || rand.IntN(2) == 0):
		k.made.Add(1)
		mid, key := k.next+rand.IntN(within), k.items[k.at].key
		answer := k.channelSplit(k.at)
		answer.ChannelSplits[0].FirstResidualElement = int64(k.at + 1)
		answer.PrimaryRoots = []*fnpb.BundleApplication{restrictionOf("read", restriction(key, k.from, mid))}
		answer.ResidualRoots = []*fnpb.DelayedBundleApplication{{Application: restrictionOf("read", restriction(key, mid, k.to))}}
		k.to, k.end = mid, k.at+1
		return answer
	case rest > 0:
		k.made.Add(1)
		k.end = k.at + 1 + rand.IntN(rest)
		return k.channelSplit(k.end)
	}
	return &fnpb.ProcessBundleSplitResponse{}
}

func restrictionOf(transform string, element []byte) *fnpb.BundleApplication {
	return &fnpb.BundleApplication{TransformId: transform, InputId: "in", Element: element}
}
