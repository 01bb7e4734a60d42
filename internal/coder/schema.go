package coder

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Schema is the type of a row (schema.proto).
type Schema struct {
	// ID is a UUID. SDKs take two schemas of one id for the same, so an empty
	// one is filled in by Proto, from the content.
	ID     string
	Fields []Field
	// Positions holds the place of each field in the encoding, a permutation;
	// nil means the order of Fields.
	Positions []int
	// Options are carried along. Only the option for rows without header
	// means anything here: such rows are unknown.
	Options []*pipepb.Option
}

// Field is a named field of a row.
type Field struct {
	Name string
	Type FieldType
}

// TypeKind is the shape of a field type. The numbers of atomic types are those
// on the wire.
type TypeKind uint8

// The type kinds, each with the Go type of its values.
const (
	TypeByte     TypeKind = iota + 1 // int8
	TypeInt16                        // int16
	TypeInt32                        // int32
	TypeInt64                        // int64
	TypeFloat                        // float32
	TypeDouble                       // float64
	TypeString                       // string
	TypeBoolean                      // bool
	TypeBytes                        // []byte
	TypeArray                        // []any
	TypeIterable                     // []any
	TypeMap                          // Map
	TypeRow                          // Row
	TypeLogical                      // see LogicalType
)

// FieldType is the type of a field, of an element or of a representation.
type FieldType struct {
	Kind     TypeKind
	Nullable bool
	// Elem is the type of the elements of an array or iterable, and of the
	// values of a map.
	Elem *FieldType
	// Key is the type of the keys of a map.
	Key     *FieldType
	Row     *Schema
	Logical *LogicalType
}

// Atomic returns a type that has no parts.
func Atomic(k TypeKind) FieldType { return FieldType{Kind: k} }

// ArrayOf returns the type of arrays.
func ArrayOf(elem FieldType) FieldType { return FieldType{Kind: TypeArray, Elem: &elem} }

// MapOf returns the type of maps.
func MapOf(key, value FieldType) FieldType {
	return FieldType{Kind: TypeMap, Key: &key, Elem: &value}
}

// RowOf returns the type of nested rows.
func RowOf(s *Schema) FieldType { return FieldType{Kind: TypeRow, Row: s} }

// OrNull returns t with nulls allowed.
func (t FieldType) OrNull() FieldType {
	t.Nullable = true
	return t
}

// Index returns the index of the field of this name, -1 if there is none.
func (s *Schema) Index(name string) int {
	for i, f := range s.Fields {
		if f.Name == name {
			return i
		}
	}
	return -1
}

// SchemaFromProto reads a schema.
func SchemaFromProto(p *pipepb.Schema) (*Schema, error) { return readSchema(p, 1) }

func readSchema(p *pipepb.Schema, depth int) (*Schema, error) {
	if p == nil {
		return nil, invalid("", "a schema is missing")
	}
	s := &Schema{ID: p.GetId(), Options: p.GetOptions(), Fields: make([]Field, len(p.GetFields()))}
	for i, f := range p.GetFields() {
		t, err := readType(f.GetType(), depth)
		if err != nil {
			return nil, within("field "+f.GetName(), err)
		}
		s.Fields[i] = Field{Name: f.GetName(), Type: t}
	}
	if p.GetEncodingPositionsSet() {
		for _, f := range p.GetFields() {
			s.Positions = append(s.Positions, int(f.GetEncodingPosition()))
		}
		if s.order() == nil {
			return nil, invalid("", "the encoding positions %v are not a permutation", s.Positions)
		}
	}
	return s, nil
}

// order returns the fields' indices in the order of the encoding, nil if the
// positions are not a permutation.
func (s *Schema) order() []int {
	order, taken := make([]int, len(s.Fields)), make([]bool, len(s.Fields))
	for i := range s.Fields {
		at := i
		if s.Positions != nil {
			if len(s.Positions) != len(s.Fields) {
				return nil
			}
			at = s.Positions[i]
		}
		if at < 0 || at >= len(order) || taken[at] {
			return nil
		}
		order[at], taken[at] = i, true
	}
	return order
}

