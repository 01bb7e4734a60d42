package main

import (
	"os"
	"strconv"
	"strings"
)

// coreTime is what the machine's cores have had since its start, in ticks: all of it,
// and that in which something here could have run but the hypervisor ran others.
type coreTime struct{ all, stolen float64 }

// readCoreTime is zero where there is no /proc/stat.
func readCoreTime() coreTime {
	text, _ := os.ReadFile("/proc/stat")
	return coreTimeOf(string(text))
}

// The first line: "cpu", then user, nice, system, idle, iowait, irq, softirq, steal,
// and guests' time, which is in user's (proc_stat(5)).
func coreTimeOf(text string) (t coreTime) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	for i := 1; i < min(len(fields), 9); i++ {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return coreTime{}
		}
		t.all += n
		if i == 8 {
			t.stolen = n
		}
	}
	return t
}

// stolenSince is the part of the cores' time that others had, in per cent.
func stolenSince(before coreTime) (percent float64, ok bool) {
	now := readCoreTime()
	if now.all <= before.all {
		return 0, false
	}
	return 100 * (now.stolen - before.stolen) / (now.all - before.all), true
}
