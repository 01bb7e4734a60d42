package store

import (
	"runtime/debug"
	"testing"
)

// TestWhatTreesHoldIsNotTheCollectors: its limit is lowered while they are open, by
// half at most, and is what it was when they are closed.
func TestWhatTreesHoldIsNotTheCollectors(t *testing.T) {
	if !treesOutside {
		t.Skip("built without cgo, trees are in Go's memory")
	}
	const limit = 10 << 30
	before := debug.SetMemoryLimit(limit)
	defer debug.SetMemoryLimit(before)
	for _, step := range []struct{ hold, limit int64 }{
		{1 << 30, 9 << 30}, {2 << 30, 7 << 30}, {4 << 30, 5 << 30}, {-4 << 30, 7 << 30}, {-2 << 30, 9 << 30}, {-1 << 30, limit},
	} {
		holdOutside(step.hold)
		if got := debug.SetMemoryLimit(-1); got != step.limit {
			t.Errorf("after %+d bytes the collector's limit is %d, want %d", step.hold, got, step.limit)
		}
	}
}
