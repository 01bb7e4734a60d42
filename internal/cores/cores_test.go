package cores

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCoresFollowWhatIsUsed(t *testing.T) {
	for _, c := range []struct {
		name string
		use  []float64
		want []int // after each look
	}{
		{"busy", repeat(1.5, 12), repeat(4, 12)},
		{"enough for a while", repeat(0.1, 12), append(repeat(4, 9), 1, 1, 1)},
		{"the most of the while counts", append(repeat(0.1, 8), 0.6, 0.1, 0.1), append(repeat(4, 9), 2, 2)},
		{"more at once", append(repeat(0.1, 10), 0.9, 1.2, 1.8), append(repeat(4, 9), 1, 2, 3, 4)},
		{"a while begins anew with what needs more", append(repeat(0.1, 15), append([]float64{0.9}, repeat(0.1, 10)...)...), append(append(repeat(4, 9), repeat(1, 6)...), append(repeat(2, 10), 1)...)},
		{"never more than there are", []float64{9}, []int{4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gauge{all: 4, now: 4}
			var got []int
			for _, use := range c.use {
				got = append(got, g.read(use))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func repeat[T any](v T, n int) []T { return slices.Repeat([]T{v}, n) }

// An idle process is left alone: what looks at it would be its only work.
func TestNobodyLooksAtAnIdleProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cpu, looks, cores atomic.Int64
		cores.Store(4)
		g := &governor{
			gauge: gauge{all: 4, now: 4},
			set:   func(n int) { cores.Store(int64(n)) },
			used: func() (time.Duration, bool) {
				looks.Add(1)
				return time.Duration(cpu.Load()), true
			},
		}
		for range 20 { // work that takes a tenth of a core
			g.work()
			cpu.Add(int64(period / 10))
			time.Sleep(period)
		}
		if n := cores.Load(); n != 1 {
			t.Errorf("%d cores for a tenth of one", n)
		}
		before := looks.Load()
		time.Sleep(time.Hour)
		if n := looks.Load() - before; n > 3 {
			t.Errorf("looked at %d times while idle", n)
		}
		g.work()
		time.Sleep(period / 2) // between two looks
		for i := range 50 {    // one bundle, of which no more is heard for long
			cpu.Add(int64(period / 10))
			if i >= 20 {
				cpu.Add(int64(3 * period))
			}
			time.Sleep(period)
		}
		if n := cores.Load(); n != 4 {
			t.Errorf("%d cores for three", n)
		}
	})
}

// Work for all is not kept waiting for the next look, nor are its cores when it is done.
func TestABurstHasAllCoresAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cores, sets atomic.Int64
		g := &governor{
			gauge: gauge{all: 4, now: 1},
			set:   func(n int) { cores.Store(int64(n)); sets.Add(1) },
			used:  func() (time.Duration, bool) { return 0, true },
		}
		for range 3 {
			g.burst()
			if n := cores.Load(); n != 4 {
				t.Fatalf("%d cores in a burst", n)
			}
		}
		if n := sets.Load(); n != 1 {
			t.Errorf("set %d times to the same", n)
		}
		for range calm + 2 { // small work
			g.work()
			time.Sleep(period)
		}
		if n := cores.Load(); n != 1 {
			t.Errorf("%d cores a while after a burst", n)
		}
		g.burst()
		if n := cores.Load(); n != 4 {
			t.Errorf("%d cores in another burst", n)
		}
		time.Sleep(time.Minute) // the looks end
	})
}

func TestGovernedCores(t *testing.T) {
	Work() // without a governor: nothing
	defer runtime.GOMAXPROCS(all)
	defer process.Store(nil)
	Govern()
	if g := process.Load(); g != nil {
		defer func() {
			for g.watching.Load() {
				time.Sleep(period)
			}
		}()
	}
	for end := time.Now().Add(3 * calm * period); time.Now().Before(end); time.Sleep(period / 4) {
		Work()
	}
	if n := runtime.GOMAXPROCS(0); process.Load() != nil && n != 1 {
		t.Errorf("%d cores for next to no work", n)
	}
}
