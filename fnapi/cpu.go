package fnapi

import "time"

// CPU is the time that the processes of the worker have taken so far.
func (w *worker) CPU() (time.Duration, bool) {
	pid := int(w.process.Load())
	if pid == 0 {
		pid = w.hostProcess()
	}
	if pid == 0 {
		return 0, false
	}
	t, ok := processorTime(pid)
	return time.Duration(t), ok
}

// hostProcess is the process that a worker runs in which somebody else's service
// started on this machine: of LOOPBACK, the program that submitted the job. Its
// connection tells. It is 0 if it is not seen.
func (w *worker) hostProcess() int {
	if !w.foreign.Load() {
		return 0
	}
	w.findHost.Do(func() {
		w.mu.Lock()
		p := w.peer
		w.mu.Unlock()
		if p != nil {
			w.host, _ = peerProcess(p.LocalAddr, p.Addr)
		}
	})
	return w.host
}
