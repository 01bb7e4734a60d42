package coder

import "strconv"

// A row is the number of its fields as a varint, a bitmap of the nulls as
// length-prefixed bytes, the lowest bit first, and then the fields that are
// not null, in the order of the encoding positions:
//
//	| fields, varint | bitmap: length, bytes | field ... | field ... |
//
// The bitmap is empty if there are no nulls, and it may end early. A row may
// have fewer fields than the schema: those that were added later are null.
// More cannot be read, since nothing tells where they end.
//
// Python has the bits in the order of the schema, Java in that of the
// encoding. Where positions are set and nulls allowed the SDKs do not
// understand each other, and a runner cannot know whose row it has: such a
// coder is not Known, so that the runner never has to. Decode goes with
// Python.

// staticEncoding is the schema option of rows without the header.
const staticEncoding = "beam:option:row:static_encoding"

// Row is a decoded row: a value for each field of the schema, nil for null.
type Row struct {
	Schema *Schema
	Values []any
}

// Get returns the value of the field of this name, and whether there is one.
func (r Row) Get(name string) (any, bool) {
	if r.Schema == nil {
		return nil, false
	}
	i := r.Schema.Index(name)
	if i < 0 || i >= len(r.Values) {
		return nil, false
	}
	return r.Values[i], true
}

// rowLayout is what the encoding follows from.
type rowLayout struct {
	schema *Schema
	fields []rowField // in the order of the encoding
	// doubtful: SDKs disagree on the bitmap.
	doubtful bool
}

type rowField struct {
	name     string
	index    int // in the schema
	nullable bool
	coder    *Coder // of what is not null
}

// RowCoder returns the coder of rows of s, which must not change any more. A
// schema that a proto could not have, with a type that lacks its parts, gives a
// coder that is not Known.
func RowCoder(s *Schema) *Coder { return rowCoder(s, 1) }

func rowCoder(s *Schema, depth int) *Coder {
	c := &Coder{urn: specs[KindRow].urn}
	c.setRow(s, depth)
	return c.seal()
}

// setRow makes c the coder of rows of s, or an unknown one where nobody can
// tell how they are encoded.
func (c *Coder) setRow(s *Schema, depth int) {
	c.kind = KindUnknown
	if s == nil || depth > maxDepth || s.static() {
		return
	}
	if order := s.order(); order != nil {
		c.kind, c.row = KindRow, layout(s, order, depth)
	}
}

func layout(s *Schema, order []int, depth int) *rowLayout {
	l := &rowLayout{schema: s}
	ordered, nulls := true, false
	for i, index := range order {
		f := s.Fields[index]
		ordered, nulls = ordered && i == index, nulls || f.Type.Nullable
		l.fields = append(l.fields, rowField{
			name:     f.Name,
			index:    index,
			nullable: f.Type.Nullable,
			coder:    f.Type.coder(depth + 1),
		})
	}
	l.doubtful = nulls && !ordered
	return l
}

// static says that rows of s have no header.
func (s *Schema) static() bool {
	for _, o := range s.Options {
		if o.GetName() == staticEncoding && o.GetValue().GetAtomicValue().GetBoolean() {
			return true
		}
	}
	return false
}

var atomicCoders = [...]*Coder{
	TypeByte:    simple(KindByte),
	TypeInt16:   simple(KindInt16),
	TypeInt32:   simple(KindInt32),
	TypeInt64:   VarInt,
	TypeFloat:   simple(KindFloat),
	TypeDouble:  Double,
	TypeString:  StringUTF8,
	TypeBoolean: Bool,
	TypeBytes:   Bytes,
}

