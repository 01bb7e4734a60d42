//go:build !linux

package main

import "syscall"

// Elsewhere a child learns of the end of this process by its connections only.
func followsUs() *syscall.SysProcAttr { return nil }
