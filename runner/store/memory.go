package store

// Memory is the Store of a job that ends with its process. What is too much for
// its budget, blocks and entries, is in temporary files (I9). Make it with
// NewMemory or NewSpilling.
type Memory struct {
	blocks
	table *table
}

// NewMemory returns an empty store that has all in memory.
func NewMemory() *Memory { return NewSpilling(nil, nil, nil) }

// NewSpilling returns an empty store that counts what it has in memory in a
// budget. When that is used up, blocks that come are written to a spill, and
// entries that were not used of late to a temporary store, both of which stay the
// caller's. Where that fails they stay in memory.
func NewSpilling(b *Budget, s *Spill, t *Temp) *Memory {
	m := &Memory{table: newSpillingTable(b, t)}
	m.init(b, s)
	return m
}

// Entries implements Store.
func (m *Memory) Entries() Reader { return m.table }

// Apply fails only after something could not be read back: what was made without
// it must not count.
func (m *Memory) Apply(b *Batch) error {
	if err := m.unread.Load(); err != nil {
		return *err
	}
	m.table.apply(b.changes)
	m.drop(b.free)
	return m.table.failure()
}

// Close lets go of blocks and entries.
func (m *Memory) Close() {
	m.table.close()
	m.blocks.close()
}
