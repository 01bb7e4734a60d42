package runner

import (
	"runtime"
	gometrics "runtime/metrics"
)

// leftover is from how much on what a job leaves is collected at its end, in bytes.
const leftover = 64 << 20

// collect frees what a large job has left, unless others run. Go itself collects when
// the heap has doubled: the next job's memory would come on top.
func (r *Runner) collect() {
	if r.idle() && heapBytes() >= leftover {
		go runtime.GC() // nobody waits for it
	}
}

// heapBytes is what the objects on the heap take, those included that nobody uses.
func heapBytes() uint64 {
	heap := []gometrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	gometrics.Read(heap)
	if v := heap[0].Value; v.Kind() == gometrics.KindUint64 {
		return v.Uint64()
	}
	return 0
}

func (r *Runner) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running) == 0
}
