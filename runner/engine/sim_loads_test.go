package engine

import (
	"maps"
	"slices"
	"time"
)

// tellLoads answers for one of the pools whose workers' CPU times are wanted:
// any that they may have taken, and now and then that one cannot be seen.
func (s *sim) tellLoads() {
	pool := s.wanted[0]
	s.wanted = s.wanted[1:]
	ev := &WorkerLoads{Pool: pool}
	for _, w := range slices.SortedFunc(maps.Keys(s.workers), func(a, b [2]int) int { return a[1] - b[1] }) {
		if w[0] != pool {
			continue
		}
		if since := s.now.Sub(s.told); since > 0 {
			s.took[w] += time.Duration(s.rng.Int64N(int64(since)*3/2 + 1))
		}
		cpu := s.took[w]
		if s.rng.IntN(50) == 0 {
			cpu = -1
		}
		ev.Loads = append(ev.Loads, WorkerLoad{Worker: w[1], CPU: cpu})
	}
	s.told = s.now
	s.step(Event{WorkerLoads: ev})
}
