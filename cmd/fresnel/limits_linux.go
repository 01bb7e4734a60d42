package main

import "syscall"

func freeBytes(dir string) (uint64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return s.Bavail * uint64(s.Bsize), err
}

func openFiles() (uint64, bool) {
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	return l.Cur, err == nil
}

func totalMemory() (uint64, bool) {
	var s syscall.Sysinfo_t
	err := syscall.Sysinfo(&s)
	return s.Totalram * uint64(s.Unit), err == nil
}
