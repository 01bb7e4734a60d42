package fnapi

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// ofFamily is the sum of a measure over a process and its descendants, without this
// process and its own, which a program may have started that is a worker in
// LOOPBACK; false if the process itself is gone.
func ofFamily(pid int, measure func(pid int) (int64, bool)) (int64, bool) {
	sum, ok := measure(pid)
	if !ok {
		return 0, false
	}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // it may end meanwhile
	for _, t := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		for word := range bytes.FieldsSeq(children) {
			if child, err := strconv.Atoi(string(word)); err == nil && child != os.Getpid() {
				more, _ := ofFamily(child, measure)
				sum += more
			}
		}
	}
	return sum, true
}
