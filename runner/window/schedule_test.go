package window

import (
	"cmp"
	"math/rand/v2"
	"slices"
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
		switch r.IntN(30) {
		case 0:
			last := int64(r.IntN(20))
			var due []*item
			for k := range items {
				if o := &items[k]; o.pos > 0 && o.at <= last {
					due = append(due, o)
				}
			}
			slices.SortFunc(due, func(a, b *item) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.came, b.came)) })
			if got := s.take(last); !slices.Equal(got, due) {
				t.Fatalf("step %d: taken up to %d: %v, should be %v", step, last, got, due)
			}
		case 1:
			some := make([]*item, r.IntN(len(items)/2))
			for k := range some {
				some[k] = &items[r.IntN(len(items))]
			}
			s.removeAll(some)
		case 2, 3, 4, 5, 6, 7, 8, 9:
			s.remove(i)
		default:
			if i.pos <= 0 {
				came++
				i.came = came
			}
			s.set(i, int64(r.IntN(20)))
		}
		var want *item
		for k := range items {
			o := &items[k]
			if o.pos > 0 && (want == nil || o.at < want.at || o.at == want.at && o.came < want.came) {
				want = o
			}
		}
		got, at, ok := s.first()
		if ok != (want != nil) || got != want || ok && at != want.at {
			t.Fatalf("step %d: the first is %v at %d, should be %v", step, got, at, want)
		}
	}
}
