package fnapi

import "golang.org/x/sys/unix"

// processorTime is the CPU time that a process and its descendants have taken, in
// nanoseconds.
func processorTime(pid int) (int64, bool) { return ofFamily(pid, processorTimeOf) }

// processorTimeOf reads the clock of a process, all its threads, as
// clock_getcpuclockid(3) names it.
func processorTimeOf(pid int) (int64, bool) {
	const ofScheduler = 2 // the precise one of a process's clocks (CPUCLOCK_SCHED)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|ofScheduler, &t); err != nil {
		return 0, false
	}
	return t.Nano(), true
}
