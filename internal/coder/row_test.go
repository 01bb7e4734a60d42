package coder

import (
	"bytes"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

func schemaOf(types ...FieldType) *Schema {
	s := &Schema{}
	for i, t := range types {
		s.Fields = append(s.Fields, Field{string('a' + rune(i)), t})
	}
	return s
}

func decimalOf(t testing.TB, s string) Decimal {
	t.Helper()
	d, err := ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRows(t *testing.T) {
	t.Parallel()
	long := Atomic(TypeInt64).OrNull()
	ten := schemaOf(long, long, long, long, long, long, long, long, long, long)
	inner := schemaOf(Atomic(TypeInt64))
	timestamp := logical(urnTimestamp, pairOf("seconds", TypeInt64, "subseconds", TypeInt16))
	timestamp.Logical.Argument = number(3)
	// All but those marked with * were written by the Python SDK.
	for _, test := range []struct {
		name   string
		schema *Schema
		hex    string
		values []any
	}{
		{"integers", schemaOf(Atomic(TypeByte), Atomic(TypeInt16), Atomic(TypeInt32), Atomic(TypeInt64)),
			"0400 07 fffe fbffffff0f f7ffffffffffffffff01", []any{int8(7), int16(-2), int32(-5), int64(-9)}},
		{"floats and bytes", schemaOf(Atomic(TypeFloat), Atomic(TypeDouble), Atomic(TypeBytes)),
			"0300 bfc00000 4004000000000000 0200ff", []any{float32(-1.5), 2.5, []byte{0, 0xff}}},
		{"array of nullables", schemaOf(ArrayOf(Atomic(TypeString).OrNull())),
			"0100 00000002 010178 00", []any{[]any{"x", nil}}},
		{"map *", schemaOf(MapOf(Atomic(TypeString), Atomic(TypeInt64).OrNull())),
			"0100 00000002 0161 0105 0162 00", []any{Map{{"a", int64(5)}, {"b", nil}}}},
		{"nested row", schemaOf(Atomic(TypeString), RowOf(inner).OrNull()), "020102 016b", []any{"k", nil}},
		{"nested row *", schemaOf(RowOf(inner)), "0100 0100 05", []any{Row{inner, []any{int64(5)}}}},
		{"nulls", ten, "0a029102 000000000000",
			[]any{nil, int64(0), int64(0), int64(0), nil, int64(0), int64(0), nil, int64(0), nil}},
		{"decimal", schemaOf(DecimalType()), "0100 03 0a029d42b64e76714244cb",
			[]any{decimalOf(t, "12345678901234567890.123")}},
		{"fixed decimal *", schemaOf(FixedDecimal(5, 3)), "0100 0301ff", []any{decimalOf(t, "-0.001")}},
		{"date", schemaOf(DateType()), "0100 ffffffffffffffffff01", []any{Date(-1)}},
		{"time *", schemaOf(TimeType()), "0100 80b8a9c302", []any{TimeOfDay(678059008)}},
		{"datetime *", schemaOf(DateTimeType()), "0100 0200 c69a01 01",
			[]any{time.Date(2024, 2, 29, 0, 0, 0, 1, time.UTC)}},
		{"millis", schemaOf(MillisInstant()), "0100 80000173e82bd76b", []any{time.UnixMilli(1597328054123).UTC()}},
		{"micros", schemaOf(MicrosInstant()), "0100 0200 ffffffffffffffffff01 bf843d",
			[]any{time.UnixMicro(-1).UTC()}},
		{"timestamp *", schemaOf(timestamp), "0100 0200 feffffffffffffffff01 01f4",
			[]any{time.UnixMilli(-1500).UTC()}},
		{"var_char", schemaOf(VarChar(5)), "0100 0178", []any{"x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, b := RowCoder(test.schema), unhex(t, test.hex)
			v, n, err := c.Decode(b)
			row, _ := v.(Row)
			if err != nil || n != len(b) || !reflect.DeepEqual(row.Values, test.values) {
				t.Fatalf("decoded %v of %d bytes, %v, not %v", row.Values, n, err, test.values)
			}
			if back, err := c.Append(nil, row); err != nil || !bytes.Equal(back, b) {
				t.Errorf("%x, %v, not %x", back, err, b)
			}
			checkEnds(t, c, b)
			if !c.Known() || c.Schema() != test.schema {
				t.Error("the coder is not known")
			}
		})
	}
}

func TestRowFieldsByName(t *testing.T) {
	t.Parallel()
	row := Row{schemaOf(Atomic(TypeInt64)), []any{int64(3)}}
	if v, ok := row.Get("a"); v != int64(3) || !ok {
		t.Error(v, ok)
	}
	if _, ok := row.Get("z"); ok {
		t.Error("there is no z")
	}
	if _, ok := (Row{}).Get("a"); ok {
		t.Error("there is no schema")
	}
}

func TestRowOfAnOlderSchemaHasNulls(t *testing.T) {
	t.Parallel()
	c := RowCoder(schemaOf(Atomic(TypeInt64), Atomic(TypeString)))
	b := unhex(t, "01 00 05")
	v, n, err := c.Decode(b)
	if err != nil || n != 3 || !reflect.DeepEqual(v.(Row).Values, []any{int64(5), nil}) {
		t.Error(v, n, err)
	}
	if n, err := c.Skip(b); n != 3 || err != nil {
		t.Error(n, err)
	}
}

func TestRowOfANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	c := RowCoder(schemaOf(Atomic(TypeInt64)))
	if _, err := c.Skip(unhex(t, "02 00 05 06")); !isBadData(err) {
		t.Error(err)
	}
}

func TestBitmapThatIsNotTrimmed(t *testing.T) {
	t.Parallel()
	long := Atomic(TypeInt64).OrNull()
	c := RowCoder(schemaOf(long, long, long, long, long, long, long, long, long))
	b := unhex(t, "09 020100 0000000000000000")
	if n, err := c.Skip(b); n != len(b) || err != nil {
		t.Error(n, err)
	}
}

func TestNullWhereTheSchemaHasNone(t *testing.T) {
	t.Parallel()
	c := RowCoder(schemaOf(Atomic(TypeInt64)))
	if _, err := c.Append(nil, Row{Values: []any{nil}}); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Error(err)
	}
	if _, err := c.Append(nil, Row{}); err == nil {
		t.Error("a row without values")
	}
	if _, err := c.Append(nil, Row{Values: []any{"x"}}); err == nil || !strings.Contains(err.Error(), "field a") {
		t.Error(err)
	}
}

