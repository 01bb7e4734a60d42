package fnapi

import "time"

// CPU is the time that the processes of the worker have taken so far.
func (w *worker) CPU() (time.Duration, bool) {
	pid := int(w.process.Load())
	if pid == 0 {
		return 0, false
	}
	t, ok := processorTime(pid)
	return time.Duration(t), ok
}
