package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"fresnel/runner"
)

// limitMemory finds the memory limit, from the flag or half of what there is, and
// has Go's collector keep to it. 0 is no limit.
func limitMemory(option string) (int64, error) {
	limit := availableMemory() / 2
	if option != "" {
		var err error
		if limit, err = parseSize(option); err != nil {
			return 0, fmt.Errorf("--memory-limit: %w", err)
		}
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit - slackOf(limit))
	}
	return limit, nil
}

// overstep is about how far the collector oversteps its limit for moments, where it
// has little to work with.
const overstep = 96 << 20

// slackOf is what the collector leaves of a limit.
func slackOf(limit int64) int64 {
	return max(limit/8, min(overstep, limit/6), min(runner.ProgramMemory, limit/2))
}

// availableMemory is what the machine has, or the control group if that is less.
func availableMemory() int64 {
	total, _ := totalMemory()
	least := int64(min(total, 1<<62))
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// sizeUnits are those of parseSize, longer names first.
var sizeUnits = []struct {
	name string
	size float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1},
}

// parseSize reads a number of bytes such as 512MB, 1.5GiB or 0.
func parseSize(text string) (int64, error) {
	number, factor := strings.ToLower(strings.TrimSpace(text)), 1.0
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0 && n*factor < 1<<62) {
		return 0, fmt.Errorf("%q is not a size such as 512MB or 2GiB", text)
	}
	return int64(n * factor), nil
}
