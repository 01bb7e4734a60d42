package window

import (
	"math/rand/v2"
	"testing"
)

// TestScheduleAgainstASearch: whatever is set, moved and removed, the first is the
// one with the least time, and among those the one that came first.
func TestScheduleAgainstASearch(t *testing.T) {
	type item struct {
		slot
		came int
	}
	r := rand.New(rand.NewPCG(7, 11))
	s := schedule[*item]{slot: func(i *item) *slot { return &i.slot }}
	items := make([]item, 60)
	came := 0
	for step := range 20_000 {
		i := &items[r.IntN(len(items))]
		if r.IntN(3) == 0 {
			s.remove(i)
		} else {
			if i.pos == 0 {
				came++
				i.came = came
			}
			s.set(i, int64(r.IntN(20)))
		}
		var want *item
		for k := range items {
			o := &items[k]
			if o.pos != 0 && (want == nil || o.at < want.at || o.at == want.at && o.came < want.came) {
				want = o
			}
		}
		got, at, ok := s.first()
		if ok != (want != nil) || got != want || ok && at != want.at {
			t.Fatalf("step %d: the first is %v at %d, should be %v", step, got, at, want)
		}
	}
}
