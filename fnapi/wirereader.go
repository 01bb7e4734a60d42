package fnapi

import "google.golang.org/protobuf/encoding/protowire"

// wireReader reads a message in wire format that lies in pieces, as the transport
// has it: joined first, 10 MB would be copied once more.
type wireReader struct {
	pieces [][]byte // from the one that is being read
	at     int      // what is read of the first
	left   int      // bytes to read, in all
}

func newWireReader(pieces [][]byte) *wireReader {
	r := &wireReader{pieces: pieces, left: Payload(pieces).Size()}
	r.settle()
	return r
}

// settle has the first piece be one with something to read, if there is any.
func (r *wireReader) settle() {
	for len(r.pieces) > 0 && r.at == len(r.pieces[0]) {
		r.pieces, r.at = r.pieces[1:], 0
	}
}

// take appends the next n bytes, of those that are left, to dst, as slices of the
// pieces.
func (r *wireReader) take(dst [][]byte, n int) [][]byte {
	r.left -= n
	for n > 0 {
		part := r.pieces[0][r.at:]
		part = part[:min(n, len(part))]
		r.at += len(part)
		n -= len(part)
		dst = append(dst, part)
		r.settle()
	}
	return dst
}

// skip drops the next n bytes, of those that are left.
func (r *wireReader) skip(n int) {
	r.left -= n
	for n > 0 {
		part := min(n, len(r.pieces[0])-r.at)
		r.at += part
		n -= part
		r.settle()
	}
}

// varint reads a varint, if there is one.
func (r *wireReader) varint() (v uint64, ok bool) {
	for shift := 0; shift < 64 && r.left > 0; shift += 7 {
		b := r.pieces[0][r.at]
		r.skip(1)
		if shift == 63 && b > 1 {
			return 0, false // it has more than 64 bits
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, true
		}
	}
	return 0, false
}

// tag reads the tag of a field.
func (r *wireReader) tag() (num protowire.Number, typ protowire.Type, ok bool) {
	v, ok := r.varint()
	if !ok {
		return 0, 0, false
	}
	num, typ = protowire.DecodeTag(v)
	return num, typ, num >= protowire.MinValidNumber
}

// size reads the length of a field's bytes, which are there.
func (r *wireReader) size() (n int, ok bool) {
	v, ok := r.varint()
	return int(v), ok && v <= uint64(r.left)
}

// pass reads over the value of a field.
func (r *wireReader) pass(num protowire.Number, typ protowire.Type, depth int) bool {
	switch typ {
	case protowire.VarintType:
		_, ok := r.varint()
		return ok
	case protowire.Fixed32Type:
		return r.passBytes(4)
	case protowire.Fixed64Type:
		return r.passBytes(8)
	case protowire.BytesType:
		n, ok := r.size()
		return ok && r.passBytes(n)
	case protowire.StartGroupType:
		return depth > 0 && r.passGroup(num, depth-1)
	}
	return false
}

func (r *wireReader) passBytes(n int) bool {
	if n > r.left {
		return false
	}
	r.skip(n)
	return true
}

// maxGroups is how deep groups may lie in one another, as the proto runtime has
// it.
const maxGroups = protowire.DefaultRecursionLimit

func (r *wireReader) passGroup(group protowire.Number, depth int) bool {
	for {
		num, typ, ok := r.tag()
		switch {
		case !ok:
			return false
		case typ == protowire.EndGroupType:
			return num == group
		case !r.pass(num, typ, depth):
			return false
		}
	}
}