// coder returns the coder of what is not null in a field.
func (t *FieldType) coder(depth int) *Coder {
	switch {
	case depth > maxDepth:
	case t.Kind >= TypeByte && t.Kind <= TypeBytes:
		return atomicCoders[t.Kind]
	case t.Kind == TypeArray || t.Kind == TypeIterable:
		return IterableOf(t.Elem.element(depth + 1))
	case t.Kind == TypeMap:
		return simple(KindMap, t.Key.element(depth+1), t.Elem.element(depth+1))
	case t.Kind == TypeRow:
		return rowCoder(t.Row, depth+1)
	case t.Kind == TypeLogical && t.Logical != nil:
		return t.Logical.coder(depth + 1)
	}
	return simple(KindUnknown)
}

// element returns the coder of a type inside a container, nulls included.
func (t *FieldType) element(depth int) *Coder {
	switch {
	case t == nil:
		return simple(KindUnknown)
	case t.Nullable:
		return NullableOf(t.coder(depth))
	}
	return t.coder(depth)
}

// header reads the number of fields and the bitmap.
func (l *rowLayout) header(b []byte) (count int, nulls []byte, n int, err error) {
	count, n, err = decodeLength(b)
	if err != nil {
		return 0, nil, 0, err
	}
	if count > len(l.fields) {
		return 0, nil, 0, malformed("a row of %d fields for a schema of %d", count, len(l.fields))
	}
	nulls, size, err := DecodeLengthPrefixed(b[n:])
	return count, nulls, n + size, err
}

func bit(bits []byte, i int) bool {
	return i>>3 < len(bits) && bits[i>>3]>>(i&7)&1 != 0
}

func (l *rowLayout) skip(b []byte) (int, error) {
	count, nulls, n, err := l.header(b)
	if err != nil {
		return 0, err
	}
	for i := range l.fields[:count] {
		f := &l.fields[i]
		if bit(nulls, f.index) {
			continue
		}
		size, err := f.coder.Skip(b[n:])
		if err != nil {
			return 0, err
		}
		n += size
	}
	return n, nil
}

func (d *decoder) decodeRow(l *rowLayout, b []byte) (any, int, error) {
	count, nulls, n, err := l.header(b)
	if err != nil {
		return nil, 0, err
	}
	if err := d.take(len(l.schema.Fields)); err != nil {
		return nil, 0, err
	}
	row := Row{Schema: l.schema, Values: make([]any, len(l.schema.Fields))}
	for _, f := range l.fields[:count] {
		if bit(nulls, f.index) {
			continue
		}
		v, size, err := d.decode(f.coder, b[n:], nested)
		if err != nil {
			return nil, 0, within("field "+f.name, err)
		}
		row.Values[f.index] = v
		n += size
	}
	return row, n, nil
}

func (l *rowLayout) append(dst []byte, r Row) ([]byte, error) {
	if len(r.Values) != len(l.schema.Fields) {
		return nil, malformed("a row of %d values for a schema of %d fields",
			len(r.Values), len(l.schema.Fields))
	}
	dst = AppendVarInt(dst, int64(len(l.fields)))
	dst = appendNulls(dst, r.Values)
	for i := range l.fields {
		var err error
		if dst, err = l.fields[i].append(dst, r.Values); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func (f *rowField) append(dst []byte, values []any) ([]byte, error) {
	v := values[f.index]
	if v == nil {
		if !f.nullable {
			return nil, malformed("null in field %s, which is not nullable", strconv.Quote(f.name))
		}
		return dst, nil
	}
	dst, err := f.coder.append(dst, v, nested)
	if err != nil {
		return nil, within("field "+f.name, err)
	}
	return dst, nil
}

// appendNulls appends the bitmap, without zeros at its end.
func appendNulls(dst []byte, values []any) []byte {
	size := 0
	for i, v := range values {
		if v == nil {
			size = i>>3 + 1
		}
	}
	dst = AppendVarInt(dst, int64(size))
	at := len(dst)
	for range size {
		dst = append(dst, 0)
	}
	for i, v := range values {
		if v == nil {
			dst[at+i>>3] |= 1 << (i & 7)
		}
	}
	return dst
}
