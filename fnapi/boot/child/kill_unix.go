//go:build unix

package child

import "syscall"

// A group that has ended already needs no signal: errors are of no interest.

func terminateGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }
func killGroup(pid int)      { _ = syscall.Kill(-pid, syscall.SIGKILL) }
