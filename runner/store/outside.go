package store

import (
	"runtime/debug"
	"sync"
)

// outside is what all trees may hold outside of Go's memory: caches and memtables,
// where the program is built with cgo. The collector does not see it. Its limit
// is lowered by that for as long as a tree is open, so that both together keep to
// what the server may have (I9), but to no less than half.
var outside struct {
	mu    sync.Mutex
	bytes int64
	// limit is the collector's, without trees.
	limit int64
}

// holdOutside counts what a tree may hold there, or, if negative, no longer does.
func holdOutside(bytes int64) {
	if !treesOutside {
		return
	}
	outside.mu.Lock()
	defer outside.mu.Unlock()
	if outside.bytes == 0 {
		outside.limit = debug.SetMemoryLimit(-1)
	}
	outside.bytes += bytes
	debug.SetMemoryLimit(max(outside.limit-outside.bytes, outside.limit/2))
}
