package store

import (
	"sync"
	"sync/atomic"
)

// blocks are those of a store: in memory, as far as the budget allows, and beyond
// that in a spill, if there is one.
type blocks struct {
	blockMu sync.RWMutex
	byID    map[uint64]block
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

func (m *blocks) init(b *Budget, s *Spill) {
	m.byID, m.budget, m.spill = map[uint64]block{}, b, s
}

// drop lets go of blocks.
func (m *blocks) drop(ids []uint64) {
	if len(ids) == 0 {
		return
	}
	m.blockMu.Lock()
	defer m.blockMu.Unlock()
	for _, id := range ids {
		if b, ok := m.byID[id]; ok {
			m.letGo(b)
			delete(m.byID, id)
		}
	}
}

// letGo takes a block out of the books.
func (m *blocks) letGo(b block) {
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
func (m *blocks) AddBlock(data []byte) uint64 {
	id := m.next.Add(1)
	b := m.place(data)
	m.blockMu.Lock()
	defer m.blockMu.Unlock()
	m.bytes.Add(int64(len(data)))
	if m.byID == nil {
		m.letGo(b)
		return id
	}
	m.byID[id] = b
	return id
}

// place decides where a block lives.
func (m *blocks) place(data []byte) block {
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
func (m *blocks) Block(id uint64) []byte {
	m.blockMu.RLock()
	b, ok := m.byID[id]
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
func (m *blocks) BlockBytes() int64 { return m.bytes.Load() }

// close lets go of all blocks.
func (m *blocks) close() {
	m.blockMu.Lock()
	defer m.blockMu.Unlock()
	for _, b := range m.byID {
		m.letGo(b)
	}
	m.byID = nil
}
