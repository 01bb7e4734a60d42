// Package store keeps what a job must remember: ordered key-value entries and
// immutable blocks, changed by atomic batches (I1) that are applied in one
// order (I2). It knows nothing of Beam.
//
//	commit ──Batch──▶ Store.Apply ──▶ Snapshot (readers see whole batches only)
//	executors ──AddBlock──▶ blocks, written once and shared (I8)
//
// Memory is the store of jobs that need not survive their process, Disk of those
// that do.
package store

import (
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"
)

// Batch is a set of changes that take effect together. The zero value is
// empty. Later changes of a key win over earlier ones.
type Batch struct {
	changes []change
	notes   []change
	free    []uint64
	release []uint64
}

type change struct {
	key    string
	value  []byte
	delete bool
	// until makes it the deletion of all keys from key up to it.
	until string
}

// Put sets a key. Key and value are kept, not copied.
func (b *Batch) Put(key string, value []byte) {
	b.changes = append(b.changes, change{key: key, value: value})
}

// Delete removes a key, if it is there.
func (b *Batch) Delete(key string) { b.changes = append(b.changes, change{key: key, delete: true}) }

// Free drops a block that nobody will read again.
func (b *Batch) Free(block uint64) { b.free = append(b.free, block) }

// Release has a block leave memory: only who begins anew after a crash will read
// it.
func (b *Batch) Release(block uint64) { b.release = append(b.release, block) }

// Note sets a key of the notes: what only who begins anew after a crash will
// read. A store in memory takes none.
func (b *Batch) Note(key string, value []byte) {
	b.notes = append(b.notes, change{key: key, value: value})
}

// Unnote removes a note.
func (b *Batch) Unnote(key string) { b.notes = append(b.notes, change{key: key, delete: true}) }

// UnnoteRange removes the notes with from <= key < to.
func (b *Batch) UnnoteRange(from, to string) {
	b.notes = append(b.notes, change{key: from, until: to})
}

// Len is the number of changes to keys.
func (b *Batch) Len() int { return len(b.changes) }

// Reader reads entries as they were at one moment. That of a Disk reads them as
// they are: who uses it must see to it that nobody else changes what it reads (I4).
type Reader interface {
	Get(key string) ([]byte, bool)
	// Ascend calls f for the entries with from <= key < to in order, until f
	// returns false. f may call the Reader.
	Ascend(from, to string, f func(key string, value []byte) bool)
}

// Store is what a job runs on. Methods are safe for concurrent use.
type Store interface {
	// Snapshot returns the entries as of now; it costs next to nothing.
	Snapshot() Reader
	// Apply makes a batch take effect.
	Apply(*Batch) error
	// AddBlock keeps a block and returns its id; the bytes are kept, not copied.
	AddBlock(data []byte) uint64
	// Block returns a block's bytes, nil if it was freed. They must not be
	// changed.
	Block(id uint64) []byte
	// BlockBytes is what all blocks hold together.
	BlockBytes() int64
	// Close frees everything; what is added later is not kept.
	Close()
}

// Memory is a Store in memory. Make it with NewMemory.
type Memory struct {
	mu      sync.Mutex
	entries *btree.Map[string, []byte]

	blockMu sync.RWMutex
	blocks  map[uint64]block
	next    atomic.Uint64
	bytes   atomic.Int64

	// budget and spill are nil for a store that has no limit.
	budget *Budget
	spill  *Spill
	// unread is why a block could not be read back.
	unread atomic.Pointer[error]
}

// block is in memory or, if data is nil, on disk.
type block struct {
	data []byte
	at   Extent
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{entries: newEntries(), blocks: map[uint64]block{}}
}

// NewSpilling returns an empty store that counts the blocks it has in memory in
// a budget, and writes those that come when that is used up to a spill, which
// stays the caller's (I9). Where that fails, blocks stay in memory.
func NewSpilling(b *Budget, s *Spill) *Memory {
	m := NewMemory()
	m.budget, m.spill = b, s
	return m
}

// Snapshot shares all nodes with the store; what Apply changes is copied.
func (m *Memory) Snapshot() Reader {
	m.mu.Lock()
	defer m.mu.Unlock()
	return snapshot{m.entries.Copy()}
}

// Apply fails only after a block could not be read: what was made without it
// must not count.
func (m *Memory) Apply(b *Batch) error {
	if err := m.unread.Load(); err != nil {
		return *err
	}
	m.applyEntries(b.changes)
	m.drop(b.free)
	return nil
}

func (m *Memory) applyEntries(changes []change) {
	if len(changes) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		if c.delete {
			m.entries.Delete(c.key)
		} else {
			m.entries.Set(c.key, c.value)
		}
	}
}

// drop lets go of blocks.
func (m *Memory) drop(ids []uint64) {
	if len(ids) == 0 {
		return
	}
	m.blockMu.Lock()
	defer m.blockMu.Unlock()
	for _, id := range ids {
		if b, ok := m.blocks[id]; ok {
			m.letGo(b)
			delete(m.blocks, id)
		}
	}
}

// letGo takes a block out of the books.
func (m *Memory) letGo(b block) {
	if b.at.Empty() {
		m.bytes.Add(-int64(len(b.data)))
		m.budget.Add(-int64(len(b.data)))
		return
	}
	m.bytes.Add(-int64(b.at.Size()))
	m.spill.Free(b.at)
}

// spillLeast is the size of blocks that are worth a place on disk.
const spillLeast = 4 << 10

// AddBlock numbers blocks from 1.
func (m *Memory) AddBlock(data []byte) uint64 {
	id := m.next.Add(1)
	b := m.place(data)
	m.blockMu.Lock()
	defer m.blockMu.Unlock()
	m.bytes.Add(int64(len(data)))
	if m.blocks == nil {
		m.letGo(b)
		return id
	}
	m.blocks[id] = b
	return id
}

// place decides where a block lives.
func (m *Memory) place(data []byte) block {
	if m.spill != nil && len(data) >= spillLeast && m.budget.Over() {
		if at, err := m.spill.Write(data); err == nil {
			return block{at: at}
		}
	}
	m.budget.Add(int64(len(data)))
	return block{data: data}
}

// Block looks a block up. One that cannot be read from the disk is nil, and the
// next Apply fails.
func (m *Memory) Block(id uint64) []byte {
	m.blockMu.RLock()
	b, ok := m.blocks[id]
	m.blockMu.RUnlock()
	if !ok || b.at.Empty() {
		return b.data
	}
	data, err := m.spill.Read(b.at, nil)
	if err != nil {
		m.unread.CompareAndSwap(nil, &err)
	}
	return data
}

// BlockBytes counts blocks that were not freed.
func (m *Memory) BlockBytes() int64 { return m.bytes.Load() }

// Close lets go of blocks and entries; snapshots stay as they are.
func (m *Memory) Close() {
	m.mu.Lock()
	m.entries = newEntries()
	m.mu.Unlock()
	m.blockMu.Lock()
	defer m.blockMu.Unlock()
	for _, b := range m.blocks {
		m.letGo(b)
	}
	m.blocks = nil
}

type snapshot struct{ entries *btree.Map[string, []byte] }

func (s snapshot) Get(key string) ([]byte, bool) { return s.entries.Get(key) }

func (s snapshot) Ascend(from, to string, f func(string, []byte) bool) {
	s.entries.Ascend(from, func(k string, v []byte) bool { return k < to && f(k, v) })
}

// newEntries has small nodes: a commit copies each node that it changes and a
// snapshot shares (BenchmarkTxn).
func newEntries() *btree.Map[string, []byte] { return btree.NewMap[string, []byte](16) }
