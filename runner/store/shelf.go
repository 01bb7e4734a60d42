package store

import (
	"errors"
	"sync/atomic"
)

// Shelf keeps pages: bytes that are written once and read at any time after, in
// memory as long as its part of the budget has room, on disk beyond that (I9).
//
//	Keep ──▶ memory                     what is not worth a place on disk
//	Put ───▶ memory, or a Spill         what a process makes for itself
//	Stow ──▶ the same, and a block      what who begins anew will read, ahead of
//	                                    the commit that refers to it
//
// Methods are safe for concurrent use.
type Shelf struct {
	budget *Budget
	spill  *Spill
	// disk is nil for a job that ends with its process.
	disk *Disk
	held atomic.Int64 // bytes in memory
}

// NewShelf returns a shelf that counts what it has in memory in a budget, and
// writes what comes when that is used up to a spill. A durable job's has its
// store besides.
func NewShelf(b *Budget, s *Spill, d *Disk) *Shelf { return &Shelf{budget: b, spill: s, disk: d} }

// Page is bytes on a shelf; the zero value has none.
type Page struct {
	data  []byte
	at    Extent
	block uint64
	size  int
}

// Size is the number of its bytes.
func (p Page) Size() int { return p.size }

// Block is the block of the durable job's store that has the page, 0 if none has.
func (p Page) Block() uint64 { return p.block }

// InMemory tells that reading the page costs nothing.
func (p Page) InMemory() bool { return p.data != nil || p.size == 0 }

// Stowed is a page of a durable job as it was stowed by an earlier process.
func Stowed(block uint64, size int) Page { return Page{block: block, size: size} }

// Keep has bytes stay in memory. It keeps data, as the others do.
func (s *Shelf) Keep(data []byte) Page {
	s.count(len(data))
	return Page{data: data, size: len(data)}
}

func (s *Shelf) count(bytes int) {
	s.held.Add(int64(bytes))
	s.budget.Add(int64(bytes))
}

// Put finds a place for bytes. Where nothing can be written it is memory.
func (s *Shelf) Put(data []byte) Page {
	if s.budget.Over() {
		if at, err := s.spill.Write(data); err == nil {
			return Page{at: at, size: len(data)}
		}
	}
	return s.Keep(data)
}

// Stow is Put for what must outlive the process, if the job does.
func (s *Shelf) Stow(data []byte) Page {
	if s.disk == nil {
		return s.Put(data)
	}
	block := s.disk.Stow(data)
	if s.budget.Over() {
		return Page{block: block, size: len(data)}
	}
	p := s.Keep(data)
	p.block = block
	return p
}

var errNoPage = errors.New("a page of the job's store cannot be read")

// Read returns a page's bytes, in buf if they are on disk and fit. They must not
// be changed.
func (s *Shelf) Read(p Page, buf []byte) ([]byte, error) {
	switch {
	case p.InMemory():
		return p.data, nil
	case !p.at.Empty():
		return s.spill.Read(p.at, buf)
	case s.disk == nil:
		return nil, errNoPage
	}
	data := s.disk.Block(p.block)
	if len(data) != p.size {
		return nil, errNoPage
	}
	return data, nil
}

// Free gives up a page that nobody will read again. Its block is the store's.
func (s *Shelf) Free(p Page) {
	if p.data != nil {
		s.count(-p.size)
	}
	if !p.at.Empty() {
		s.spill.Free(p.at)
	}
}

// Close gives up all pages; nothing may use the shelf any more.
func (s *Shelf) Close() { s.budget.Add(-s.held.Swap(0)) }
