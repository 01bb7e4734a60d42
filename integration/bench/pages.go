package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// touched is how much memory each run finds in the machine, in bytes: at most an
// eighth of what it has.
const touched = 2 << 30

// touchMemory has the machine fetch memory before something is measured. A virtual
// machine may give what was free for some minutes back to its host, and whoever
// touches such a page next pays for it: seen were 3 s of CPU time a GB with all cores
// at it, in place of 0.6. That an engine was the first to need as much would
// count as its own time.
func touchMemory() {
	n, size := runtime.NumCPU(), int64(touched)
	if all := thisMachine().memory; all > 0 {
		size = min(size, all/8)
	}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			block := make([]byte, size/int64(n))
			for i := 0; i < len(block); i += os.Getpagesize() {
				block[i] = 1
			}
		})
	}
	all.Wait()
	debug.FreeOSMemory()
}
