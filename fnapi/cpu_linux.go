package fnapi

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// userHZ is the unit of CPU times in /proc, the same on all Linux systems.
const userHZ = 100

// processorTime is the CPU time that a process and its descendants have taken, in
// nanoseconds, in steps of 10 ms.
func processorTime(pid int) (int64, bool) { return ofFamily(pid, processorTimeOf) }

// processorTimeOf reads proc_pid_stat(5): utime and stime are the 12th and the 13th
// field after the command's name, which is in brackets and may hold anything.
func processorTimeOf(pid int) (int64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return (user + system) * (1e9 / userHZ), err == nil && err2 == nil
}
