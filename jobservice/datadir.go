package jobservice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fresnel/internal/beam"
)

// DataDir is where one server keeps what survives it:
//
//	version              the format of all this
//	lock                 held by the server that uses the directory
//	key                  seals the records (see sealer)
//	artifacts/           staged files (see store)
//	jobs/<id>/record     what was submitted (see record)
//	jobs/<id>/log        what the job told (see jobLog)
//	jobs/<id>/state/     the runner's
//
// All of it can be read by its owner only.
type DataDir struct {
	path string
	lock *os.File
	seal *sealer
}

// dataVersion is the content of the version file. It changes when an older
// server could not read what a newer one wrote.
const dataVersion = "fresnel data 1\n"

// ErrDataDirInUse is in the chain of OpenDataDir's error when another server
// has the directory.
var ErrDataDirInUse = errors.New("another server uses it")

// OpenDataDir takes a data directory for this process, and makes it first if
// need be.
func OpenDataDir(path string) (*DataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, dataDirError(path, err)
	}
	if err := claimDir(path); err != nil {
		return nil, err
	}
	d := &DataDir{path: path}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *DataDir) open() (err error) {
	if d.lock, err = lockFile(filepath.Join(d.path, "lock")); err != nil {
		return lockError(d.path, err)
	}
	if err := d.checkVersion(); err != nil {
		return err
	}
	if d.seal, err = openSealer(filepath.Join(d.path, "key")); err != nil {
		return err
	}
	if err := ownerOnly(d.jobs()); err != nil {
		return dataDirError(d.path, err)
	}
	return nil
}

// Close lets another server have the directory.
func (d *DataDir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close() // which unlocks
}

// Path is the absolute path of the directory.
func (d *DataDir) Path() string { return d.path }

func (d *DataDir) artifacts() string        { return filepath.Join(d.path, "artifacts") }
func (d *DataDir) jobs() string             { return filepath.Join(d.path, "jobs") }
func (d *DataDir) job(id beam.JobID) string { return filepath.Join(d.jobs(), string(id)) }

// claimDir makes path a directory of ours. One that holds anything else is
// left alone: it may be somebody's home.
func claimDir(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return dataDirError(path, err)
	}
	foreign := slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !slices.Contains([]string{"version", "lock", "key", "artifacts", "jobs"}, strings.TrimSuffix(e.Name(), newSuffix))
	})
	if foreign {
		return &beam.Error{Code: beam.Rejected, Where: path, What: "this is not a data directory: it holds other files",
			Cure: "name an empty or a new directory"}
	}
	if err := ownerOnly(path); err != nil {
		return dataDirError(path, err)
	}
	return nil
}

// checkVersion refuses what this server cannot read; a new directory gets the
// version that it writes.
func (d *DataDir) checkVersion() error {
	path := filepath.Join(d.path, "version")
	got, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		got, err = []byte(dataVersion), replaceFile(path, []byte(dataVersion), true)
	}
	if err != nil {
		return dataDirError(d.path, err)
	}
	if !bytes.Equal(got, []byte(dataVersion)) {
		return &beam.Error{Code: beam.Unsupported, Where: d.path,
			What: fmt.Sprintf("the directory was written by another version of Fresnel: %q, this one writes %q", cut(string(got), 100), dataVersion),
			Cure: "start that version, or name another directory"}
	}
	return nil
}

func lockError(path string, err error) error {
	if !errors.Is(err, errLocked) {
		return dataDirError(path, err)
	}
	return &beam.Error{Code: beam.ResourceExhausted, Where: path, What: "the data directory cannot be used", Cause: ErrDataDirInUse,
		Cure: "stop that server, or name another directory"}
}

func dataDirError(path string, err error) error {
	return &beam.Error{Code: beam.ResourceExhausted, Where: path, What: "the data directory cannot be used", Cause: err,
		Cure: "see that it can be written and has room, or name another directory"}
}

// newSuffix ends the name of a file that is being written.
const newSuffix = ".new"

// replaceFile gives a file new content: all of it or, after a crash, what it had
// before. With sync that holds for power failures too, and the content is on
// the disk when replaceFile returns.
func replaceFile(path string, content []byte, sync bool) error {
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = writeAll(f, content, sync); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if sync {
		return syncFile(filepath.Dir(path))
	}
	return nil
}

// writeAll writes the content of a file and closes it.
func writeAll(f *os.File, content []byte, sync bool) error {
	_, err := io.Copy(f, bytes.NewReader(content))
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFile brings a file, or the names in a directory, to the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
