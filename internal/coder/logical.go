package coder

import (
	"time"

	"fresnel/internal/beam"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// LogicalType is a type of a row's field that is encoded as another. Those
// that Decode gives a Go type of their own:
//
//	millis_instant, micros_instant, nanos_instant, timestamp, datetime   time.Time, in UTC
//	date                                                                 Date
//	time                                                                 TimeOfDay
//	decimal, fixed_decimal                                               Decimal
//
// All others decode as their representation.
type LogicalType struct {
	URN     string
	Payload []byte
	// Representation is nil if the proto has none.
	Representation *FieldType
	ArgumentType   *FieldType
	Argument       *pipepb.FieldValue
}

const (
	urnMillisInstant = "beam:logical_type:millis_instant:v1"
	urnMicrosInstant = "beam:logical_type:micros_instant:v1"
	urnNanosInstant  = "beam:logical_type:nanos_instant:v1"
	urnTimestamp     = "beam:logical_type:timestamp:v1"
	urnDate          = "beam:logical_type:date:v1"
	urnTime          = "beam:logical_type:time:v1"
	urnDateTime      = "beam:logical_type:datetime:v1"
	urnDecimal       = "beam:logical_type:decimal:v1"
	urnFixedDecimal  = "beam:logical_type:fixed_decimal:v1"
	urnVarChar       = "beam:logical_type:var_char:v1"
	urnVarBytes      = "beam:logical_type:var_bytes:v1"
	// urnPythonAny is a type of Python in Python's own encoding: its
	// representation, if there is one, is right for some values only.
	urnPythonAny = "beam:logical:pythonsdk_any:v1"
)

func logical(urn string, representation FieldType) FieldType {
	return FieldType{Kind: TypeLogical, Logical: &LogicalType{URN: urn, Representation: &representation}}
}

// MillisInstant returns the type of instants in milliseconds.
func MillisInstant() FieldType { return logical(urnMillisInstant, Atomic(TypeInt64)) }

// MicrosInstant returns the type of instants in microseconds, which is what
// Python's Timestamp is.
func MicrosInstant() FieldType {
	return logical(urnMicrosInstant, pairOf("seconds", TypeInt64, "micros", TypeInt64))
}

// DateType returns the type of calendar days.
func DateType() FieldType { return logical(urnDate, Atomic(TypeInt64)) }

// TimeType returns the type of times of the day.
func TimeType() FieldType {
	return logical(urnTime, Atomic(TypeInt64)).withArgument(TypeString, text(""))
}

// DateTimeType returns the type of days with a time, without a zone.
func DateTimeType() FieldType {
	return logical(urnDateTime, pairOf("Date", TypeInt64, "Time", TypeInt64)).withArgument(TypeString, text(""))
}

// DecimalType returns the type of decimal numbers of any scale.
func DecimalType() FieldType { return logical(urnDecimal, Atomic(TypeBytes)) }

// FixedDecimal returns the type of decimal numbers of a precision, -1 if it is
// not limited, and a scale.
func FixedDecimal(precision, scale int32) FieldType {
	t := logical(urnFixedDecimal, DecimalType())
	argument := pairOf("precision", TypeInt32, "scale", TypeInt32)
	t.Logical.ArgumentType = &argument
	t.Logical.Argument = &pipepb.FieldValue{FieldValue: &pipepb.FieldValue_RowValue{
		RowValue: &pipepb.Row{Values: []*pipepb.FieldValue{number(precision), number(scale)}},
	}}
	return t
}

// VarChar returns the type of strings of at most limit characters.
func VarChar(limit int32) FieldType {
	return logical(urnVarChar, Atomic(TypeString)).withArgument(TypeInt32, number(limit))
}

// VarBytes returns the type of byte strings of at most limit bytes.
func VarBytes(limit int32) FieldType {
	return logical(urnVarBytes, Atomic(TypeBytes)).withArgument(TypeInt32, number(limit))
}

func (t FieldType) withArgument(k TypeKind, v *pipepb.FieldValue) FieldType {
	argument := Atomic(k)
	t.Logical.ArgumentType, t.Logical.Argument = &argument, v
	return t
}

func pairOf(first string, firstKind TypeKind, second string, secondKind TypeKind) FieldType {
	return RowOf(&Schema{Fields: []Field{{first, Atomic(firstKind)}, {second, Atomic(secondKind)}}})
}

func atomicValue(v *pipepb.AtomicTypeValue) *pipepb.FieldValue {
	return &pipepb.FieldValue{FieldValue: &pipepb.FieldValue_AtomicValue{AtomicValue: v}}
}

func number(i int32) *pipepb.FieldValue {
	return atomicValue(&pipepb.AtomicTypeValue{Value: &pipepb.AtomicTypeValue_Int32{Int32: i}})
}

func text(s string) *pipepb.FieldValue {
	return atomicValue(&pipepb.AtomicTypeValue{Value: &pipepb.AtomicTypeValue_String_{String_: s}})
}

// conversion is between a Go type and the representation of a logical type.
type conversion interface {
	// fromRepresentation takes what the representation's coder decoded, which
	// is of the shape that suits checked.
	fromRepresentation(v any) (any, error)
	// toRepresentation says false if v is not of the Go type.
	toRepresentation(v any) (rep any, ok bool)
	// suits says whether representation has the shape that Beam defines.
	suits(representation *FieldType) bool
}

// coder returns the coder of what is not null.
func (l *LogicalType) coder(depth int) *Coder {
	switch {
	case l.URN == urnMillisInstant:
		return simple(KindInstant)
	case l.URN == urnDecimal:
		return simple(KindDecimal)
	case l.URN == urnPythonAny || l.Representation == nil:
		return simple(KindUnknown)
	}
	representation := l.Representation.element(depth)
	conv := l.conversion()
	if conv == nil || !conv.suits(l.Representation) {
		return representation
	}
	return (&Coder{kind: KindLogical, comps: []*Coder{representation}, logical: conv}).seal()
}

func (l *LogicalType) conversion() conversion {
	switch l.URN {
	case urnMicrosInstant:
		return instants{parts: 1e6}
	case urnNanosInstant:
		return instants{parts: 1e9}
	case urnTimestamp:
		return timestamps(l.Argument)
	case urnDate:
		return dates{}
	case urnTime:
		return timesOfDay{}
	case urnDateTime:
		return dateTimes{}
	}
	return nil
}

// timestamps returns the conversion for a precision: the number of decimal
// digits of a second.
func timestamps(argument *pipepb.FieldValue) conversion {
	precision := argument.GetAtomicValue().GetInt32()
	if argument == nil || precision < 0 || precision > 9 {
		return nil
	}
	parts := int64(1)
	for range precision {
		parts *= 10
	}
	return instants{parts: parts}
}

func (d *decoder) decodeLogical(c *Coder, b []byte, f form) (any, int, error) {
	v, n, err := d.decode(c.comps[0], b, f)
	if err != nil {
		return nil, 0, err
	}
	v, err = c.logical.fromRepresentation(v)
	return v, n, err
}

func (c *Coder) appendLogical(dst []byte, v any, f form) ([]byte, error) {
	rep, ok := c.logical.toRepresentation(v)
	if !ok {
		return nil, c.mismatch(v)
	}
	return c.comps[0].append(dst, rep, f)
}

// suitsPair says whether t is a row of two integers that are never null.
func suitsPair(t *FieldType) bool {
	if t.Kind != TypeRow || t.Nullable || t.Row == nil || len(t.Row.Fields) != 2 {
		return false
	}
	return suitsInteger(&t.Row.Fields[0].Type) && suitsInteger(&t.Row.Fields[1].Type)
}

func suitsInteger(t *FieldType) bool {
	return t.Kind >= TypeInt16 && t.Kind <= TypeInt64 && !t.Nullable
}

// pair returns the two integers of a row.
func pair(v any) (first, second int64, err error) {
	row, _ := v.(Row)
	if len(row.Values) == 2 {
		var ok, also bool
		first, ok = integer(row.Values[0])
		if second, also = integer(row.Values[1]); ok && also {
			return first, second, nil
		}
	}
	return 0, 0, malformed("a logical value with a part that is null")
}

// instants have a representation of seconds and parts of a second.
type instants struct{ parts int64 }

func (i instants) suits(t *FieldType) bool { return suitsPair(t) }

func (i instants) fromRepresentation(v any) (any, error) {
	seconds, parts, err := pair(v)
	if err != nil {
		return nil, err
	}
	if parts < 0 || parts >= i.parts {
		return nil, malformed("an instant with %d parts of a second, which has %d", parts, i.parts)
	}
	return time.Unix(seconds, parts*(1e9/i.parts)).UTC(), nil
}

func (i instants) toRepresentation(v any) (any, bool) {
	t, ok := v.(time.Time)
	return Row{Values: []any{t.Unix(), int64(t.Nanosecond()) / (1e9 / i.parts)}}, ok
}

// decodeInstant reads a millis_instant, which is encoded like a timestamp.
func decodeInstant(b []byte) (any, int, error) {
	t, n, err := DecodeTimestamp(b)
	return time.UnixMilli(int64(t)).UTC(), n, err
}

func (c *Coder) appendInstant(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case time.Time:
		return AppendTimestamp(dst, beam.EventTime(v.UnixMilli())), nil
	case beam.EventTime:
		return AppendTimestamp(dst, v), nil
	}
	return nil, c.mismatch(v)
}