func TestInt32WithTheSignExtended(t *testing.T) {
	t.Parallel()
	v, _, err := RowCoder(schemaOf(Atomic(TypeInt32))).Decode(unhex(t, "0100 ffffffffffffffffff01"))
	if err != nil || v.(Row).Values[0] != int32(-1) {
		t.Error(v, err)
	}
}

func TestEncodingPositions(t *testing.T) {
	t.Parallel()
	s := schemaOf(Atomic(TypeString), Atomic(TypeBoolean), Atomic(TypeInt32))
	s.Positions = []int{1, 2, 0}
	c, b := RowCoder(s), unhex(t, "0300 15 0473747232 00")
	v, n, err := c.Decode(b)
	if err != nil || n != len(b) || !reflect.DeepEqual(v.(Row).Values, []any{"str2", false, int32(21)}) {
		t.Error(v, n, err)
	}
	if back, err := c.Append(nil, v); err != nil || !bytes.Equal(back, b) || !c.Known() {
		t.Errorf("%x, %v", back, err)
	}
}

func TestRowsThatSDKsReadDifferentlyAreNotKnown(t *testing.T) {
	t.Parallel()
	s := schemaOf(Atomic(TypeString), Atomic(TypeInt32).OrNull())
	s.Positions = []int{1, 0}
	c := RowCoder(s)
	if c.Known() || !LengthPrefixOf(c).Known() {
		t.Error("the bits of the bitmap are not in one order for all SDKs")
	}
	row := Row{s, []any{"x", nil}}
	b, err := LengthPrefixOf(c).Append(nil, row)
	if err != nil || !bytes.Equal(b, unhex(t, "05 02 0102 0178")) {
		t.Errorf("%x, %v", b, err)
	}
	if v, _, err := LengthPrefixOf(c).Decode(b); err != nil || !reflect.DeepEqual(v, row) {
		t.Error(v, err)
	}
}

