package parts

import "syscall"

// childAttr puts a server in a process group of its own, so that a Ctrl-C meant for the test does not reach it
// out of order, and has the kernel kill it should the parent be killed.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
