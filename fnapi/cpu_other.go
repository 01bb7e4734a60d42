//go:build !linux

package fnapi

// Elsewhere the CPU time of workers is not known.

func processorTime(int) (int64, bool) { return 0, false }
