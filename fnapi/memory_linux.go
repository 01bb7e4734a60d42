package fnapi

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// residentMemory is what a process and its descendants have in memory, in bytes;
// what they share counts for each.
func residentMemory(pid int) (int64, bool) { return ofFamily(pid, resident) }

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
