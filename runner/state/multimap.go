package state

// Multimap returns one page of the encoded values under k.Map.
func (s *Shard) Multimap(k Key, token []byte) (data, next []byte, err error) {
	from := s.mapCell(k)
	to := after(from)
	if !validToken(token, from, to) {
		return nil, nil, errToken()
	}
	data, next = s.page(from, to, token, values)
	return data, next, nil
}

// AppendMultimap adds a run of encoded values under k.Map.
func (s *Shard) AppendMultimap(k Key, data []byte) {
	s.txn.Put(s.mapCell(k)+string(s.nextSeq()), data)
}

// ClearMultimap removes the values under k.Map.
func (s *Shard) ClearMultimap(k Key) {
	from := s.mapCell(k)
	s.txn.DeleteRange(from, after(from))
}

// MultimapKeys returns one page of the encoded map keys that have values.
func (s *Shard) MultimapKeys(k Key, token []byte) (data, next []byte, err error) {
	from := string(s.cell('M', k))
	to := after(from)
	if !validToken(token, from, to) {
		return nil, nil, errToken()
	}
	last := ""
	data, next = s.page(from, to, token, func(key string, _ []byte) []byte {
		mapKey, _ := cutString(key[len(from):])
		if mapKey == last && last != "" {
			return nil
		}
		last = mapKey
		return []byte(mapKey)
	})
	if next != nil {
		// The next page begins after all entries of the last key of this one.
		skip := after(from + string(appendString(nil, last)))
		next = []byte(max(skip, string(next)))
	}
	return data, next, nil
}

// ClearMultimapKeys removes all entries of the multimap.
func (s *Shard) ClearMultimapKeys(k Key) {
	from := string(s.cell('M', k))
	s.txn.DeleteRange(from, after(from))
}

func (s *Shard) mapCell(k Key) string {
	return string(appendBytes(s.cell('M', k), k.Map))
}
