package jobservice

import "time"

// retention says what the table keeps besides the jobs that run, the newest
// first.
type retention struct {
	ended       int           // jobs that ended
	prepared    int           // jobs that were prepared and not run
	preparedFor time.Duration // how long those may wait for their Run
	bytes       int           // pipelines and histories of both together
}

var defaultRetention = retention{ended: 1000, prepared: 1000, preparedFor: time.Hour, bytes: 256 << 20}

// tidyLater tidies beside its caller, once for all who ask before it begins: a
// client that prepares a job does not wait until a thousand old ones are looked at.
func (s *Service) tidyLater() {
	if s.untidy.Swap(true) || !s.beginRun() {
		return
	}
	go func() {
		defer s.running.Done()
		s.untidy.Store(false)
		s.tidy()
	}()
}

// tidy forgets the oldest of the jobs that do not run, beyond the limits.
// Whoever still reads the streams of a job that never ran sees it cancelled.
func (s *Service) tidy() {
	var ended, prepared, bytes, forgotten int
	for i, j := range s.all() {
		info := j.info()
		switch {
		case info.Ended():
			ended++
		case info.State == stopped && !info.Kept:
			prepared++
		default:
			continue
		}
		bytes += j.bytes()
		over := ended > s.keep.ended || prepared > s.keep.prepared || bytes > s.keep.bytes
		late := info.State == stopped && time.Since(info.Prepared) > s.keep.preparedFor
		if i > 0 && (over || late) {
			forgotten += s.forget(j)
		}
	}
	if forgotten > 0 {
		s.sweep()
	}
}

// forget drops a job from the table and the data directory, unless it has begun
// to run meanwhile, and returns how many it dropped.
func (s *Service) forget(j *job) int {
	if !j.giveUp() {
		return 0
	}
	if j.dir != nil {
		if err := j.dir.remove(); err != nil {
			j.log.Warn("an old job cannot be removed from the data directory", "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, j.id)
	delete(s.tokens, j.token)
	return 1
}

// sweep removes the artifacts that no job refers to, unless one is staging some.
func (s *Service) sweep() {
	if !s.stagings.TryLock() {
		return // the next one will do it
	}
	defer s.stagings.Unlock()
	live := map[string]bool{}
	for _, j := range s.all() {
		for _, sum := range j.artifacts() {
			live[sum] = true
		}
	}
	if err := s.store.sweep(live); err != nil {
		s.log.Warn("old artifacts cannot be removed", "error", err)
	}
}
