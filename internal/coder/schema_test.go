package coder

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// allTypes has a field of every type.
func allTypes() *Schema {
	s := &Schema{ID: "all"}
	add := func(name string, t FieldType) { s.Fields = append(s.Fields, Field{name, t}) }
	for k := TypeByte; k <= TypeBytes; k++ {
		add("atomic"+string('0'+rune(k)), Atomic(k))
	}
	inner := &Schema{ID: "inner", Fields: []Field{{"x", Atomic(TypeInt64)}, {"y", Atomic(TypeString).OrNull()}}}
	elem := Atomic(TypeInt32).OrNull()
	add("array", ArrayOf(elem))
	add("iterable", FieldType{Kind: TypeIterable, Elem: &elem})
	add("map", MapOf(Atomic(TypeString), Atomic(TypeBytes).OrNull()))
	add("row", RowOf(inner).OrNull())
	add("millis", MillisInstant())
	add("micros", MicrosInstant())
	add("decimal", DecimalType())
	add("fixed_decimal", FixedDecimal(10, 2))
	add("date", DateType())
	add("time", TimeType())
	add("datetime", DateTimeType().OrNull())
	add("var_char", VarChar(5))
	add("var_bytes", VarBytes(5))
	add("callable", logical("beam:logical_type:python_callable:v1", Atomic(TypeString)))
	return s
}

func TestSchemasSurviveTheirProto(t *testing.T) {
	t.Parallel()
	first := allTypes().Proto()
	s, err := SchemaFromProto(first)
	if err != nil {
		t.Fatal(err)
	}
	if again := s.Proto(); !proto.Equal(again, first) {
		t.Errorf("%v\nnot\n%v", again, first)
	}
	if s.Index("millis") < 0 || s.Index("none") != -1 {
		t.Error("fields are not found by name")
	}
}

func TestEncodingPositionsSurvive(t *testing.T) {
	t.Parallel()
	s := &Schema{ID: "s", Fields: []Field{{"a", Atomic(TypeBytes)}, {"b", Atomic(TypeInt64)}}, Positions: []int{1, 0}}
	back, err := SchemaFromProto(s.Proto())
	if err != nil || !reflect.DeepEqual(back.Positions, s.Positions) {
		t.Errorf("%v, %v", back, err)
	}
}

func TestSchemaIDsFollowFromTheContent(t *testing.T) {
	t.Parallel()
	one := Schema{Fields: []Field{{"a", Atomic(TypeBytes)}}}
	two := Schema{Fields: []Field{{"b", Atomic(TypeBytes)}}}
	first, again := one.Proto().Id, one.Proto().Id
	if first != again || first == two.Proto().Id {
		t.Error("ids are not one for each content")
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if id := one.Proto().Id; !uuid.MatchString(id) {
		t.Errorf("%s is no UUID", id)
	}
	datetime := DateTimeType()
	if id := datetime.proto().GetLogicalType().Representation.GetRowType().Schema.Id; id == "" {
		t.Error("a nested schema has no id")
	}
}

func TestSchemasThatCannotBeRead(t *testing.T) {
	t.Parallel()
	deep := &pipepb.FieldType{TypeInfo: &pipepb.FieldType_AtomicType{AtomicType: pipepb.AtomicType_BYTE}}
	for range maxDepth {
		deep = &pipepb.FieldType{TypeInfo: &pipepb.FieldType_ArrayType{ArrayType: &pipepb.ArrayType{ElementType: deep}}}
	}
	field := func(t *pipepb.FieldType) *pipepb.Schema {
		return &pipepb.Schema{Fields: []*pipepb.Field{{Name: "bad", Type: t}}}
	}
	for _, test := range []struct {
		name   string
		schema *pipepb.Schema
	}{
		{"no type", field(nil)},
		{"atomic type 0", field(&pipepb.FieldType{TypeInfo: &pipepb.FieldType_AtomicType{}})},
		{"atomic type 10", field(&pipepb.FieldType{TypeInfo: &pipepb.FieldType_AtomicType{AtomicType: 10}})},
		{"array of nothing", field(&pipepb.FieldType{TypeInfo: &pipepb.FieldType_ArrayType{}})},
		{"map of nothing", field(&pipepb.FieldType{TypeInfo: &pipepb.FieldType_MapType{}})},
		{"row of nothing", field(&pipepb.FieldType{TypeInfo: &pipepb.FieldType_RowType{}})},
		{"too deep", field(deep)},
	} {
		_, err := SchemaFromProto(test.schema)
		if beam.CodeOf(err) != beam.InvalidPipeline || !strings.Contains(err.Error(), "field bad") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	twice := &pipepb.Schema{EncodingPositionsSet: true, Fields: []*pipepb.Field{
		{Name: "a", Type: atomicProto(TypeByte)}, {Name: "b", Type: atomicProto(TypeByte)}}}
	if _, err := SchemaFromProto(twice); err == nil {
		t.Error("two fields in one position")
	}
	if _, err := SchemaFromProto(nil); err == nil {
		t.Error("no schema")
	}
}

// atomicProto is the proto of an atomic type.
func atomicProto(k TypeKind) *pipepb.FieldType {
	t := Atomic(k)
	return t.proto()
}
