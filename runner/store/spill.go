package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Spill takes bytes that memory has no room for, and gives them back: a job's
// temporary files, of about segmentSize each, that are written from front to
// back. A file is removed when nothing in it is needed any more. Nothing of a
// Spill survives its process: the files have no names once they are open.
//
// Methods are safe for concurrent use.
type Spill struct {
	dir string

	mu   sync.Mutex
	open *segment
	err  error
	all  map[*segment]struct{}
}

// Extent is where some bytes are; the zero value is nowhere.
type Extent struct {
	seg  *segment
	at   int64
	size int
}

// Size is the number of the bytes.
func (e Extent) Size() int { return e.size }

// Empty tells that it is nowhere.
func (e Extent) Empty() bool { return e.seg == nil }

// segment is one file. It counts the extents that are needed.
type segment struct {
	file *os.File
	end  int64
	live int
}

const segmentSize = 64 << 20

// NewSpill returns a spill to files in dir, the system's directory for temporary
// files if it is empty. Files are made when they are needed.
func NewSpill(dir string) *Spill { return &Spill{dir: dir, all: map[*segment]struct{}{}} }

var errSpillClosed = errors.New("the job has ended")

// Write keeps data on disk. After an error nothing more is written.
func (s *Spill) Write(data []byte) (Extent, error) {
	e, err := s.reserve(len(data))
	if err != nil {
		return Extent{}, err
	}
	if _, err := e.seg.file.WriteAt(data, e.at); err != nil {
		s.Free(e)
		return Extent{}, s.fail(fmt.Errorf("data that does not fit in memory cannot be written to a temporary file: %w", err))
	}
	return e, nil
}

// reserve finds a place for some bytes.
func (s *Spill) reserve(size int) (Extent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return Extent{}, s.err
	}
	if s.open == nil || s.open.end >= segmentSize {
		if err := s.begin(); err != nil {
			s.err = err
			return Extent{}, err
		}
	}
	e := Extent{seg: s.open, at: s.open.end, size: size}
	s.open.end += int64(size)
	s.open.live++
	return e, nil
}

// begin opens the next file.
func (s *Spill) begin() error {
	f, err := os.CreateTemp(s.dir, "fresnel-spill-")
	if err != nil {
		return fmt.Errorf("data that does not fit in memory needs a temporary file: %w", err)
	}
	_ = os.Remove(f.Name()) // it stays as long as it is open
	full := s.open
	s.open = &segment{file: f}
	s.all[s.open] = struct{}{}
	if full != nil && full.live == 0 {
		s.remove(full)
	}
	return nil
}

func (s *Spill) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return err
}

// Err is why nothing can be written any more, nil if all is well.
func (s *Spill) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, errSpillClosed) {
		return nil
	}
	return s.err
}

// Read returns the bytes, in buf if they fit.
func (s *Spill) Read(e Extent, buf []byte) ([]byte, error) {
	if cap(buf) < e.size {
		buf = make([]byte, e.size)
	}
	buf = buf[:e.size]
	if _, err := e.seg.file.ReadAt(buf, e.at); err != nil && (!errors.Is(err, io.EOF) || e.size > 0) {
		return nil, fmt.Errorf("a temporary file of the job cannot be read: %w", err)
	}
	return buf, nil
}

// Free gives up bytes that nobody will read again.
func (s *Spill) Free(e Extent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.seg.live--; e.seg.live == 0 && e.seg != s.open {
		s.remove(e.seg)
	}
}

func (s *Spill) remove(g *segment) {
	if _, ok := s.all[g]; ok {
		delete(s.all, g)
		_ = g.file.Close() // nothing in it is needed
	}
}

// Close removes all files.
func (s *Spill) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errSpillClosed
	for g := range s.all {
		s.remove(g)
	}
	s.open = nil
}
