package state

import (
	"encoding/binary"

	"fresnel/internal/coder"
)

// OrderedList returns one page of the entries with start <= sort key < end, in
// the order of their sort keys, as they were appended: KV of a varint and a
// length-prefixed value.
func (s *Shard) OrderedList(k Key, start, end int64, token []byte) (data, next []byte, err error) {
	from, to := s.listKey(k, start), s.listKey(k, end)
	if start >= end {
		return nil, nil, nil
	}
	if !validToken(token, from, to) {
		return nil, nil, errToken()
	}
	data, next = s.page(from, to, token, values)
	return data, next, nil
}

// AppendOrderedList adds a run of entries.
func (s *Shard) AppendOrderedList(k Key, data []byte) error {
	for len(data) > 0 {
		sortKey, n, err := coder.DecodeVarInt(data)
		if err != nil {
			return err
		}
		_, m, err := coder.DecodeLengthPrefixed(data[n:])
		if err != nil {
			return err
		}
		s.txn.Put(s.listKey(k, sortKey)+string(s.nextSeq()), data[:n+m])
		data = data[n+m:]
	}
	return nil
}

// ClearOrderedList removes the entries with start <= sort key < end.
func (s *Shard) ClearOrderedList(k Key, start, end int64) {
	if start < end {
		s.txn.DeleteRange(s.listKey(k, start), s.listKey(k, end))
	}
}

func (s *Shard) listKey(k Key, sortKey int64) string {
	return string(binary.BigEndian.AppendUint64(s.cell('O', k), flip(sortKey)))
}
