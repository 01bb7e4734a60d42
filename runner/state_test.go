package runner

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
	"fresnel/runner/store"
)

// stateful declares a bag "bag" of strings, and timer families "event" and
// "clock" with the coder given.
func stateful(timers string) func(*pipepb.ParDoPayload) {
	return func(d *pipepb.ParDoPayload) {
		d.StateSpecs = map[string]*pipepb.StateSpec{"bag": {
			Spec:     &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: "str"}},
			Protocol: &pipepb.FunctionSpec{Urn: "beam:user_state:bag:v1"}}}
		d.TimerFamilySpecs = map[string]*pipepb.TimerFamilySpec{
			"event": {TimeDomain: pipepb.TimeDomain_EVENT_TIME, TimerFamilyCoderId: timers},
			"clock": {TimeDomain: pipepb.TimeDomain_PROCESSING_TIME, TimerFamilyCoderId: timers},
		}
	}
}

func str(s string) []byte { return coder.AppendLengthPrefixed(nil, []byte(s)) }

func bagKey(key, window []byte) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "work", UserStateId: "bag", Key: key, Window: window}}}
}

// bag reads a bag of strings.
func (c *call) bag(key, window []byte) ([]string, error) {
	data, err := c.getAll(bagKey(key, window))
	var all []string
	for err == nil && len(data) > 0 {
		var s []byte
		var n int
		s, n, err = coder.DecodeLengthPrefixed(data)
		all, data = append(all, string(s)), data[n:]
	}
	return all, err
}

// set sets a timer of family.
func (c *call) set(family string, t coder.Timer) error {
	if t.Pane == nil {
		t.Pane = noFiring
	}
	t.WindowCount = 1
	return c.SetTimers(fnapitest.Stream{Transform: "work", Family: family}, coder.AppendTimer(nil, &t))
}

var timerCoder = map[coder.Kind]*coder.Coder{
	coder.KindGlobalWindow:   coder.TimerOf(coder.StringUTF8, coder.GlobalWindow),
	coder.KindIntervalWindow: coder.TimerOf(coder.StringUTF8, coder.IntervalWindow),
}

// events calls f with each element and g with each timer, as they come.
func (c *call) events(window *coder.Coder, f func(e *item) error, g func(family string, t *coder.Timer) error) error {
	c.in = coder.NewWindowed(pairs, window)
	for chunk, ok := c.Next(); ok; chunk, ok = c.Next() {
		if chunk.Family == "" {
			if err := c.eachOf(chunk.Data, f); err != nil {
				return err
			}
			continue
		}
		for data := chunk.Data; len(data) > 0; {
			var t coder.Timer
			n, err := timerCoder[window.Kind()].ScanTimer(data, &t)
			if err != nil {
				return err
			}
			if err := g(chunk.Family, &t); err != nil {
				return err
			}
			data = data[n:]
		}
	}
	return nil
}

// fired is an element that a timer emits.
func fired(t *coder.Timer, value string) []byte { return at(t.Hold, string(t.Key[1:]), value) }

// TestUserStateAndTimers: a bag for each key is added to by each element, and
// emitted by a timer at the end; this one sets another, which sets a third.
func TestUserStateAndTimers(t *testing.T) {
	r := newRig(t)
	r.options["experiments"] = []any{"sdk_workers=2"}
	elements, _ := numbers(100)
	r.do["make"] = create(elements...)
	r.do["work"] = func(c *call) error {
		return c.events(coder.GlobalWindow, func(e *item) error {
			if err := c.Append(bagKey(str(e.key), nil), str(e.value)); err != nil {
				return err
			}
			return c.set("event", coder.Timer{Key: str(e.key), Fire: 1000, Hold: 1000})
		}, func(_ string, timer *coder.Timer) error {
			if timer.Fire < 1002 {
				next := coder.Timer{Key: timer.Key, Tag: "t" + timer.Tag, Fire: timer.Fire + 1, Hold: timer.Fire + 1}
				return firstError(c.set("event", next), c.out(fired(timer, fmt.Sprint("at ", int64(timer.Fire)))))
			}
			all, err := c.bag(timer.Key, nil)
			return firstError(err, c.out(fired(timer, fmt.Sprint(len(all), " tag ", timer.Tag))))
		})
	}
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		pardo("work", stateful("timer"), "in=a", "out=b:").write("write", "out", "b")
	r.start(p).mustEnd()
	var want []string
	for k := range 10 {
		want = append(want, fmt.Sprintf("k%d=at 1000", k), fmt.Sprintf("k%d=at 1001", k), fmt.Sprintf("k%d=10 tag tt", k))
	}
	out.want(want...)
}

