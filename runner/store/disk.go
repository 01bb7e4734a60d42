package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is a Store that outlives its process: all that it has is in an embedded
// log-structured tree, whose write-ahead log keeps the order of batches, so that
// a crash leaves a prefix of them (I2). What was used of late, entries and
// blocks, is in memory too, as far as the budget allows (I9).
//
//	AddBlock ──▶ memory, log        the block, ahead of the commit that refers to it
//	Apply ─────▶ log, memory        one batch: entries, notes, freed blocks (I1)
//	Sync ──────▶ the log is on the disk, with all that was applied before (I3)
//	OpenDisk ──▶ nothing is in memory: entries and blocks are read when they are asked for
//
// Only Sync waits for the disk.
type Disk struct {
	blocks
	tree
	table *table
}

// FS is a file system that a Disk can live on.
type FS = vfs.FS

// DiskOptions are what OpenDisk needs to know; the zero value will do.
type DiskOptions struct {
	// FS is the file system, the machine's by default.
	FS FS
	// Full is called when the disk is full, while writers wait: it returns true when
	// there may be room again, false to give up. By default writing fails. Room is
	// called when there was.
	Full func() bool
	Room func()
	// Budget counts what is in memory of blocks and entries, nil for no limit.
	Budget *Budget
	// Cells tells of which keys filters are made, nil for single ones. It is always
	// the same.
	Cells Cells
	// ReadOnly: nothing is written, and what was must be there.
	ReadOnly bool
	// Begun: the directory has had a store, which must be there.
	Begun bool
	// Log takes what the tree says that it should not have to.
	Log *slog.Logger
}

// The first byte of a key on disk tells what it is of.
const (
	diskEntry   = 'e'
	diskBlock   = 'b'
	diskNote    = 'n'
	diskVersion = 'v'
)

// The version of the format, which docs/format.md describes.
const diskFormat = 1

// The sizes bound what a job's store takes of memory beside what the budget
// counts: blocks that live shorter than a memtable takes to fill never reach a
// file. The cache of the tree grows with the budget.
const (
	memtableSize  = 16 << 20
	diskCacheSize = 8 << 20
	maxCacheSize  = 64 << 20
)

// memtableOf is what a tree collects in memory before it writes a table.
func memtableOf(b *Budget) int64 {
	if b.Share() == 0 {
		return memtableSize
	}
	return min(max(b.Share(), leastMemtable), memtableSize)
}

// treeCache is the size of a tree's cache. The tree takes the memory of its
// memtables from it: mostly there are one that is written to and one that is
// being flushed.
func treeCache(b *Budget, memtable int64) int64 {
	return min(max(2*b.Share(), diskCacheSize), maxCacheSize) + 2*memtable
}

// ErrFormat is the error for a directory of another version, or not of ours.
var ErrFormat = errors.New("the store has a format that this version does not read")

// errLost is the error for a directory with data of a store, but not with what
// says which of it counts: to begin anew in it would be to forget.
var errLost = errors.New("files of the store are missing")

// Damaged tells whether an error of a Disk is that its files are not as they were
// written, are not there, or do not parse.
func Damaged(err error) bool {
	return pebble.IsCorruptionError(err) || record.IsInvalidRecord(err) || errors.Is(err, errLost) || errors.Is(err, os.ErrNotExist)
}

// OpenDisk opens the store in a directory, which it makes if need be.
func OpenDisk(dir string, o DiskOptions) (d *Disk, err error) {
	d = &Disk{}
	d.blocks.init(o.Budget, nil)
	defer d.survive(&err)
	fs := d.fileSystem(o)
	old, err := checkWhole(dir, fs, o.Begun)
	if err != nil {
		return nil, err
	}
	if old {
		o.Cells = nil
	}
	if err = d.start(dir, d.options(o, fs)); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	fs.open.Store(true)
	if err = d.load(o); err != nil {
		d.end() // it could not be read
		return nil, err
	}
	return d, nil
}

