package jobservice

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"fresnel/internal/beam"
)

// store keeps artifacts on disk under the hash of their content:
//
//	<dir>/sha256/<64 hex digits>   one file each, never changed
//	<dir>/upload/*                 being received; renamed when complete
//
// Both directories can be entered by their owner only: artifacts hold user
// code, and code holds secrets. A file is hashed again the first time that a
// process uses it, so an upload need not be synced to disk: one that a power
// failure tore is received anew. Only before a job that survives the server runs,
// those that it names are.
type store struct {
	dir string

	mu       sync.Mutex
	verified map[string]bool // hashes of files known to be whole
}

// artifact is a file of the store.
type artifact struct {
	sha256 string
	path   string
}

func newStore(dir string) *store {
	if abs, err := filepath.Abs(dir); dir != "" && err == nil {
		dir = abs
	}
	return &store{dir: dir, verified: map[string]bool{}}
}

func (s *store) path(sum string) string { return filepath.Join(s.dir, "sha256", sum) }

// lookup returns the artifact with this hash, if the store has it whole.
func (s *store) lookup(sum string) (artifact, bool) {
	if !isSum(sum) {
		return artifact{}, false
	}
	a := artifact{sha256: sum, path: s.path(sum)}
	info, err := os.Lstat(a.path)
	if err != nil || !info.Mode().IsRegular() {
		return artifact{}, false
	}
	if !s.isVerified(sum) {
		if got, err := hashFile(a.path); err != nil || got != sum {
			return artifact{}, false
		}
		s.setVerified(sum)
	}
	return a, true
}

func (s *store) isVerified(sum string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verified[sum]
}

func (s *store) setVerified(sum string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[sum] = true
}

// isSum tells whether sum is a hash as the store writes it: nothing else may
// become a part of a path.
func isSum(sum string) bool {
	raw, err := hex.DecodeString(sum)
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == sum
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// upload is an artifact that is being received. Either commit or discard ends
// it; discard after commit does nothing.
type upload struct {
	store *store
	file  *os.File
	hash  hash.Hash
}

// create begins an upload.
func (s *store) create() (*upload, error) {
	if s.dir == "" {
		return nil, &beam.Error{Code: beam.Internal, What: "the server has no directory for artifacts"}
	}
	for _, dir := range []string{"sha256", "upload"} {
		if err := ownerOnly(filepath.Join(s.dir, dir)); err != nil {
			return nil, storeError(err)
		}
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, "upload"), "*")
	if err != nil {
		return nil, storeError(err)
	}
	return &upload{store: s, file: f, hash: sha256.New()}, nil
}

// ownerOnly makes a directory that nobody else can enter.
func ownerOnly(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// Write adds to the content.
func (u *upload) Write(p []byte) (int, error) {
	u.hash.Write(p)
	n, err := u.file.Write(p)
	if err != nil {
		err = storeError(err)
	}
	return n, err
}

// commit puts the artifact in the store. If the client said which hash its
// content has, it must be so.
func (u *upload) commit(want string) (artifact, error) {
	defer u.discard()
	a := artifact{sha256: hex.EncodeToString(u.hash.Sum(nil))}
	a.path = u.store.path(a.sha256)
	if want != "" && want != a.sha256 {
		return artifact{}, &beam.Error{Code: beam.BadData,
			What: fmt.Sprintf("the content's SHA-256 is %s, the pipeline says %s", a.sha256, cut(want, 100)),
			Cure: "the file changed, or its transfer failed: submit the pipeline again"}
	}
	if err := u.file.Close(); err != nil {
		return artifact{}, storeError(err)
	}
	if err := os.Rename(u.file.Name(), a.path); err != nil {
		return artifact{}, storeError(err)
	}
	u.store.setVerified(a.sha256)
	return a, nil
}

// discard ends an upload that has not been committed.
func (u *upload) discard() {
	_ = u.file.Close()
	_ = os.Remove(u.file.Name()) // gone already after commit
}

// sync brings artifacts to the disk, those of them that the store has.
func (s *store) sync(sums []string) error {
	for _, sum := range sums {
		if !isSum(sum) {
			continue
		}
		if err := syncFile(s.path(sum)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(sums) == 0 {
		return nil
	}
	err := syncFile(filepath.Join(s.dir, "sha256"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // none was staged
	}
	return err
}

// sweep removes all artifacts but the live ones. Nobody stages meanwhile.
func (s *store) sweep(live map[string]bool) error {
	if s.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "sha256"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if live[e.Name()] {
			continue
		}
		s.mu.Lock()
		delete(s.verified, e.Name())
		s.mu.Unlock()
		err = errors.Join(err, os.Remove(s.path(e.Name())))
	}
	return err
}

// removeUploads removes what a crash cut off. Nobody stages meanwhile.
func (s *store) removeUploads() { _ = os.RemoveAll(filepath.Join(s.dir, "upload")) }

// storeError says whose disk failed, and what of the path is of use.
func storeError(err error) error {
	where := "artifact store"
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		where = pathErr.Path
	}
	return &beam.Error{Code: beam.ResourceExhausted, Where: where, What: "an artifact cannot be kept", Cause: err,
		Cure: "see that the server's directory for artifacts can be written and has room"}
}