// TestWhatATimerWithoutOutputTimeEmitsIsInTime: it is timed at the end of time,
// and still in the side input of the window that the timer was set in.
func TestWhatATimerWithoutOutputTimeEmitsIsInTime(t *testing.T) {
	r := newRig(t)
	r.do["make"] = create(at(0, "k", "v"))
	r.do["work"] = func(c *call) error {
		return c.events(coder.GlobalWindow, func(e *item) error {
			return c.set("event", coder.Timer{Key: str(e.key), Fire: beam.EndOfGlobalWindow, Hold: beam.MaxEventTime})
		}, func(_ string, timer *coder.Timer) error { return c.out(fired(timer, "fired")) })
	}
	r.do["look"] = func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("look", nil))
			return firstError(err, c.out(at(0, "seen", valuesOfPairs(data))))
		})
	}
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		pardo("work", stateful("timer"), "in=a", "out=b:").
		pardo("look", withSide("iterable"), "in=a", "side=b", "out=c:").write("write", "out", "c")
	r.start(p).mustEnd()
	out.want("seen=fired")
}

// TestAFailedBundleLeavesNoState (I6): state and timers of a bundle whose worker
// dies are as if it had never been.
func TestAFailedBundleLeavesNoState(t *testing.T) {
	r := newRig(t)
	elements, _ := numbers(100)
	r.do["make"] = create(elements...)
	var bundles atomic.Int32
	r.do["work"] = func(c *call) error {
		n := bundles.Add(1)
		err := c.events(coder.GlobalWindow, func(e *item) error {
			return firstError(c.Append(bagKey(str(e.key), nil), str(e.value)),
				c.set("event", coder.Timer{Key: str(e.key), Fire: 1000, Hold: 1000}))
		}, func(_ string, timer *coder.Timer) error {
			all, err := c.bag(timer.Key, nil)
			if err != nil {
				return err
			}
			if err := c.Clear(bagKey(timer.Key, nil)); err != nil {
				return err
			}
			return c.out(fired(timer, fmt.Sprint(len(all))))
		})
		if n%3 == 1 && n < 10 {
			return c.dies()
		}
		return err
	}
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		pardo("work", stateful("timer"), "in=a", "out=b:").write("write", "out", "b")
	r.start(p).mustEnd()
	var want []string
	for k := range 10 {
		want = append(want, fmt.Sprintf("k%d=10", k))
	}
	out.want(want...)
}

