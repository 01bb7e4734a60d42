package store

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// tree is an embedded log-structured tree: rows in the order of their keys, of
// which the first byte is their kind. After something could not be written, or
// after its end, it fails.
type tree struct {
	db *pebble.DB
	// cells is nil for a tree without filters of cells.
	cells Cells
	// outside is what it may hold outside of Go's memory.
	outside int64
	// open is held by who reads the tree, against its end.
	open sync.RWMutex

	mu sync.Mutex
	// err is why nothing can be written any more.
	err error
	// closed tells that nothing can be read any more, either.
	closed bool
}

// start opens the tree.
func (d *tree) start(dir string, p *pebble.Options) (err error) {
	if d.db, err = pebble.Open(dir, p); err == nil {
		d.outside = p.CacheSize
		holdOutside(d.outside)
	}
	return err
}

// leveled sets what all trees have in common.
func (d *tree) leveled(p *pebble.Options) {
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		p.TargetFileSizes[i] = min(int64(tableSize)<<i, maxTableSize)
	}
}

// The size of a table: its filter is read as a whole.
const (
	tableSize    = 2 << 20
	maxTableSize = 16 << 20
)

// readEntries is a table's diskReader.
func (d *tree) readEntries(from, to string, some int) (rows []row, upTo string, err error) {
	return d.read(diskEntry, from, to, some)
}

// read reads rows of a kind with from <= key < to, some of the first, and tells up
// to which key these are all.
func (d *tree) read(kind byte, from, to string, some int) (rows []row, upTo string, err error) {
	defer d.survive(&err)
	d.open.RLock()
	defer d.open.RUnlock()
	if d.ended() {
		return nil, "", errClosed
	}
	upTo, size := to, 0
	err = d.scan(kind, from, to, func(k string, v []byte) error {
		if len(rows) >= some || size >= loadBytes {
			upTo = k
			return errEnough
		}
		rows = append(rows, row{key: k, value: append([]byte(nil), v...)})
		size += len(v)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return rows, upTo, err
}

// loadBytes is about what one read of entries brings at most.
const loadBytes = 1 << 20

// errEnough ends a scan.
var errEnough = errors.New("enough")

// scan calls f with the rows of a kind, from <= key < to; an empty to is the end
// of the kind. What f is given is valid until it returns.
func (d *tree) scan(kind byte, from, to string, f func(key string, value []byte) error) error {
	return d.walk(kind, from, to, func(it *pebble.Iterator) error {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		return f(string(it.Key()[1:]), v)
	})
}

func (d *tree) walk(kind byte, from, to string, f func(*pebble.Iterator) error) (err error) {
	defer d.survive(&err)
	lower, upper := diskKey(kind, from), []byte{kind + 1}
	if to != "" {
		upper = diskKey(kind, to)
	}
	cell := d.inCell(kind, from, to)
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper, UseL6Filters: cell})
	if err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	begin := it.First
	if cell {
		begin = func() bool { return it.SeekPrefixGE(lower) }
	}
	for ok := begin(); ok && err == nil; ok = it.Next() {
		err = f(it)
	}
	if closing := it.Close(); err == nil && closing != nil {
		err = fmt.Errorf("reading the store: %w", closing)
	}
	return err
}

func diskKey[T string | []byte](kind byte, key T) []byte {
	b := make([]byte, 0, 1+len(key))
	return append(append(b, kind), key...)
}

func set(rows *pebble.Batch, kind byte, c *change) {
	if c.delete {
		_ = rows.Delete(diskKey(kind, c.key), nil)
		return
	}
	_ = rows.Set(diskKey(kind, c.key), c.value, nil)
}

var errClosed = errors.New("the store is closed")

// close leaves the files behind.
func (d *tree) close() {
	if d.broken() {
		go d.end() // the tree may not come to an end
		return
	}
	_ = d.fail(errClosed)
	d.end()
}

func (d *tree) end() {
	var err error
	defer d.survive(&err)
	d.open.Lock()
	defer d.open.Unlock()
	if !d.shut() {
		defer holdOutside(-d.outside)
		d.closeDB()
	}
}

// closeDB is about what was synced: nobody waits for the rest. A tree that failed
// in the middle of something may have that open, which it says by a panic.
func (d *tree) closeDB() {
	defer func() {
		if p := recover(); p != nil && !d.broken() {
			panic(p)
		}
	}()
	_ = d.db.Close()
}

// shut tells that it was closed before.
func (d *tree) shut() (before bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, d.closed = d.closed, true
	return before
}

// ended tells that the store was closed.
func (d *tree) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

func (d *tree) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// broken tells that nothing more may be written, and not because of the store's
// end.
func (d *tree) broken() bool {
	err := d.failed()
	return err != nil && !errors.Is(err, errClosed)
}

func (d *tree) fail(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = fmt.Errorf("writing the store: %w", err)
	}
	return d.err
}

// listener has what cannot be read fail the store, to be merged as well. Who reads
// gets the error besides, and closes what it read from: to end a read by a panic,
// as the tree does else, would leave that open.
func (d *tree) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { _ = d.fail(err) },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			_ = d.fail(fmt.Errorf("on-disk corruption: %s: %w", i.Path, i.Details))
		},
	}
}

// survive makes the panic by which the tree, or diskLog for it, ends a write that
// cannot go on the error of the function that defers it.
func (d *tree) survive(err *error) {
	p := recover()
	if p == nil {
		return
	}
	cause, ok := p.(error)
	if _, bug := p.(runtime.Error); bug || !ok {
		panic(p)
	}
	*err = d.fail(cause)
}

// diskLog passes on what matters.
type diskLog struct {
	tree *tree
	log  *slog.Logger
}

// Infof is about compactions and the like.
func (diskLog) Infof(string, ...any) {}

// Errorf is about what is tried again. What the tree finds missing after the store
// has failed went nowhere because of that.
func (l diskLog) Errorf(format string, args ...any) {
	if l.log != nil && !l.tree.broken() {
		l.log.Error("store: " + fmt.Sprintf(format, args...))
	}
}

// Fatalf is what the tree says before it would end the process; it must not return.
// Here it fails the store. A caller of the store gets the panic as its error; in a
// goroutine of the tree's, which nobody could answer for, that goroutine ends.
func (l diskLog) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	err := l.tree.fail(fmt.Errorf(format, args...))
	if calledByUs() {
		panic(err)
	}
	runtime.Goexit()
}

// calledByUs tells whether a method of a store is among the callers.
func calledByUs() bool {
	pcs := make([]uintptr, 200)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "/store.(*Disk).") || strings.Contains(f.Function, "/store.(*tree).") || strings.Contains(f.Function, "/store.(*Temp).") || strings.HasSuffix(f.Function, "/store.OpenDisk") {
			return true
		}
		if !more {
			return false
		}
	}
}
