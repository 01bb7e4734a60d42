package main

import "syscall"

// followsUs has a child end when the thread that starts it does, and so with this
// process, if that is killed.
func followsUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