func readType(p *pipepb.FieldType, depth int) (FieldType, error) {
	if depth > maxDepth {
		return FieldType{}, invalid("", "types are nested more than %d deep", maxDepth)
	}
	t := FieldType{Nullable: p.GetNullable()}
	var err error
	switch info := p.GetTypeInfo().(type) {
	case *pipepb.FieldType_AtomicType:
		t.Kind = TypeKind(info.AtomicType)
		if info.AtomicType < 1 || info.AtomicType > pipepb.AtomicType(TypeBytes) {
			err = invalid("", "there is no atomic type %d", info.AtomicType)
		}
	case *pipepb.FieldType_ArrayType:
		t.Kind = TypeArray
		t.Elem, err = readTypePointer(info.ArrayType.GetElementType(), depth)
	case *pipepb.FieldType_IterableType:
		t.Kind = TypeIterable
		t.Elem, err = readTypePointer(info.IterableType.GetElementType(), depth)
	case *pipepb.FieldType_MapType:
		t.Kind = TypeMap
		if t.Key, err = readTypePointer(info.MapType.GetKeyType(), depth); err == nil {
			t.Elem, err = readTypePointer(info.MapType.GetValueType(), depth)
		}
	case *pipepb.FieldType_RowType:
		t.Kind = TypeRow
		t.Row, err = readSchema(info.RowType.GetSchema(), depth+1)
	case *pipepb.FieldType_LogicalType:
		t.Kind = TypeLogical
		t.Logical, err = readLogical(info.LogicalType, depth)
	default:
		err = invalid("", "a type is missing")
	}
	return t, err
}

func readTypePointer(p *pipepb.FieldType, depth int) (*FieldType, error) {
	t, err := readType(p, depth+1)
	return &t, err
}

func readLogical(p *pipepb.LogicalType, depth int) (*LogicalType, error) {
	l := &LogicalType{URN: p.GetUrn(), Payload: p.GetPayload(), Argument: p.GetArgument()}
	var err error
	if p.GetRepresentation() != nil {
		l.Representation, err = readTypePointer(p.GetRepresentation(), depth)
	}
	if p.GetArgumentType() != nil && err == nil {
		l.ArgumentType, err = readTypePointer(p.GetArgumentType(), depth)
	}
	return l, err
}

// Proto returns the schema's proto.
func (s *Schema) Proto() *pipepb.Schema {
	p := &pipepb.Schema{Id: s.ID, Options: s.Options, EncodingPositionsSet: s.Positions != nil}
	for i, f := range s.Fields {
		field := &pipepb.Field{Name: f.Name, Type: f.Type.proto(), Id: int32(i), EncodingPosition: int32(i)}
		if i < len(s.Positions) {
			field.EncodingPosition = int32(s.Positions[i])
		}
		p.Fields = append(p.Fields, field)
	}
	if p.Id == "" {
		p.Id = contentID(p)
	}
	return p
}

// contentID returns a UUID (version 8 of RFC 9562) that follows from the
// content.
func contentID(p *pipepb.Schema) string {
	content, _ := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	id := sha256.Sum256(content)
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

func (t *FieldType) proto() *pipepb.FieldType {
	if t == nil {
		return nil
	}
	p := &pipepb.FieldType{Nullable: t.Nullable}
	switch t.Kind {
	case TypeArray:
		p.TypeInfo = &pipepb.FieldType_ArrayType{ArrayType: &pipepb.ArrayType{ElementType: t.Elem.proto()}}
	case TypeIterable:
		p.TypeInfo = &pipepb.FieldType_IterableType{IterableType: &pipepb.IterableType{ElementType: t.Elem.proto()}}
	case TypeMap:
		p.TypeInfo = &pipepb.FieldType_MapType{MapType: &pipepb.MapType{KeyType: t.Key.proto(), ValueType: t.Elem.proto()}}
	case TypeRow:
		p.TypeInfo = &pipepb.FieldType_RowType{RowType: &pipepb.RowType{Schema: t.Row.Proto()}}
	case TypeLogical:
		p.TypeInfo = &pipepb.FieldType_LogicalType{LogicalType: t.Logical.proto()}
	default:
		p.TypeInfo = &pipepb.FieldType_AtomicType{AtomicType: pipepb.AtomicType(t.Kind)}
	}
	return p
}

func (l *LogicalType) proto() *pipepb.LogicalType {
	return &pipepb.LogicalType{
		Urn:            l.URN,
		Payload:        l.Payload,
		Representation: l.Representation.proto(),
		ArgumentType:   l.ArgumentType.proto(),
		Argument:       l.Argument,
	}
}
