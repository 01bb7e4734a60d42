//go:build !linux

package fnapi

// Elsewhere workers are not weighed.

func residentMemory(int) (int64, bool) { return 0, false }

func systemMemory() (all, left int64, ok bool) { return 0, 0, false }
