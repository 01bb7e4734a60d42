//go:build unix

package python

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// lock waits until it holds the lock file alone. A lock ends with the process
// that holds it.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	return await(ctx, path, syscall.LOCK_EX)
}

// lockShared waits until nobody holds the lock file alone.
func lockShared(ctx context.Context, path string) (unlock func(), err error) {
	return await(ctx, path, syscall.LOCK_SH)
}

// tryLock is lock without waiting.
func tryLock(path string) (unlock func(), err error) {
	return flock(path, syscall.LOCK_EX)
}

func await(ctx context.Context, path string, how int) (unlock func(), err error) {
	for {
		unlock, err := flock(path, how)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
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
