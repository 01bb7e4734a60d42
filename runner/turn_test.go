package runner

import (
	"fmt"
	"sync"
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// TestATimerMayChangeThoseThatAreDueAfterIt: although all are due at once, at the
// end of the input, a timer that another clears or sets anew does not fire, and one
// that sets itself again and again does so before the last one of its key.
func TestATimerMayChangeThoseThatAreDueAfterIt(t *testing.T) {
	r := newRig(t)
	r.do["make"] = create(at(0, "a", "v"), at(0, "b", "v"))
	r.do["work"] = func(c *call) error {
		set := func(t *coder.Timer, tag string, at beam.EventTime) error {
			return c.set("event", coder.Timer{Key: t.Key, Tag: tag, Fire: at, Hold: at})
		}
		return c.events(coder.GlobalWindow, func(e *item) error {
			k := &coder.Timer{Key: str(e.key)}
			return firstError(set(k, "loop", 10), firstError(set(k, "never", 15), firstError(set(k, "moved", 20), set(k, "end", 35))))
		}, func(_ string, timer *coder.Timer) error {
			err := c.out(fired(timer, fmt.Sprint(timer.Tag, int64(timer.Fire))))
			switch {
			case timer.Tag != "loop":
				return err
			case timer.Fire == 10:
				err = firstError(err, firstError(set(timer, "moved", 40),
					c.set("event", coder.Timer{Key: timer.Key, Tag: "never", Clear: true})))
			case timer.Fire >= 50:
				return err
			}
			return firstError(err, set(timer, "loop", timer.Fire+10))
		})
	}
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		pardo("work", stateful("timer"), "in=a", "out=b:").write("write", "out", "b")
	r.start(p).mustEnd()
	for _, key := range []string{"a", "b"} {
		var got []string
		for _, line := range out.inOrder() {
			if line[:1] == key {
				got = append(got, line[2:])
			}
		}
		want := "[loop10 loop20 loop30 end35 loop40 moved40 loop50]"
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

// TestTimersThatOnlyEmitFireTogether, those of one key too: else a key with many
// would take as many bundles. When one of them does more after all, they fire
// again, in turn.
func TestTimersThatOnlyEmitFireTogether(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	most := 0
	r.rest = decoded
	s := newStream()
	for i := range calmTimers {
		s.element(0, fmt.Sprint("k", i), "calm")
	}
	s.watermark(20).element(30, "many", "many").watermark(1000).element(2000, "z", "clears").watermark(beam.MaxEventTime)
	r.do["work"] = func(c *call) error {
		n := 0
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			most = max(most, n)
		}()
		set := func(key, tag string, at beam.EventTime) error {
			return c.set("event", coder.Timer{Key: str(key), Tag: tag, Fire: at, Hold: at})
		}
		return c.events(coder.GlobalWindow, func(e *item) error {
			switch e.value {
			case "calm":
				return set(e.key, "", 10)
			case "many":
				for i := range 50 {
					if err := set(e.key, fmt.Sprint(i), beam.EventTime(100+i)); err != nil {
						return err
					}
				}
				return nil
			}
			return firstError(set(e.key, "first", 2010), set(e.key, "cleared", 2020))
		}, func(_ string, timer *coder.Timer) error {
			n++
			if timer.Tag == "first" {
				return firstError(c.set("event", coder.Timer{Key: timer.Key, Tag: "cleared", Clear: true}), c.out(fired(timer, "first")))
			}
			if timer.Fire < 100 {
				return nil
			}
			return c.out(fired(timer, timer.Tag))
		})
	}
	out := r.sink("out")
	p := newPipe().add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
		pardo("work", stateful("timer"), "in=u_a", "out=u_b:").write("write", "out", "u_b")
	r.start(p).mustEnd()
	want := []string{"z=first"}
	for i := range 50 {
		want = append(want, fmt.Sprint("many=", i))
	}
	out.want(want...)
	if most < 50 {
		t.Errorf("of one key no more than %d timers fired together", most)
	}
}