// checkWhole sees to it that the tree does not take a directory for a fresh one
// that is not: it makes its first log after the manifest and its marker. It tells
// whether a version made the directory that knew no cells.
func checkWhole(dir string, fs FS, begun bool) (old bool, err error) {
	files, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		files, err = nil, nil
	}
	if err != nil {
		return false, fmt.Errorf("opening the store: %w", err)
	}
	if begun && len(files) == 0 {
		return false, fmt.Errorf("%w: there is none of them in %s", errLost, dir)
	}
	marked, data := false, ""
	for _, f := range files {
		marked = marked || strings.HasPrefix(f, "marker.manifest.")
		if strings.HasSuffix(f, ".log") || strings.HasSuffix(f, ".sst") {
			data = f
		}
	}
	switch {
	case marked:
		return withoutCells(dir, fs, files)
	case data != "":
		return false, fmt.Errorf("%w: there is data (%s), but no marker of the manifest", errLost, data)
	case begun:
		return false, fmt.Errorf("%w: there is no marker of the manifest", errLost)
	}
	return false, nil
}

func (d *Disk) fileSystem(o DiskOptions) *diskFS {
	fs := &diskFS{FS: o.FS, full: o.Full, room: o.Room, fail: d.fail, failed: d.broken}
	if fs.FS == nil {
		fs.FS = vfs.Default
	}
	return fs
}

func (d *Disk) options(o DiskOptions, fs *diskFS) *pebble.Options {
	memtable := memtableOf(o.Budget)
	p := &pebble.Options{
		FS: fs, Logger: diskLog{&d.tree, o.Log}, ReadOnly: o.ReadOnly,
		EventListener: d.listener(),
		CacheSize:     treeCache(o.Budget, memtable), MemTableSize: uint64(memtable), MemTableStopWritesThreshold: 4,
		FormatMajorVersion: pebble.FormatNewest, WALBytesPerSync: 1 << 20,
	}
	d.ordered(p, o.Cells)
	d.leveled(p)
	return p
}

// load finds out what there is.
func (d *Disk) load(o DiskOptions) error {
	fresh, err := d.checkFormat(o.Begun)
	if err != nil {
		return err
	}
	d.table = newTable(d.readEntries, d.fetchEntries, o.Budget, fresh)
	return d.eachBlock(func(id uint64) error {
		d.next.Store(max(d.next.Load(), id))
		return nil
	})
}

// checkFormat notes the format of a fresh store.
func (d *Disk) checkFormat(begun bool) (fresh bool, err error) {
	v, closer, err := d.db.Get([]byte{diskVersion})
	if errors.Is(err, pebble.ErrNotFound) {
		if begun {
			return false, fmt.Errorf("%w: what says its format is not there", errLost)
		}
		return true, d.begin()
	}
	if err != nil {
		return false, fmt.Errorf("reading the store: %w", err)
	}
	known := len(v) == 1 && v[0] == diskFormat
	if err := closer.Close(); err != nil || !known {
		return false, errors.Join(ErrFormat, err)
	}
	return false, nil
}

// begin notes the format, the first that is ever written.
func (d *Disk) begin() error {
	it, err := d.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	empty := !it.First()
	if err := it.Close(); err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	if !empty {
		return fmt.Errorf("%w: there is data, but not what says its format", errLost)
	}
	return d.db.Set([]byte{diskVersion}, []byte{diskFormat}, pebble.NoSync)
}

// eachBlock does not read the blocks.
func (d *Disk) eachBlock(f func(id uint64) error) error {
	return d.walk(diskBlock, "", "", func(it *pebble.Iterator) error {
		if len(it.Key()) != 9 {
			return ErrFormat
		}
		return f(binary.BigEndian.Uint64(it.Key()[1:]))
	})
}

func blockKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{diskBlock}, id)
}

// Entries implements Store.
func (d *Disk) Entries() Reader { return d.table }

// Apply writes a batch to the log and makes it take effect. It fails after
// something could not be read: what was made without it must not count.
func (d *Disk) Apply(b *Batch) (err error) {
	defer d.survive(&err)
	if err := errors.Join(d.failed(), d.table.failure()); err != nil {
		return err
	}
	rows := d.db.NewBatch()
	defer func() { _ = rows.Close() }() // it was applied, or never will be
	b.write(rows)
	if err := rows.Commit(pebble.NoSync); err != nil {
		return d.fail(err)
	}
	if err := d.failed(); err != nil {
		return err
	}
	d.table.apply(b.changes)
	d.drop(b.release)
	d.drop(b.free)
	return nil
}