func TestTypesWithoutAStandardEncodingAreNotKnown(t *testing.T) {
	t.Parallel()
	static := schemaOf(Atomic(TypeInt64))
	static.Options = []*pipepb.Option{{Name: staticEncoding, Value: atomicValue(&pipepb.AtomicTypeValue{
		Value: &pipepb.AtomicTypeValue_Boolean{Boolean: true}})}}
	permuted := schemaOf(Atomic(TypeInt64))
	permuted.Positions = []int{1}
	for name, s := range map[string]*Schema{
		"python any":         schemaOf(FieldType{Kind: TypeLogical, Logical: &LogicalType{URN: urnPythonAny}}.OrNull()),
		"python any of rows": schemaOf(logical(urnPythonAny, RowOf(static))),
		"no representation":  schemaOf(FieldType{Kind: TypeLogical, Logical: &LogicalType{URN: "x"}}),
		"no logical type":    schemaOf(FieldType{Kind: TypeLogical}),
		"no row":             schemaOf(FieldType{Kind: TypeRow}),
		"no element":         schemaOf(FieldType{Kind: TypeArray}),
		"no key":             schemaOf(FieldType{Kind: TypeMap}),
		"no kind":            schemaOf(FieldType{}),
		"no header":          static,
		"bad positions":      permuted,
		"nil":                nil,
	} {
		c := RowCoder(s)
		if c.Known() {
			t.Errorf("%s is known", name)
		}
		if _, _, err := c.Decode(unhex(t, "0100 00000001 00")); beam.CodeOf(err) != beam.Unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLogicalTypesOfAnotherShapeDecodeAsTheirRepresentation(t *testing.T) {
	t.Parallel()
	for _, typ := range []FieldType{
		logical(urnDate, Atomic(TypeString)),
		logical(urnMicrosInstant, Atomic(TypeString)),
		logical(urnDateTime, Atomic(TypeString)),
		logical(urnTimestamp, Atomic(TypeString)),
		logical("beam:logical_type:python_callable:v1", Atomic(TypeString)),
	} {
		v, _, err := RowCoder(schemaOf(typ)).Decode(unhex(t, "0100 0178"))
		if err != nil || v.(Row).Values[0] != "x" {
			t.Errorf("%s: %v, %v", typ.Logical.URN, v, err)
		}
	}
}

func TestLogicalValuesOutOfRange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		typ  FieldType
		hex  string
	}{
		{"a second of micros", MicrosInstant(), "0200 00 c0843d"},
		{"negative micros", MicrosInstant(), "0200 00 ffffffffffffffffff01"},
		{"micros left out", MicrosInstant(), "0100 00"},
		{"micros null", MicrosInstant(), "020102 00"},
		{"a day of nanos", TimeType(), "8080e983b1de13"},
		{"days without end", DateTimeType(), "0200 ffffffffffffffff7f 00"},
		{"scale of 33 bits", DecimalType(), "8080808010 0101"},
	} {
		c := RowCoder(schemaOf(test.typ))
		if v, _, err := c.Decode(append([]byte{1, 0}, unhex(t, test.hex)...)); !isBadData(err) {
			t.Errorf("%s: %v, %v", test.name, v, err)
		}
	}
}

func TestLogicalTypesTakeNoOtherGoType(t *testing.T) {
	t.Parallel()
	for _, typ := range []FieldType{MillisInstant(), MicrosInstant(), DateType(), TimeType(), DateTimeType(), DecimalType()} {
		if _, err := RowCoder(schemaOf(typ)).Append(nil, Row{Values: []any{"x"}}); err == nil {
			t.Errorf("%s took a string", typ.Logical.URN)
		}
	}
}

func TestWideRowsOfFewBytes(t *testing.T) {
	t.Parallel()
	wide := &Schema{}
	for range 10_000 {
		wide.Fields = append(wide.Fields, Field{"f", Atomic(TypeInt64).OrNull()})
	}
	c := IterableOf(RowCoder(wide))
	b := AppendIterableCount(nil, 10_000)
	b = append(b, make([]byte, 20_000)...)
	if _, _, err := c.Decode(b); !isBadData(err) {
		t.Errorf("10^8 values were made of %d bytes: %v", len(b), err)
	}
}

func TestMapStrings(t *testing.T) {
	t.Parallel()
	m := Map{{"a", "b"}, {"c", nil}, {int64(1), "d"}}
	if got := m.Strings(); !reflect.DeepEqual(got, map[string]string{"a": "b"}) {
		t.Error(got)
	}
}

func TestRowOfEveryType(t *testing.T) {
	t.Parallel()
	c := RowCoder(allTypes())
	row := everyValue()
	b, err := c.Append(nil, row)
	if err != nil {
		t.Fatal(err)
	}
	v, n, err := c.Decode(b)
	if err != nil || n != len(b) {
		t.Fatal(n, err)
	}
	if again, err := c.Append(nil, v); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%x, %v, not %x", again, err, b)
	}
	checkEnds(t, c, b)
}

// everyValue is a row of allTypes.
func everyValue() Row {
	now := time.Date(2024, 2, 29, 1, 2, 3, 4000, time.UTC)
	return Row{Values: []any{
		int8(-1), int16(2), int32(3), int64(4), float32(5), 6.0, "seven", true, []byte("nine"),
		[]any{int32(1), nil}, []any{}, Map{{"k", nil}, {"l", []byte("v")}},
		Row{Values: []any{int64(1), nil}},
		now, now, Decimal{big.NewInt(-12345), 3}, Decimal{}, DateOf(now), TimeOfDay(5), now,
		"abc", []byte("abc"), "lambda x: x",
	}}
}
