package runner

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

func timeSorted(d *pipepb.ParDoPayload) {
	stateful("timer")(d)
	d.RequiresTimeSortedInput = true
}

// TestTimeSortedInputOfABoundedJob: whatever bundles elements come in, each key
// sees its own in the order of their timestamps.
func TestTimeSortedInputOfABoundedJob(t *testing.T) {
	r := newRig(t)
	r.do["make"] = func(c *call) error {
		c.ReadAll()
		for i := range 2000 {
			ts := (i * 7919) % 2000
			if err := c.out(at(beam.EventTime(ts), fmt.Sprint("k", ts%10), fmt.Sprintf("%04d", ts))); err != nil {
				return err
			}
		}
		return nil
	}
	r.do["work"] = same
	out := r.sink("out")
	r.start(newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").reshuffle("spread", "in=a", "out=b:").
		pardo("pass", nil, "in=b", "out=c:").pardo("work", timeSorted, "in=c", "out=d:").write("write", "out", "d")).mustEnd()
	byKey := map[string][]string{}
	for _, kv := range out.inOrder() {
		key, value, _ := strings.Cut(kv, "=")
		byKey[key] = append(byKey[key], value)
	}
	for k := range 10 {
		got := byKey[fmt.Sprint("k", k)]
		if len(got) != 200 || !slices.IsSorted(got) {
			t.Errorf("k%d: %d elements, sorted: %v: %v", k, len(got), slices.IsSorted(got), brief(got))
		}
	}
}

// TestTimeSortedInputOfAStream: an element waits until the watermark has passed
// it and the allowed lateness. One that is late takes its place in the order
// until then and is dropped after it; timers fire in between.
func TestTimeSortedInputOfAStream(t *testing.T) {
	r := newRig(t)
	src := r.source("in", &fakeSource{batches: [][][]byte{{
		slices.Concat(at(30, "k", "c"), at(10, "k", "a"), at(20, "k", "b")),
	}}})
	src.mark = func(at int) beam.EventTime { return beam.EventTime(25 * at) }
	r.do["work"] = func(c *call) error {
		return c.events(coder.GlobalWindow, func(e *item) error {
			if e.value == "a" {
				if err := c.set("event", coder.Timer{Key: str(e.key), Fire: 22, Hold: 22}); err != nil {
					return err
				}
			}
			return c.out(e.Raw)
		}, func(_ string, timer *coder.Timer) error { return c.out(fired(timer, "timer")) })
	}
	out := r.sink("out")
	src.more = func(_, n int) []byte {
		if n > 1 || len(out.got()) == 0 {
			return nil
		}
		return slices.Concat(at(12, "k", "dropped"), at(16, "k", "late"))
	}
	p := newPipe().read("read", "in", "u_a:").pardo("work", timeSorted, "in=u_a", "out=u_b:").write("write", "out", "u_b")
	p.Components.WindowingStrategies["global"].AllowedLateness = 10
	j := r.start(p)
	out.await(5)
	close(j.drain)
	j.mustEnd()
	if got := strings.Join(out.inOrder(), " "); got != "k=a k=timer k=late k=b k=c" {
		t.Errorf("in this order: %s", got)
	}
}

// TestElementsThatWaitForTheirTurnHoldTheWatermark: what is emitted for them is
// not late, and their window keeps its state although it has ended meanwhile.
func TestElementsThatWaitForTheirTurnHoldTheWatermark(t *testing.T) {
	r := newRig(t)
	large := strings.Repeat("x", maxSorted*2/3) // more than goes in one bundle
	r.source("in", &fakeSource{mark: func(at int) beam.EventTime { return beam.EventTime(at) * 150_000 }, batches: [][][]byte{{
		slices.Concat(at(40_000, "k", large), at(30_000, "k", large), at(20_000, "k", large), at(10_000, "k", "first"))}}})
	r.do["work"] = func(c *call) error {
		return c.events(coder.IntervalWindow, func(e *item) error {
			if err := c.Append(bagKey(str(e.key), e.Windows), str("")); err != nil {
				return err
			}
			all, err := c.bag(str(e.key), e.Windows)
			return firstError(err, c.out(e.pair("k", fmt.Sprint(len(all)))))
		}, nil)
	}
	r.do["join"] = groupsIn(coder.IntervalWindow, mapping(func(e *item) [][]byte {
		return [][]byte{at(0, e.key, strings.Join(e.values, ","))}
	}))
	out := r.sink("out")
	sorted := func(d *pipepb.ParDoPayload) {
		stateful("timer60")(d)
		d.RequiresTimeSortedInput = true
	}
	j := r.start(newPipe().read("read", "in", "u_a:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		pardo("work", sorted, "in=u_b", "out=u_c:kv/minute").group("group", "in=u_c", "out=u_d:grouped/minute").
		pardo("join", nil, "in=u_d", "out=u_e:").write("write", "out", "u_e"))
	out.await(1)
	close(j.drain)
	j.mustEnd()
	out.want("k=1,2,3,4")
}
