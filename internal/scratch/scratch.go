// Package scratch makes temporary directories for one process. Each has a lock
// that the system takes off when the process ends, however it does; what one
// that was killed has left, the next of its kind removes.
package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// lockName is the file in a directory that its process has locked.
const lockName = ".lock"

// unlockedFor is how old what is not locked must be to be of nobody: a lock
// comes after its directory.
const unlockedFor = time.Minute

// Dir makes a directory, for this user only, in that for temporary files. Its name
// begins with the kind: a few words that end with a hyphen. To remove it is
// the caller's, once it is done.
func Dir(kind string) (dir string, remove func(), err error) {
	sweep(kind)
	dir, err = os.MkdirTemp("", kind)
	if err != nil {
		return "", nil, err
	}
	unlock, err := lock(filepath.Join(dir, lockName), os.O_CREATE)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() {
		_ = os.RemoveAll(dir) // what stays is in a temporary directory
		unlock()
	}, nil
}

// sweep removes what processes of a kind have left that are gone. Directories
// that never had a lock may be anybody's.
func sweep(kind string) {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), kind+"*")) // a wrong pattern finds nothing
	for _, dir := range found {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() || !ours(info) || time.Since(info.ModTime()) < unlockedFor {
			continue
		}
		if unlock, err := lock(filepath.Join(dir, lockName), 0); err == nil {
			_ = os.RemoveAll(dir) // the next one tries again
			unlock()
		}
	}
}
