// Package store keeps what a job must remember: ordered key-value entries and
// immutable blocks, changed by atomic batches (I1) that are applied in one
// order (I2). It knows nothing of Beam.
//
//	commit ──Batch──▶ Store.Apply ──▶ Entries
//	executors ──AddBlock──▶ blocks, written once and shared (I8)
//
// Memory is the store of jobs that need not survive their process, Disk of those
// that do.
package store

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

// Reader reads entries as they are: who uses it must see to it that nobody else
// changes what it reads (I4).
type Reader interface {
	Get(key string) ([]byte, bool)
	// Ascend calls f for the entries with from <= key < to in order, until f
	// returns false. f may call the Reader.
	Ascend(from, to string, f func(key string, value []byte) bool)
}

// Store is what a job runs on. Methods are safe for concurrent use.
type Store interface {
	// Entries reads the entries.
	Entries() Reader
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
