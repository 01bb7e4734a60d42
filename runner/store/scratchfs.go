package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// scratchFS is a file system for a tree that ends with its process. Its tables
// are files that have no names once they are open, like a Spill's, so that nothing
// is left of them whatever ends the process; names, and the tree's small files, are
// in memory.
type scratchFS struct {
	vfs.FS // of names and small files
	dir    string

	mu     sync.Mutex
	tables map[string]*scratch
}

// newScratchFS makes files in dir, the system's directory for temporary files if
// it is empty.
func newScratchFS(dir string) *scratchFS {
	return &scratchFS{FS: vfs.NewMem(), dir: dir, tables: map[string]*scratch{}}
}

// scratch is a file without a name; users are the handles that are open, and the
// name that the tree knows it by.
type scratch struct {
	file *os.File
	name string

	mu    sync.Mutex
	users int
	size  int64
}

func isTable(name string) bool { return filepath.Ext(name) == ".sst" }

// Create makes an empty file.
func (s *scratchFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	if err != nil || !isTable(name) {
		return f, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	file, err := s.file()
	if err != nil {
		return nil, err
	}
	t := &scratch{file: file, name: filepath.Base(name), users: 2}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[name] = t
	return &scratchFile{scratch: t}, nil
}

// file makes a file without a name.
func (s *scratchFS) file() (*os.File, error) {
	f, err := os.CreateTemp(s.dir, "fresnel-state-")
	if err != nil {
		return nil, fmt.Errorf("state that does not fit in memory needs a temporary file: %w", err)
	}
	_ = os.Remove(f.Name()) // it stays as long as it is open
	return f, nil
}

// probe tells whether files can be made: the tree tries again for ever.
func (s *scratchFS) probe() error {
	f, err := s.file()
	if err != nil {
		return err
	}
	return f.Close()
}

// Open opens a file to read it.
func (s *scratchFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil {
		return s.FS.Open(name, o...)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users++
	return &scratchFile{scratch: t}, nil
}

// Remove removes a name; who has the file open goes on reading it.
func (s *scratchFS) Remove(name string) error {
	s.mu.Lock()
	t := s.tables[name]
	delete(s.tables, name)
	s.mu.Unlock()
	err := s.FS.Remove(name)
	if t != nil {
		err = errors.Join(err, t.release())
	}
	return err
}

// Stat tells the size of a file.
func (s *scratchFS) Stat(name string) (vfs.FileInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[name]; t != nil {
		return t.info(), nil
	}
	return s.FS.Stat(name)
}

// Unwrap implements vfs.FS: there is nothing below it.
func (s *scratchFS) Unwrap() vfs.FS { return nil }

// close gives up all files.
func (s *scratchFS) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range s.tables {
		delete(s.tables, name)
		_ = t.release() // nothing in it is needed
	}
}

func (t *scratch) release() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users > 0 {
		return nil
	}
	return t.file.Close()
}

func (t *scratch) info() scratchInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	return scratchInfo{t.name, t.size}
}

// scratchFile is a handle; at is where Read goes on.
type scratchFile struct {
	*scratch
	at int64
}

func (f *scratchFile) Close() error { return f.release() }

func (f *scratchFile) Read(p []byte) (int, error) {
	n, err := f.file.ReadAt(p, f.at)
	f.at += int64(n)
	return n, err
}

func (f *scratchFile) ReadAt(p []byte, at int64) (int, error) { return f.file.ReadAt(p, at) }

// Write writes at the end.
func (f *scratchFile) Write(p []byte) (int, error) {
	n, err := f.file.WriteAt(p, f.info().size)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size += int64(n)
	return n, err
}

func (f *scratchFile) WriteAt(p []byte, at int64) (int, error) { return f.file.WriteAt(p, at) }

// Nothing has to outlive the process.

func (f *scratchFile) Sync() error                  { return nil }
func (f *scratchFile) SyncData() error              { return nil }
func (f *scratchFile) SyncTo(int64) (bool, error)   { return false, nil }
func (f *scratchFile) Preallocate(_, _ int64) error { return nil }
func (f *scratchFile) Prefetch(_, _ int64) error    { return nil }
func (f *scratchFile) Fd() uintptr                  { return vfs.InvalidFd }
func (f *scratchFile) Stat() (vfs.FileInfo, error)  { return f.info(), nil }

// scratchInfo describes a file.
type scratchInfo struct {
	name string
	size int64
}

func (i scratchInfo) Name() string         { return i.name }
func (i scratchInfo) Size() int64          { return i.size }
func (scratchInfo) Mode() os.FileMode      { return 0o600 }
func (scratchInfo) ModTime() time.Time     { return time.Time{} }
func (scratchInfo) IsDir() bool            { return false }
func (scratchInfo) Sys() any               { return nil }
func (scratchInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
