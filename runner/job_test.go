package runner

import (
	"fmt"
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// numbers are n elements with keys k0 to k9, and how they are written.
func numbers(n int) (elements [][]byte, written []string) {
	for i := range n {
		k, v := fmt.Sprint("k", i%10), fmt.Sprint(i)
		elements = append(elements, at(beam.EventTime(i), k, v))
		written = append(written, k+"="+v)
	}
	return elements, written
}

// TestABoundedJobThroughEveryLayer: impulse, user code, a shuffle, a grouping in
// windows, a sink.
func TestABoundedJobThroughEveryLayer(t *testing.T) {
	r := newRig(t)
	var elements [][]byte
	for i := range 1000 {
		elements = append(elements, at(beam.EventTime(i*1000), fmt.Sprint("k", i%3), fmt.Sprint(i)))
	}
	r.do["make"] = create(elements...)
	r.do["count"] = groupsIn(coder.IntervalWindow, mapping(func(e *item) [][]byte {
		end, _ := coder.IntervalWindow.MaxTimestamp(e.Windows)
		return [][]byte{at(e.Timestamp, e.key, fmt.Sprint(len(e.values), " at ", int64(end+1)/60_000))}
	}))
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").reshuffle("spread", "in=a", "out=b:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=b", "out=c:kv/minute").
		group("group", "in=c", "out=d:grouped/minute").
		pardo("count", nil, "in=d", "out=e:").write("write", "out", "e")
	r.start(p).mustEnd()
	var want []string
	for m := range 17 {
		for k := range 3 {
			n := 20
			if m == 16 {
				n = map[int]int{0: 14, 1: 13, 2: 13}[k]
			}
			want = append(want, fmt.Sprintf("k%d=%d at %d", k, n, m+1))
		}
	}
	out.want(want...)
	if out.closed != 1 {
		t.Errorf("the sink was closed %d times", out.closed)
	}
}
