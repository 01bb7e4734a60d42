package runner

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestWhatALargeJobLeavesIsCollected, but not beside another job, which would wait
// for it, and not for little.
func TestWhatALargeJobLeavesIsCollected(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumGC
	}
	r := New(Config{})
	before := collections()
	if heapBytes() >= leftover {
		t.Skip("the heap of the tests is large by itself")
	}
	makeGarbage(leftover + 1<<20)
	other := &job{}
	r.running["other"] = other
	r.collect()
	time.Sleep(20 * time.Millisecond)
	if collections() != before {
		t.Error("a job that runs has a collection beside it")
	}
	delete(r.running, "other")
	r.collect()
	for end := time.Now().Add(10 * time.Second); collections() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what a job left is still there")
		}
	}
}

//go:noinline
func makeGarbage(bytes int) byte { return make([]byte, bytes)[bytes/2] }
