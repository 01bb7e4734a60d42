package window

// values are the encoded values of a cell, in chunks that are never moved once
// they are full, so that a hot key costs no more copies than another and could
// be streamed from here.
type values struct {
	full  [][]byte
	last  []byte
	count int
	size  int
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

// seal closes the last chunk, and returns how many chunks there are.
func (v *values) seal() int {
	if len(v.last) > 0 {
		v.full = append(v.full, v.last)
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
	*o = values{}
}

// replace puts value in the place of the first count values, which are the
// first chunks.
func (v *values) replace(count, chunks int, value []byte) {
	for _, c := range v.full[:chunks] {
		v.size -= len(c)
	}
	rest := v.full[chunks:]
	v.full = append(make([][]byte, 0, 1+len(rest)), append([]byte(nil), value...))
	v.full = append(v.full, rest...)
	v.count += 1 - count
	v.size += len(value)
	v.pack()
}

// pack joins small chunks, which replacing leaves behind.
func (v *values) pack() {
	if v.size > chunkSize || len(v.full) < 2 {
		return
	}
	all := v.appendTo(make([]byte, 0, v.size))
	v.full, v.last = nil, all
}

// appendTo appends the values, one after another.
func (v *values) appendTo(dst []byte) []byte {
	v.each(func(chunk []byte) { dst = append(dst, chunk...) })
	return dst
}

// each calls f with the chunks, each a run of whole values.
func (v *values) each(f func(chunk []byte)) {
	for _, c := range v.full {
		f(c)
	}
	if len(v.last) > 0 {
		f(v.last)
	}
}
