//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package jobservice

import (
	"errors"
	"os"
	"syscall"
)

var errLocked = errors.New("locked")

// lockFile locks a file for this process, however that ends, or returns
// errLocked. Closing the file unlocks it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	return nil, err
}
