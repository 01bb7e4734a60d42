// Package state keeps what user code remembers by key: user state of all
// kinds, timers, and the side inputs that bundles read. User state and timers
// live in a store's ordered entries, by stage and shard, so that a shard's next
// timer and least hold are the first entries of a range, and nothing is ever
// scanned over all keys.
//
// A bundle works on a Shard: reads see the bundle's own writes, and the writes
// become part of the bundle's commit (I1), timers once Flush was called. It
// knows no transport.
//
// The entries of a shard, after its prefix (stage and shard, 2 bytes each):
//
//	'B' transform name window key          seq        → a run of a bag's values
//	'M' transform name window key  map-key seq        → a run of a map entry's values
//	'O' transform name window key  sort-key seq       → one entry of an ordered list
//	'T' timer                                         → fire, hold, pane
//	'E' fire-time timer   'P' fire-time timer         → due times by domain; the same again,
//	                                                    so that what is due is read in order
//	'H' hold timer                                    → watermark holds
//	'G' time window key                               → what is kept until then; with a
//	                                                    byte 1 once it has expired and
//	                                                    timers are left, which fire first
//	'S' time seq                                      → an element that waits for its turn
//
// Strings are length-prefixed, numbers big-endian with the sign flipped.
package state

import (
	"encoding/binary"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// Key names a cell of user state.
type Key struct {
	Transform beam.TransformID
	Name      string
	// Window, User and Map are encoded: the window, the user's key, a map entry's
	// key.
	Window, User, Map []byte
}

// Shard is a bundle's view of the state of one shard of one stage.
type Shard struct {
	txn    *store.Txn
	prefix string
	// seq orders what this bundle appends after everything before it.
	seq uint64
	// pending are timers that were set or cleared, by their encoded ids.
	pending map[string]*pendingTimer
	scratch []byte
}

// NewShard returns the view of a shard within a bundle's transaction. Order is
// larger for each later bundle of the shard (I4).
func NewShard(txn *store.Txn, stage, shard int, order uint64) *Shard {
	prefix := binary.BigEndian.AppendUint16(nil, uint16(stage))
	prefix = binary.BigEndian.AppendUint16(prefix, uint16(shard))
	return &Shard{txn: txn, prefix: string(prefix), seq: order << seqBits}
}

// seqBits leaves 2^28 entries to a bundle and 2^36 bundles to a job.
const seqBits = 28

// MaxPage is about how many bytes one page of an answer holds.
const MaxPage = 1 << 20

func (s *Shard) nextSeq() []byte {
	s.seq++
	return binary.BigEndian.AppendUint64(nil, s.seq)
}

// cell begins the key of a cell's entries.
func (s *Shard) cell(kind byte, k Key) []byte {
	b := make([]byte, 0, len(s.prefix)+len(k.Transform)+len(k.Name)+len(k.Window)+len(k.User)+24)
	b = append(append(b, s.prefix...), kind)
	b = appendString(b, string(k.Transform))
	b = appendString(b, k.Name)
	b = appendBytes(b, k.Window)
	return appendBytes(b, k.User)
}

// CellOf tells how long the beginning of an entry's key is that names its cell, or
// the key and window of a timer; of other entries it is the shard and the kind. It
// is 0 for what is not a whole name. It is what a store knows of keys
// (store.Cells), and must stay as it is.
func CellOf(key []byte) int {
	const kind = 4
	if len(key) <= kind {
		return 0
	}
	n, parts := kind+1, 0
	switch key[kind] {
	case 'B', 'M', 'O', 'T':
		parts = 4
	}
	for range parts {
		size, width := binary.Uvarint(key[n:])
		if width <= 0 || size > uint64(len(key)-n-width) {
			return 0
		}
		n += width + int(size)
	}
	return n
}

func appendBytes(b, s []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// flip makes signed numbers sort as bytes.
func flip(n int64) uint64 { return uint64(n) ^ 1<<63 }

// after is the least key above all that begin with prefix.
func after(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\xff\xff\xff\xff\xff"
}

// page collects values from the entries of [from, to) that stand after token.
// It returns the token of the next page, nil after the last.
func (s *Shard) page(from, to string, token []byte, each func(key string, value []byte) []byte) (data, next []byte) {
	if len(token) > 0 {
		from = string(token)
	}
	s.txn.Ascend(from, to, func(k string, v []byte) bool {
		if len(data) >= MaxPage {
			next = []byte(k)
			return false
		}
		data = join(data, each(k, v))
		return true
	})
	return data, next
}

func values(_ string, v []byte) []byte { return v }

// validToken guards against tokens that were not given out by page (I7).
func validToken(token []byte, from, to string) bool {
	return len(token) == 0 || string(token) >= from && string(token) < to
}

// errToken is what a token of another cell gets.
func errToken() error {
	return &beam.Error{Code: beam.BadData, What: "a state request has a continuation token that was not given out for its key"}
}
