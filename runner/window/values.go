package window

// values are the encoded values of a cell, in chunks that are never moved once
// they are full, so that a hot key costs no more copies than another. Chunks may be
// on disk.
type values struct {
	full  []chunk
	last  []byte
	count int
	size  int
	// away is how much of size is on disk.
	away int
}

// chunk is a run of whole values: in memory or, if data is nil, on disk by the
// number that the shard's attic gave.
type chunk struct {
	data []byte
	size int
	id   uint64
}

const (
	firstChunk = 64
	chunkSize  = 64 << 10
)

// add copies one value.
func (v *values) add(value []byte) {
	if len(v.last) > 0 && len(v.last)+len(value) > chunkSize {
		v.seal()
	}
	if v.last == nil {
		v.last = make([]byte, 0, max(len(value), firstChunk))
	}
	v.last = append(v.last, value...)
	v.count++
	v.size += len(value)
}

// held is what the values take of memory.
func (v *values) held() int64 { return int64(v.size - v.away) }

// seal closes the last chunk, and returns how many chunks there are.
func (v *values) seal() int {
	if len(v.last) > 0 {
		v.full = append(v.full, chunk{data: v.last, size: len(v.last)})
		v.last = nil
	}
	return len(v.full)
}

// join moves the values of o to the end of v.
func (v *values) join(o *values) {
	v.seal()
	v.full = append(v.full, o.full...)
	v.last = o.last
	v.count += o.count
	v.size += o.size
	v.away += o.away
	*o = values{}
}

// replace puts value in the place of the first count values, which are the
// first chunks.
func (v *values) replace(a *attic, count, chunks int, value []byte) {
	for _, c := range v.full[:chunks] {
		v.free(a, c)
	}
	rest := v.full[chunks:]
	v.full = append(make([]chunk, 0, 1+len(rest)), chunk{data: append([]byte(nil), value...), size: len(value)})
	v.full = append(v.full, rest...)
	v.count += 1 - count
	v.size += len(value)
	v.pack(a)
}

// free takes a chunk out of the books.
func (v *values) free(a *attic, c chunk) {
	v.size -= c.size
	if c.id != 0 {
		v.away -= c.size
		a.free(c)
	}
}

// drop forgets all.
func (v *values) drop(a *attic) {
	for _, c := range v.full {
		v.free(a, c)
	}
	*v = values{}
}

// pack joins small chunks, which replacing leaves behind.
func (v *values) pack(a *attic) {
	if v.size > chunkSize || len(v.full) < 2 || v.away > 0 {
		return
	}
	all := v.appendTo(a, make([]byte, 0, v.size))
	v.full, v.last = nil, all
}

// spill moves what is worth a place on disk there, and tells whether it could.
func (v *values) spill(a *attic) bool {
	if v.held() < spillLeast {
		return true
	}
	if len(v.last) >= spillLeast {
		v.seal()
	}
	for i := range v.full {
		c := &v.full[i]
		if c.id != 0 || c.size < spillLeast {
			continue
		}
		id, ok := a.put(c.data)
		if !ok {
			return false
		}
		*c = chunk{id: id, size: c.size}
		v.away += c.size
	}
	return true
}

// appendTo appends the values, one after another.
func (v *values) appendTo(a *attic, dst []byte) []byte {
	v.each(a, func(chunk []byte) { dst = append(dst, chunk...) })
	return dst
}

// each calls f with the chunks, each a run of whole values, valid until f returns.
func (v *values) each(a *attic, f func(chunk []byte)) {
	for _, c := range v.full {
		f(a.load(c))
	}
	if len(v.last) > 0 {
		f(v.last)
	}
}