// TestProcessingTimeTimersGoByTheClock: by that of the TestStream, in no time.
func TestProcessingTimeTimersGoByTheClock(t *testing.T) {
	r := newRig(t)
	s := newStream().element(0, "a", "60").element(0, "b", "120").advance(time.Hour).element(0, "c", "x").
		advance(3 * time.Hour).watermark(beam.MaxEventTime)
	r.rest = decoded
	var start time.Time
	r.do["work"] = func(c *call) error {
		return c.events(coder.GlobalWindow, func(e *item) error {
			if e.value == "x" {
				return c.out(at(0, "c", "an hour later"))
			}
			fire := beam.FromTime(start.Add(time.Duration(number(e.value)) * time.Minute))
			return c.set("clock", coder.Timer{Key: str(e.key), Fire: fire, Hold: 10})
		}, func(family string, timer *coder.Timer) error {
			after := timer.Fire.Time().Sub(start).Round(time.Minute)
			return c.out(fired(timer, fmt.Sprint(family, " after ", after)))
		})
	}
	out := r.sink("out")
	p := newPipe().add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
		pardo("work", stateful("timer"), "in=u_a", "out=u_b:").write("write", "out", "u_b")
	start = time.Now()
	r.start(p).mustEnd()
	got := strings.Join(out.inOrder(), ", ")
	if want := "a=clock after 1h0m0s, c=an hour later, b=clock after 2h0m0s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestAnExpiredWindowIsForgotten: state and timers of a window are gone when the
// watermark has passed its end and the allowed lateness, and elements that come
// later are dropped; those that come before are not.
func TestAnExpiredWindowIsForgotten(t *testing.T) {
	r := newRig(t)
	s := newStream().element(1000, "a", "1").element(2000, "a", "2").element(61_000, "b", "3").
		watermark(60_000).element(3000, "a", "late, but not too late").
		watermark(70_001).element(4000, "a", "too late").element(64_000, "b", "4").
		watermark(beam.MaxEventTime)
	r.rest = decoded
	r.do["work"] = func(c *call) error {
		return c.events(coder.IntervalWindow, func(e *item) error {
			all, err := c.bag(str(e.key), e.Windows)
			if err != nil {
				return err
			}
			err = c.Append(bagKey(str(e.key), e.Windows), str(e.value))
			// This timer is set for a time when the window is long gone.
			never := coder.Timer{Key: str(e.key), Windows: e.Windows, Fire: beam.FromTime(time.Now().Add(1000 * time.Hour)), Hold: 100_000}
			err = firstError(err, c.set("clock", never))
			return firstError(err, c.out(at(e.Timestamp, e.key, fmt.Sprint(all, e.value))))
		}, func(family string, timer *coder.Timer) error { return c.out(fired(timer, family)) })
	}
	out := r.sink("out")
	p := newPipe()
	p.Components.WindowingStrategies["minute"].AllowedLateness = 10_000
	p.add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		pardo("work", stateful("timer60"), "in=u_b", "out=u_c:").write("write", "out", "u_c")
	j := r.start(p)
	await(t, j.done, "end")
	// The timer of window b is the last to fire: the stream is at its end.
	out.want("a=[]1", "a=[1]2", "b=[]3", "a=[1 2]late, but not too late", "b=[3]4", "b=clock")
	j.mustEnd()
}

// TestAWindowsEndIsTold: a family for the end of windows fires once for each key
// and window seen, when it expires, before its state is gone.
func TestAWindowsEndIsTold(t *testing.T) {
	r := newRig(t)
	s := newStream().element(1000, "a", "1").element(61_000, "a", "2").element(62_000, "b", "3").
		watermark(60_000).element(2000, "a", "4").watermark(80_000).watermark(beam.MaxEventTime)
	r.rest = decoded
	r.do["work"] = func(c *call) error {
		return c.events(coder.IntervalWindow, func(e *item) error {
			return c.Append(bagKey(str(e.key), e.Windows), str(e.value))
		}, func(family string, timer *coder.Timer) error {
			all, err := c.bag(timer.Key, timer.Windows)
			return firstError(err, c.out(fired(timer, fmt.Sprint(family, int64(timer.Hold), "/", int64(timer.Fire), all))))
		})
	}
	out := r.sink("out")
	p := newPipe()
	p.Components.WindowingStrategies["minute"].AllowedLateness = 10_000
	p.add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		pardo("work", func(d *pipepb.ParDoPayload) {
			stateful("timer60")(d)
			d.OnWindowExpirationTimerFamilySpec = "event"
		}, "in=u_b", "out=u_c:").write("write", "out", "u_c")
	r.start(p).mustEnd()
	out.want("a=event59999/59999 [1 4]", "a=event119999/119999 [2]", "b=event119999/119999 [3]")
}

// TestATimerBeyondItsWindowFiresAsItExpires, after those that are not, whether the
// watermark comes there in steps or jumps, and is told the time that it was set for;
// those that set themselves again end with the window.
func TestATimerBeyondItsWindowFiresAsItExpires(t *testing.T) {
	for name, steps := range map[string][]beam.EventTime{"steps": {65_000, 75_000, 300_000}, "jump": {300_000}, "end": nil} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := newStream().element(1000, "a", "1")
			for _, wm := range steps {
				s = s.watermark(wm)
			}
			r.rest = decoded
			r.do["work"] = func(c *call) error {
				set := func(tag string, key []byte, window []byte, at beam.EventTime) error {
					return c.set("event", coder.Timer{Key: key, Windows: window, Tag: tag, Fire: at, Hold: at})
				}
				return c.events(coder.IntervalWindow, func(e *item) error {
					err := firstError(set("a", str(e.key), e.Windows, 200_000), set("c", str(e.key), e.Windows, 70_000))
					err = firstError(err, set("b", str(e.key), e.Windows, 100_000))
					return firstError(err, c.Append(bagKey(str(e.key), e.Windows), str(e.value)))
				}, func(_ string, timer *coder.Timer) error {
					all, err := c.bag(timer.Key, timer.Windows)
					err = firstError(err, set(timer.Tag, timer.Key, timer.Windows, timer.Fire+100))
					return firstError(err, c.out(fired(timer, fmt.Sprint(timer.Tag, int64(timer.Hold), "/", int64(timer.Fire), all))))
				})
			}
			out := r.sink("out")
			p := newPipe()
			p.Components.WindowingStrategies["minute"].AllowedLateness = 10_000
			p.add("stream", "beam:transform:teststream:v1", s.watermark(beam.MaxEventTime).bytes(), "out=u_a:").
				add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
				pardo("work", stateful("timer60"), "in=u_b", "out=u_c:").write("write", "out", "u_c")
			j := r.start(p)
			j.mustEnd()
			if got := strings.Join(out.inOrder(), " "); got != "a=c69999/70000 [1] a=b69999/100000 [1] a=a69999/200000 [1]" {
				t.Errorf("in this order: %s", got)
			}
			if told := j.said(jobservice.Warning); strings.Count(told, "it fires when the window expires") != 1 {
				t.Errorf("told %q", told)
			}
		})
	}
}

