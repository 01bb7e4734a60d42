package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskFS is the file system under a Disk, and what knows of its faults: the tree
// ends the process for one in a wrong moment, or holds up its writers for ever.
//
//	disk full ──▶ wait for room, for as long as somebody hopes for it, and go on
//	other fault ─▶ the store has failed; what the tree writes from then on goes nowhere
//
// So of a store that has failed the disk has what it had at that moment, which is
// what the next server begins with. The tree goes on as if nothing was, its writers
// come back, and learn from the Disk that nothing counts.
//
// A sync that failed is not tried again: the system may have forgotten what it
// should have written (https://lwn.net/Articles/752063/).
type diskFS struct {
	vfs.FS
	full func() bool
	room func()
	// fail fails the store, failed tells that it has.
	fail   func(error) error
	failed func() bool
	// open is set once the tree is: until then it can be told of faults.
	open atomic.Bool

	mu sync.Mutex
	// waits counts how often somebody has waited for room, waited tells that nobody
	// has found it since.
	waits  int
	waited bool
}

// outOfSpace tells of a full disk, or of a user who may not have more of it.
func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// try changes something of the disk, and waits for the room that it needs.
func (d *diskFS) try(do func() error) error {
	for !d.failed() {
		waits := d.seen()
		err := do()
		if !outOfSpace(err) {
			d.found(err, waits)
			return d.judge(err)
		}
		if !d.wait(waits) {
			return d.judge(err)
		}
	}
	return nil
}

// judge keeps from the tree what it could not bear.
func (d *diskFS) judge(err error) error {
	if err == nil || !d.open.Load() || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist) {
		return err
	}
	_ = d.fail(err) // whoever writes is told
	return nil
}

func (d *diskFS) seen() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waits
}

// wait returns whether to try again: when somebody has waited since the try began.
func (d *diskFS) wait(waits int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full == nil {
		return false
	}
	if d.waits > waits {
		return true
	}
	again := d.full()
	d.waits++
	d.waited = d.waited || again
	return again
}

// found tells once that there is room again.
func (d *diskFS) found(err error, waits int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.waited && d.waits == waits {
		d.waited = false
		if d.room != nil {
			d.room()
		}
	}
}

// file opens a file for writing.
func (d *diskFS) file(open func() (vfs.File, error)) (f vfs.File, err error) {
	err = d.try(func() error {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	if f == nil {
		f = nowhere{}
	}
	return &diskFile{f, d}, nil
}

func (d *diskFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d *diskFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, o...) })
}

func (d *diskFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

// OpenDir opens a directory to sync it.
func (d *diskFS) OpenDir(name string) (vfs.File, error) {
	return d.file(func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

func (d *diskFS) Link(from, to string) error {
	return d.try(func() error { return d.FS.Link(from, to) })
}

func (d *diskFS) Rename(from, to string) error {
	return d.try(func() error { return d.FS.Rename(from, to) })
}

func (d *diskFS) Remove(name string) error {
	return d.try(func() error { return d.FS.Remove(name) })
}

func (d *diskFS) RemoveAll(name string) error {
	return d.try(func() error { return d.FS.RemoveAll(name) })
}

func (d *diskFS) MkdirAll(name string, mode os.FileMode) error {
	return d.try(func() error { return d.FS.MkdirAll(name, mode) })
}

// Unwrap is for who asks what the file system is.
func (d *diskFS) Unwrap() vfs.FS { return d.FS }

// diskFile is a file of a diskFS that is written.
type diskFile struct {
	vfs.File
	fs *diskFS
}

func (f *diskFile) Write(p []byte) (int, error) {
	return f.write(p, func(from int) (int, error) { return f.File.Write(p[from:]) })
}

func (f *diskFile) WriteAt(p []byte, at int64) (int, error) {
	return f.write(p, func(from int) (int, error) { return f.File.WriteAt(p[from:], at+int64(from)) })
}

// write goes on where it was cut off.
func (f *diskFile) write(p []byte, some func(from int) (int, error)) (n int, err error) {
	err = f.fs.try(func() error {
		m, err := some(n)
		n += m
		return err
	})
	if err != nil {
		return n, err
	}
	return len(p), nil
}

func (f *diskFile) Sync() error { return f.sync(f.File.Sync) }

func (f *diskFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *diskFile) SyncTo(length int64) (whole bool, err error) {
	err = f.sync(func() error {
		whole, err = f.File.SyncTo(length)
		return err
	})
	return whole, err
}

func (f *diskFile) sync(do func() error) error {
	if f.fs.failed() {
		return nil
	}
	if err := do(); err != nil {
		return f.fs.judge(fmt.Errorf("syncing a file: %w", err))
	}
	return nil
}

func (f *diskFile) Close() error { return f.fs.judge(f.File.Close()) }

// nowhere is a file of a store that has failed.
type nowhere struct{}

func (nowhere) Close() error                           { return nil }
func (nowhere) Read([]byte) (int, error)               { return 0, io.EOF }
func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nowhere) Write(p []byte) (int, error)            { return len(p), nil }
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nowhere) Preallocate(int64, int64) error         { return nil }
func (nowhere) Stat() (vfs.FileInfo, error)            { return nothing{}, nil }
func (nowhere) Sync() error                            { return nil }
func (nowhere) SyncTo(int64) (bool, error)             { return true, nil }
func (nowhere) SyncData() error                        { return nil }
func (nowhere) Prefetch(int64, int64) error            { return nil }
func (nowhere) Fd() uintptr                            { return vfs.InvalidFd }

// nothing describes such a file: the tree asks for the size of a log that it uses
// again, and must not be told that there is none.
type nothing struct{}

func (nothing) Name() string           { return "nowhere" }
func (nothing) Size() int64            { return 0 }
func (nothing) Mode() os.FileMode      { return 0 }
func (nothing) ModTime() time.Time     { return time.Time{} }
func (nothing) IsDir() bool            { return false }
func (nothing) Sys() any               { return nil }
func (nothing) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
