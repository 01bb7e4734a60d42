package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fresnel/internal/beam"
)

// The small parts against plain ones, on random operations.

func TestMinTree(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 70 {
		tree, plain := newMinTree(n, 50), slices.Repeat([]int{50}, n)
		for range 200 {
			if n > 0 {
				i, v := rng.IntN(n), rng.IntN(60)
				tree.set(i, v)
				plain[i] = v
			}
			if want := slices.Min(append(plain, 50+10*n)); n > 0 && tree.min() != want {
				t.Fatalf("min of %d is %d, not %d", n, tree.min(), want)
			}
			limit := rng.IntN(60)
			found := tree.upTo(limit, nil)
			slices.Sort(found)
			var want []int
			for i, v := range plain {
				if v <= limit {
					want = append(want, i)
				}
			}
			if n > 0 && !slices.Equal(found, want) {
				t.Fatalf("up to %d: %v, not %v", limit, found, want)
			}
		}
	}
	if none := newMinTree(0, 7); none.min() != 7 {
		t.Error("the minimum of nothing")
	}
}

func TestBitset(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 2))
	b, plain := newBitset(200), map[int]bool{}
	for range 5000 {
		i := rng.IntN(200)
		if rng.IntN(2) == 0 {
			b.set(i)
			plain[i] = true
		} else {
			b.clear(i)
			delete(plain, i)
		}
		from, next, before := rng.IntN(201), -1, -1
		for k := range 200 {
			if plain[k] && k >= from && next < 0 {
				next = k
			}
			if plain[k] && k < from {
				before = k
			}
		}
		if b.has(i) != plain[i] || b.next(from) != next || b.before(from) != before || b.empty() != (len(plain) == 0) {
			t.Fatalf("from %d: next %d, before %d; want %d, %d", from, b.next(from), b.before(from), next, before)
		}
	}
}

func TestTimeBag(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 3))
	var bag timeBag
	var plain []beam.EventTime
	for range 20000 {
		if len(plain) == 0 || rng.IntN(100) < 52 {
			v := beam.EventTime(rng.IntN(100))
			bag.add(v)
			plain = append(plain, v)
		} else {
			i := rng.IntN(len(plain))
			bag.remove(plain[i])
			plain = slices.Delete(plain, i, i+1)
		}
		want := beam.MaxEventTime
		if len(plain) > 0 {
			want = slices.Min(plain)
		}
		if bag.min() != want {
			t.Fatalf("min is %v, not %v", bag.min(), want)
		}
	}
}

// TestTimeBagStaysSmall: one old time that stays must not keep all that pass.
func TestTimeBagStaysSmall(t *testing.T) {
	t.Parallel()
	var bag timeBag
	bag.add(0)
	for i := range 100_000 {
		bag.add(beam.EventTime(i + 1))
		bag.remove(beam.EventTime(i + 1))
	}
	if n := len(bag.in) + len(bag.gone); n > 1000 {
		t.Errorf("%d times are kept for one that is in", n)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 4))
	var q queue
	var plain []BlockID
	next := BlockID(0)
	entries := func(n int) []entry {
		all := make([]entry, n)
		for i := range all {
			next++
			all[i] = entry{id: next, count: 3}
		}
		return all
	}
	for range 20000 {
		switch n := rng.IntN(10); {
		case n < 5:
			p := entries(1)
			q.push(p[0])
			plain = append(plain, p[0].id)
		case n < 6:
			ps := entries(rng.IntN(4))
			q.pushFront(ps)
			for i := range ps {
				plain = slices.Insert(plain, i, ps[i].id)
			}
		case q.len() > 0:
			if got := q.pop().id; got != plain[0] {
				t.Fatalf("popped %d, not %d", got, plain[0])
			}
			plain = plain[1:]
		}
		if q.len() != len(plain) || q.elements != 3*len(plain) || len(plain) > 0 && q.front().id != plain[0] {
			t.Fatalf("%d of %d left", q.len(), len(plain))
		}
	}
}

func TestCost(t *testing.T) {
	t.Parallel()
	c := newCost(2e6)
	rng := rand.New(rand.NewPCG(5, 5))
	c.measure(16, 40e6) // the first bundle sets the stage up
	for range 50 {
		n := 1 + rng.IntN(20000)
		c.measure(n, time.Duration(3.6e6+5e3*float64(n)*(0.9+0.2*rng.Float64())))
	}
	if c.fixed < 2e6 || c.fixed > 6e6 || c.element < 4e3 || c.element > 6e3 {
		t.Errorf("a bundle costs 3.6 ms and 5 us an element; measured %.1f ms and %.1f us", c.fixed/1e6, c.element/1e3)
	}
	c = newCost(2e6)
	for range 50 {
		c.measure(1, 4e6)
	}
	if got := c.expected(1); got < 3e6 || got > 5e6 {
		t.Errorf("bundles of one element take 4 ms, not %v", got)
	}
}
