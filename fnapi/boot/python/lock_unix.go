//go:build unix

package python

import (
	"context"
	"errors"
	"os"
	"syscall"
)

// lockShared waits until nobody holds the lock file alone. A lock ends with the
// process that holds it.
func lockShared(ctx context.Context, path string) (unlock func(), err error) {
	for {
		unlock, err := flock(path, syscall.LOCK_SH)
		if !isLocked(err) {
			return unlock, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// tryLock holds the lock file alone, if nobody holds it.
func tryLock(path string) (unlock func(), err error) {
	return flock(path, syscall.LOCK_EX)
}

// isLocked tells whether that is the error of a lock that somebody has.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR)
}

func flock(path string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
