package state

// Bag returns one page of a bag's encoded values, in the order they were added.
func (s *Shard) Bag(k Key, token []byte) (data, next []byte, err error) {
	from := string(s.cell('B', k))
	to := after(from)
	if !validToken(token, from, to) {
		return nil, nil, errToken()
	}
	data, next = s.page(from, to, token, values)
	return data, next, nil
}

// WantBag notes that a bag will be read (store.Txn.Want).
func (s *Shard) WantBag(k Key) {
	from := string(s.cell('B', k))
	s.txn.Want(from, after(from))
}

// AppendBag adds a run of encoded values to a bag.
func (s *Shard) AppendBag(k Key, data []byte) {
	s.txn.Put(string(append(s.cell('B', k), s.nextSeq()...)), data)
}

// ClearBag empties a bag.
func (s *Shard) ClearBag(k Key) {
	from := string(s.cell('B', k))
	s.txn.DeleteRange(from, after(from))
}
