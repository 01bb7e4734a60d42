//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package cores

import "time"

func cpuTime() (time.Duration, bool) { return 0, false }