// entriesOf counts the entries of a job's store.
func entriesOf(s store.Store) int {
	n := 0
	s.Entries().Ascend("", "\xff\xff\xff\xff\xff", func(string, []byte) bool { n++; return true })
	return n
}

// TestStateDoesNotGrowWithTime: in an endless job only the windows that are
// alive have state.
func TestStateDoesNotGrowWithTime(t *testing.T) {
	r := newRig(t)
	out := r.sink("out")
	r.source("in", &fakeSource{batches: [][][]byte{nil},
		more: func(_, n int) []byte {
			if n > len(out.got())+10 {
				return nil // no more than ten windows are on their way
			}
			return at(beam.EventTime(n*60_000), "k", fmt.Sprint(n))
		},
		mark: func(n int) beam.EventTime { return beam.EventTime(n * 60_000) }})
	r.do["work"] = func(c *call) error {
		return c.events(coder.IntervalWindow, func(e *item) error {
			return firstError(c.Append(bagKey(str(e.key), e.Windows), str(e.value)),
				firstError(c.set("event", coder.Timer{Key: str(e.key), Windows: e.Windows, Fire: e.Timestamp + 1, Hold: e.Timestamp}), c.out(at(e.Timestamp, e.key, e.value))))
		}, func(string, *coder.Timer) error { return nil })
	}
	p := newPipe().read("read", "in", "u_a:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		pardo("work", stateful("timer60"), "in=u_b", "out=u_c:").write("write", "out", "u_c")
	j := r.start(p)
	await(t, j.started, "start")
	out.await(100)
	most := entriesOf(j.job.store)
	out.await(200)
	most = max(most, entriesOf(j.job.store))
	close(j.drain)
	j.mustEnd()
	if most > 200 {
		t.Errorf("%d entries of state", most)
	}
}