// write puts the changes into a batch of the tree, where writing cannot fail.
func (b *Batch) write(rows *pebble.Batch) {
	for i := range b.changes {
		set(rows, diskEntry, &b.changes[i])
	}
	for i := range b.notes {
		c := &b.notes[i]
		switch {
		case c.until != "":
			_ = rows.DeleteRange(diskKey(diskNote, c.key), diskKey(diskNote, c.until), nil)
		default:
			set(rows, diskNote, c)
		}
	}
	for _, id := range b.free {
		// A block is written once, so that it and its end annihilate one another.
		_ = rows.SingleDelete(blockKey(id), nil)
	}
}

// AddBlock writes a block to the log, ahead of what will refer to it. A block
// that could not be written fails the commit that comes. It is not kept in memory
// where the budget is used up: blocks are consumed in the order in which they
// come, so that the last wait longest.
func (d *Disk) AddBlock(data []byte) uint64 {
	var id uint64
	if len(data) >= spillLeast && d.budget.Over() {
		id = d.next.Add(1)
	} else {
		id = d.blocks.AddBlock(data)
	}
	if d.failed() == nil {
		d.writeBlock(id, data)
	}
	return id
}

// Stow is AddBlock for what need not be in memory.
func (d *Disk) Stow(data []byte) uint64 {
	id := d.next.Add(1)
	if d.failed() == nil {
		d.writeBlock(id, data)
	}
	return id
}

func (d *Disk) writeBlock(id uint64, data []byte) {
	var err error
	defer d.survive(&err)
	if err = d.db.Set(blockKey(id), data, pebble.NoSync); err != nil {
		_ = d.fail(err) // Apply returns it
	}
}

// Block reads a block that is not in memory from the disk. One that cannot be
// read is nil, and the next Apply fails.
func (d *Disk) Block(id uint64) []byte {
	if data := d.blocks.Block(id); data != nil {
		return data
	}
	data, err := d.readBlock(id)
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		d.table.unread.CompareAndSwap(nil, &err)
	}
	return data
}

func (d *Disk) readBlock(id uint64) (data []byte, err error) {
	defer d.survive(&err)
	d.open.RLock()
	defer d.open.RUnlock()
	if d.ended() {
		return nil, errClosed
	}
	v, closer, err := d.db.Get(blockKey(id))
	if err != nil {
		return nil, err
	}
	defer func() { _ = closer.Close() }() // nothing was written
	return append([]byte{}, v...), nil
}

// Err is why an entry or a block could not be read, nil if all could.
func (d *Disk) Err() error { return d.table.failure() }

// KeepBlocks removes the blocks that keep does not name: those of bundles that
// were never committed.
func (d *Disk) KeepBlocks(keep func(id uint64) bool) error {
	var orphans []uint64
	err := d.eachBlock(func(id uint64) error {
		if !keep(id) {
			orphans = append(orphans, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var b Batch
	for _, id := range orphans {
		b.Free(id)
	}
	return d.Apply(&b)
}

// Notes calls f with the notes with from <= key < to, in order.
func (d *Disk) Notes(from, to string, f func(key string, value []byte) error) error {
	return d.scan(diskNote, from, to, f)
}

// Sync returns when all that was applied before is on the disk.
func (d *Disk) Sync() (err error) {
	defer d.survive(&err)
	if err := d.failed(); err != nil {
		return err
	}
	if err := d.db.LogData(nil, pebble.Sync); err != nil {
		return d.fail(err)
	}
	return d.failed()
}

// Close leaves the files behind.
func (d *Disk) Close() {
	d.blocks.close()
	d.table.close()
	d.tree.close()
}

// DiskBytes is what the store takes of the disk.
func (d *Disk) DiskBytes() int64 {
	d.open.RLock()
	defer d.open.RUnlock()
	if d.failed() != nil {
		return 0
	}
	return int64(min(d.db.Metrics().DiskSpaceUsage(), 1<<62))
}
