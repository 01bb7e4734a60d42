package fnapi

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// residentMemory is what a process and its descendants have in memory, in bytes;
// what they share counts for each.
func residentMemory(pid int) (int64, bool) { return ofFamily(pid, resident) }

// ofFamily is the sum of a measure over a process and its descendants; false if
// the process itself is gone.
func ofFamily(pid int, measure func(pid int) (int64, bool)) (int64, bool) {
	sum, ok := measure(pid)
	if !ok {
		return 0, false
	}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // it may end meanwhile
	for _, t := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		for word := range bytes.FieldsSeq(children) {
			if child, err := strconv.Atoi(string(word)); err == nil {
				more, _ := ofFamily(child, measure)
				sum += more
			}
		}
	}
	return sum, true
}

func resident(pid int) (int64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}

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

// systemMemory is all memory, and what is left of it: the machine's, or that of
// the control group that this process is alone in, as in a container.
func systemMemory() (all, left int64, ok bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, false
	}
	all, left = meminfo(text, "MemTotal:"), meminfo(text, "MemAvailable:")
	for _, g := range [][2]string{
		{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
		{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
	} {
		limit, used := numberIn(g[0]), numberIn(g[1])
		if limit > 0 && limit < all {
			all, left = limit, min(left, limit-used)
		}
	}
	return all, left, all > 0
}

// meminfo is the value of a line in kB, in bytes.
func meminfo(text []byte, name string) int64 {
	_, rest, _ := strings.Cut(string(text), name)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10
}

// numberIn is the number that a file holds, 0 if it holds none.
func numberIn(file string) int64 {
	text, _ := os.ReadFile(file)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}
