//go:build !linux

package main

import "os"

// What is not asked in the same way everywhere is not known here.

func freeBytes(dir string) (uint64, error) {
	_, err := os.Stat(dir)
	return 1 << 40, err
}

func openFiles() (uint64, bool)   { return 0, false }
func totalMemory() (uint64, bool) { return 0, false }
