package runner

import (
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// TestElementsAreNotLateForTheirOwnWindow: Python gives what it has combined in a
// window the window's end for a timestamp. The window is not over before such an
// element has been through: not for a grouping, not for a side input, and not for
// what needs one.
func TestElementsAreNotLateForTheirOwnWindow(t *testing.T) {
	r := newRig(t)
	// Windows before 1970, after it, and one that ends with it.
	r.do["make"] = create(at(-61_000, "a", "1"), at(-1000, "a", "2"), at(5000, "a", "3"), at(65_000, "b", "4"))
	combine := pairsIn(coder.IntervalWindow, func(c *call) error {
		return c.each(func(e *item) error {
			end, err := coder.IntervalWindow.MaxTimestamp(e.Windows)
			e.Timestamp = end + 1
			return firstError(err, c.out(coder.AppendElement(nil, &e.Element)))
		})
	})
	r.do["combine"], r.do["combineSide"] = combine, combine
	r.do["work"] = groupsIn(coder.IntervalWindow, func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("work", e.Windows))
			return firstError(err, c.out(at(0, e.key, e.values[0]+" beside "+valuesOfPairs(data))))
		})
	})
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").reshuffle("spread", "in=a", "out=b:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=b", "out=c:kv/minute").
		pardo("combine", nil, "in=c", "out=d:kv/minute").group("group", "in=d", "out=e:grouped/minute").
		reshuffle("spreadSide", "in=c", "out=s:kv/minute").pardo("combineSide", nil, "in=s", "out=t:kv/minute").
		pardo("work", withSide("iterable"), "in=e", "side=t", "out=f:").write("write", "out", "f")
	r.start(p).mustEnd()
	out.want("a=1 beside 1", "a=2 beside 2", "a=3 beside 3", "b=4 beside 4")
}

// TestWhatATimerEmitsAtTheEndOfItsWindowIsInTime: Python's window.end is the instant
// after the window's last one, and what a timer that is set to it emits, or to it
// and the allowed lateness, is still grouped in the window.
func TestWhatATimerEmitsAtTheEndOfItsWindowIsInTime(t *testing.T) {
	for name, lateness := range map[string]int64{"end": 0, "end and lateness": 10_000} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := newStream().watermark(0).element(1000, "a", "1").element(61_000, "a", "2").element(62_000, "b", "3").
				watermark(65_000).watermark(300_000).element(301_000, "a", "4").watermark(beam.MaxEventTime)
			r.rest = decoded
			r.do["work"] = func(c *call) error {
				return c.events(coder.IntervalWindow, func(e *item) error {
					end, err := coder.IntervalWindow.MaxTimestamp(e.Windows)
					at := end.AddMillis(lateness + 1)
					return firstError(err, c.set("event", coder.Timer{Key: str(e.key), Windows: e.Windows, Fire: at, Hold: at}))
				}, func(_ string, timer *coder.Timer) error {
					value := coder.AppendLengthPrefixed(append([]byte(nil), timer.Key...), []byte("fired"))
					return c.out(coder.AppendElement(nil, &coder.Element{Timestamp: timer.Fire, Windows: timer.Windows,
						WindowCount: 1, Pane: noFiring, Value: value}))
				})
			}
			r.do["look"] = groupsIn(coder.IntervalWindow, func(c *call) error {
				return c.each(func(e *item) error { return c.out(at(0, e.key, e.values[0])) })
			})
			out := r.sink("out")
			p := newPipe()
			p.Components.WindowingStrategies["minute"].AllowedLateness = lateness
			p.add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
				add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
				pardo("work", stateful("timer60"), "in=u_b", "out=u_c:kv/minute").group("group", "in=u_c", "out=u_d:grouped/minute").
				pardo("look", nil, "in=u_d", "out=u_e:").write("write", "out", "u_e")
			r.start(p).mustEnd()
			out.want("a=fired", "a=fired", "a=fired", "b=fired")
		})
	}
}
