package state

import (
	"encoding/binary"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Range bounds sort keys: Start <= sort key < End. The zero value is all.
type Range struct {
	Start, End int64
	Set        bool
}

// OrderedList returns one page of the entries in the range, in the order of
// their sort keys, as they were appended: KV of a varint and a length-prefixed
// value.
func (s *Shard) OrderedList(k Key, r Range, token []byte) (data, next []byte, err error) {
	from, to := s.listRange(k, r)
	if from >= to {
		return nil, nil, nil
	}
	if !validToken(token, from, to) {
		return nil, nil, errToken()
	}
	data, next = s.page(from, to, token, values)
	return data, next, nil
}

// AppendOrderedList adds a run of entries. After an error none was added.
func (s *Shard) AppendOrderedList(k Key, data []byte) error {
	if err := eachListEntry(data, func(int64, []byte) {}); err != nil {
		return err
	}
	return eachListEntry(data, func(sortKey int64, entry []byte) {
		s.txn.Put(s.listKey(k, sortKey)+string(s.nextSeq()), entry)
	})
}

func eachListEntry(data []byte, f func(sortKey int64, entry []byte)) error {
	for len(data) > 0 {
		sortKey, n, err := coder.DecodeVarInt(data)
		if err != nil {
			return badEntry(err)
		}
		_, m, err := coder.DecodeLengthPrefixed(data[n:])
		if err != nil {
			return badEntry(err)
		}
		f(sortKey, data[:n+m:n+m])
		data = data[n+m:]
	}
	return nil
}

func badEntry(cause error) error {
	return &beam.Error{Code: beam.BadData, What: "an entry of an ordered list is not a varint and a length-prefixed value", Cause: cause}
}

// ClearOrderedList removes the entries in the range.
func (s *Shard) ClearOrderedList(k Key, r Range) {
	s.txn.DeleteRange(s.listRange(k, r))
}

// listRange is empty, from >= to, for an empty range.
func (s *Shard) listRange(k Key, r Range) (from, to string) {
	if !r.Set {
		from = string(s.cell('O', k))
		return from, after(from)
	}
	return s.listKey(k, r.Start), s.listKey(k, r.End)
}

func (s *Shard) listKey(k Key, sortKey int64) string {
	return string(binary.BigEndian.AppendUint64(s.cell('O', k), flip(sortKey)))
}
