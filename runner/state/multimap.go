package state

import "fresnel/internal/coder"

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

// MultimapEntries returns one page of all map keys with their values, KV of a key
// and an iterable. A key with values on several pages is on each. Values is the
// coder of one value: it tells how many there are.
func (s *Shard) MultimapEntries(k Key, values *coder.Coder, token []byte) (data, next []byte, err error) {
	from := string(s.cell('M', k))
	to := after(from)
	if !validToken(token, from, to) {
		return nil, nil, errToken()
	}
	if len(token) > 0 {
		from = string(token)
	}
	var entry entryOf
	prefix := len(s.cell('M', k))
	s.txn.Ascend(from, to, func(key string, run []byte) bool {
		if len(data)+len(entry.values) >= MaxPage {
			next = []byte(key)
			return false
		}
		mapKey, _ := cutString(key[prefix:])
		if mapKey != entry.key {
			data = entry.append(data)
			entry = entryOf{key: mapKey}
		}
		err = entry.add(values, run)
		return err == nil
	})
	return entry.append(data), next, err
}

// entryOf is one key of a multimap, and its values.
type entryOf struct {
	key    string
	count  int
	values []byte
}

// add adds a run of values. One without bytes is one value.
func (e *entryOf) add(values *coder.Coder, run []byte) error {
	e.values = append(e.values, run...)
	for {
		n, err := values.Skip(run)
		if err != nil {
			return err
		}
		e.count++
		if run = run[n:]; len(run) == 0 {
			return nil
		}
		if n == 0 {
			return coder.ErrShort
		}
	}
}

func (e *entryOf) append(data []byte) []byte {
	if e.count == 0 {
		return data
	}
	data = coder.AppendIterableCount(append(data, e.key...), e.count)
	return append(data, e.values...)
}

// ClearMultimapKeys removes all entries of the multimap.
func (s *Shard) ClearMultimapKeys(k Key) {
	from := string(s.cell('M', k))
	s.txn.DeleteRange(from, after(from))
}

func (s *Shard) mapCell(k Key) string {
	return string(appendBytes(s.cell('M', k), k.Map))
}
