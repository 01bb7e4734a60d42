//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package jobservice

import (
	"errors"
	"os"
)

var errLocked = errors.New("locked")

// lockFile opens the file; there are no locks here that a crash releases.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
