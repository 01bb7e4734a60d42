package store

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// Temp takes entries that memory has no room for, and gives them back: by their
// keys, or in the order of them. It is a tree that ends with its process, in
// temporary files that nothing is left of (I9). A Spill is for bytes that are
// written once and freed as a whole.
//
// Methods are safe for concurrent use.
type Temp struct {
	o  TempOptions
	fs *scratchFS
	tree

	opening sync.Mutex
	begun   atomic.Bool // the tree is there

	prefixes atomic.Uint32
}

// TempOptions are what NewTemp needs to know; the zero value will do.
type TempOptions struct {
	// Dir is where files are made, the system's directory for temporary files if
	// it is empty.
	Dir string
	// Budget is what the tree's own memory is measured by, nil for no limit.
	Budget *Budget
	// Cells, Full and Room are those of DiskOptions.
	Cells Cells
	Full  func() bool
	Room  func()
	// Log takes what the tree says that it should not have to.
	Log *slog.Logger
}

// NewTemp returns an empty one. Files are made when they are needed.
func NewTemp(o TempOptions) *Temp { return &Temp{o: o} }

// ready opens the tree, at first.
func (t *Temp) ready() error {
	if t.begun.Load() {
		return t.failed()
	}
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.begun.Load() || t.failed() != nil {
		return t.failed()
	}
	if err := t.begin(); err != nil {
		return t.fail(err)
	}
	t.begun.Store(true)
	return nil
}

func (t *Temp) begin() (err error) {
	defer t.survive(&err)
	t.fs = newScratchFS(t.o.Dir)
	if err := t.fs.probe(); err != nil {
		return err
	}
	fs := &diskFS{FS: t.fs, full: t.o.Full, room: t.o.Room, fail: t.fail, failed: t.broken}
	memtable := memtableOf(t.o.Budget)
	p := &pebble.Options{
		FS: fs, Logger: diskLog{&t.tree, t.o.Log}, DisableWAL: true,
		CacheSize: treeCache(t.o.Budget, memtable), MemTableSize: uint64(memtable), MemTableStopWritesThreshold: 4,
		FormatMajorVersion: pebble.FormatNewest, MaxManifestFileSize: 1 << 20,
	}
	t.ordered(p, t.o.Cells)
	t.leveled(p)
	p.EventListener = t.listener()
	if err = t.start("temp", p); err == nil {
		fs.open.Store(true)
	}
	return err
}

// leastMemtable is what the tree collects in memory before it writes a table, where
// the budget is small.
const leastMemtable = 2 << 20

// TempBatch is changes that are written together.
type TempBatch struct{ rows *pebble.Batch }

// Put sets a key. Key and value are copied.
func (b *TempBatch) Put(key string, value []byte) {
	_ = b.rows.Set(diskKey(tempEntry, key), value, nil)
}

// Delete removes a key, if it is there.
func (b *TempBatch) Delete(key string) { _ = b.rows.Delete(diskKey(tempEntry, key), nil) }

// change changes an entry of a table.
func (b *TempBatch) change(c *change) { set(b.rows, diskEntry, c) }

// Prefix is one that nobody else's keys begin with who asks for theirs.
func (t *Temp) Prefix() string {
	return string(binary.BigEndian.AppendUint32(nil, t.prefixes.Add(1)))
}

// tempEntry is the kind of what is not a table's.
const tempEntry = 't'

// Write writes what f puts into the batch. After an error nothing more is written.
func (t *Temp) Write(f func(*TempBatch)) (err error) {
	defer t.survive(&err)
	if err := t.ready(); err != nil {
		return err
	}
	t.open.RLock()
	defer t.open.RUnlock()
	if t.ended() {
		return errClosed
	}
	rows := t.db.NewBatch()
	defer func() { _ = rows.Close() }() // it was applied, or never will be
	f(&TempBatch{rows})
	if err := rows.Commit(pebble.NoSync); err != nil {
		return t.fail(err)
	}
	return t.failed()
}

// Get looks a key up.
func (t *Temp) Get(key string) (value []byte, ok bool, err error) {
	rows, _, err := t.Some(key, key+"\x00", 1)
	if len(rows) == 0 {
		return nil, false, err
	}
	return rows[0].Value, true, nil
}

// Row is an entry.
type Row struct {
	Key   string
	Value []byte
}

// Some returns entries with from <= key < to, some of the first, and up to which
// key these are all.
func (t *Temp) Some(from, to string, some int) (rows []Row, upTo string, err error) {
	if !t.begun.Load() {
		return nil, to, nil
	}
	read, upTo, err := t.read(tempEntry, from, to, some)
	if err != nil {
		return nil, "", fmt.Errorf("what a job keeps in temporary files cannot be read: %w", err)
	}
	for _, r := range read {
		rows = append(rows, Row{r.key, r.value})
	}
	return rows, upTo, nil
}

// Err is why nothing can be written any more, nil if all is well.
func (t *Temp) Err() error {
	if t.ended() {
		return nil
	}
	return t.failed()
}

// Close removes all files.
func (t *Temp) Close() {
	t.opening.Lock()
	defer t.opening.Unlock()
	if !t.begun.Load() {
		_ = t.fail(errClosed)
		return
	}
	t.close()
	t.fs.close()
}
