package runner

import (
	"testing"

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
