package runner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
}

// TestOneResultInAllSettings (I10): a job with shuffles, windows, state, timers, a
// grouping and a side input has one result, whatever the workers, shards and
// memory, and however often workers die.
func TestOneResultInAllSettings(t *testing.T) {
	t.Parallel()
	for i, s := range []setting{
		{workers: 1, keyShards: 8, lanes: 4}, {workers: 1, keyShards: 1, lanes: 1, kills: 2},
		{workers: 3, keyShards: 5, lanes: 3, kills: 3, slow: true}, {workers: 2, keyShards: 13, lanes: 7, pending: 500},
		{workers: 4, keyShards: 8, lanes: 4, kills: 3, sorted: true}, {workers: 2, keyShards: 3, lanes: 2, kills: 3, streaming: true, pending: 500},
		{workers: 3, keyShards: 8, lanes: 4, streaming: true, sorted: true, slow: true, kills: 3},
		{workers: 2, keyShards: 8, lanes: 4, bundle: 1}, {workers: 3, keyShards: 4, lanes: 2, bundle: 2, streaming: true, kills: 3},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { s.run(t) })
	}
}

const (
	sameElements = 300
	sameStep     = 1700 // milliseconds from one to the next
)

func (s setting) run(t *testing.T) {
	r := newRig(t)
	r.runner.cfg.KeyShards, r.runner.cfg.Lanes, r.runner.cfg.MaxPendingBytes = s.keyShards, s.lanes, orDefault(s.pending, 64<<20)
	r.options["experiments"] = []any{fmt.Sprint("sdk_workers=", s.workers)}
	r.options["streaming"] = s.streaming
	r.runner.maxBundle = orDefault(s.bundle, maxBundle)
	var elements, small [][]byte
	for i := range sameElements {
		elements = append(elements, at(beam.EventTime(i*sameStep), fmt.Sprint("k", i%7), fmt.Sprintf("%03d", i)))
	}
	for i := range 5 {
		small = append(small, at(0, "s", fmt.Sprint(i)))
	}
	rand.Shuffle(len(elements), func(i, k int) { elements[i], elements[k] = elements[k], elements[i] })
	r.do["make"], r.do["makeSide"] = create(elements...), create(small...)
	r.do["work"] = s.collect
	r.do["join"] = groupsIn(coder.IntervalWindow, mapping(func(e *item) [][]byte {
		return [][]byte{at(0, e.key, strings.Join(e.values, "|"))}
	}))
	r.do["look"] = func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("look", nil))
			return firstError(err, c.out(e.pair(e.key, e.value+" "+valuesOfPairs(data))))
		})
	}
	s.trouble(r)
	out := r.sink("out")
	r.start(newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
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
