// Package coder skips, splits, encodes and decodes Beam's standard coders.
package coder

import (
	"errors"

	"fresnel/internal/beam"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

var errTodo = errors.New("coder: not yet")

// ErrShort says that the bytes end before the element does.
var ErrShort error = &beam.Error{Code: beam.BadData, What: "the data ends inside an element"}

// Kind is what a coder encodes.
type Kind uint8

// The kinds.
const (
	KindUnknown Kind = iota
	KindBytes
	KindStringUTF8
	KindBool
	KindVarInt
	KindDouble
	KindKV
	KindIterable
	KindStateBackedIterable
	KindIntervalWindow
	KindGlobalWindow
	KindCustomWindow
	KindLengthPrefix
	KindNullable
	KindTimer
	KindWindowedValue
	KindParamWindowedValue
	KindRow
	KindShardedKey
)

// Coder is one parsed coder, immutable and safe for concurrent use.
type Coder struct {
	kind  Kind
	urn   string
	comps []*Coder
}

// The coders without components.
var (
	Bytes          = &Coder{kind: KindBytes}
	StringUTF8     = &Coder{kind: KindStringUTF8}
	Bool           = &Coder{kind: KindBool}
	VarInt         = &Coder{kind: KindVarInt}
	Double         = &Coder{kind: KindDouble}
	GlobalWindow   = &Coder{kind: KindGlobalWindow}
	IntervalWindow = &Coder{kind: KindIntervalWindow}
)

func KVOf(key, value *Coder) *Coder     { return nil }
func NullableOf(c *Coder) *Coder        { return nil }
func IterableOf(c *Coder) *Coder        { return nil }
func LengthPrefixOf(c *Coder) *Coder    { return nil }
func TimerOf(key, window *Coder) *Coder { return nil }

// Parse reads the coder id of a pipeline.
func Parse(id string, coders map[string]*pipepb.Coder) (*Coder, error) { return nil, errTodo }

func (c *Coder) Kind() Kind             { return c.kind }
func (c *Coder) URN() string            { return c.urn }
func (c *Coder) Component(i int) *Coder { return c.comps[i] }
func (c *Coder) Components() []*Coder   { return c.comps }

// Known says whether Skip works on the whole tree.
func (c *Coder) Known() bool { return false }

// Skip returns how many bytes the first element of b takes.
func (c *Coder) Skip(b []byte) (int, error) { return 0, errTodo }

// SplitKV returns the encoded halves of a KV.
func (c *Coder) SplitKV(value []byte) (key, val []byte, err error) { return nil, nil, errTodo }

// Proto returns the coder's proto; add interns a component and returns its id.
func (c *Coder) Proto(add func(*pipepb.Coder) string) *pipepb.Coder { return nil }

// Windowed is a windowed_value coder.
type Windowed struct{ value, window *Coder }

func NewWindowed(value, window *Coder) *Windowed { return &Windowed{value, window} }
func ParseWindowed(id string, coders map[string]*pipepb.Coder) (*Windowed, error) {
	return nil, errTodo
}
func (w *Windowed) Value() *Coder    { return w.value }
func (w *Windowed) Window() *Coder   { return w.window }
func (w *Windowed) WindowKind() Kind { return w.window.kind }
func (w *Windowed) Known() bool      { return false }

// Element is one windowed element, as slices of the input.
type Element struct {
	Timestamp   beam.EventTime
	Windows     []byte
	WindowCount int
	Pane        []byte
	Value       []byte
	Raw         []byte
}

func (w *Windowed) Scan(b []byte, e *Element) (n int, err error)          { return 0, errTodo }
func (w *Windowed) EachWindow(e *Element, f func(raw []byte) error) error { return errTodo }

// MaxTimestamp returns the last instant of an encoded window; c is its coder.
func (c *Coder) MaxTimestamp(window []byte) (beam.EventTime, error) { return 0, errTodo }

func AppendHeader(dst []byte, ts beam.EventTime, windowCount int, rawWindows []byte, pane beam.Pane) []byte {
	return dst
}
func AppendElement(dst []byte, e *Element) []byte                      { return dst }
func DecodePane(b []byte) (beam.Pane, int, error)                      { return beam.Pane{}, 0, errTodo }
func AppendPane(dst []byte, p beam.Pane) []byte                        { return dst }
func DecodeIntervalWindow(b []byte) (beam.Window, int, error)          { return beam.Window{}, 0, errTodo }
func AppendIntervalWindow(dst []byte, w beam.Window) []byte            { return dst }
func DecodeTimestamp(b []byte) (beam.EventTime, int, error)            { return 0, 0, errTodo }
func AppendTimestamp(dst []byte, t beam.EventTime) []byte              { return dst }
func DecodeVarInt(b []byte) (int64, int, error)                        { return 0, 0, errTodo }
func AppendVarInt(dst []byte, v int64) []byte                          { return dst }
func DecodeLengthPrefixed(b []byte) (content []byte, n int, err error) { return nil, 0, errTodo }
func AppendLengthPrefixed(dst, b []byte) []byte                        { return dst }

// AppendIterableCount begins an iterable of n elements (-1: blocks follow).
func AppendIterableCount(dst []byte, n int) []byte { return dst }

// AppendStateToken ends an iterable in blocks whose rest is in state.
func AppendStateToken(dst, token []byte) []byte { return dst }

// Timer is one timer, as slices of the input.
type Timer struct {
	Key         []byte
	Tag         string
	Windows     []byte
	WindowCount int
	Clear       bool
	Fire, Hold  beam.EventTime
	Pane        []byte
}

func (c *Coder) ScanTimer(b []byte, t *Timer) (int, error) { return 0, errTodo }
func AppendTimer(dst []byte, t *Timer) []byte              { return dst }

func (c *Coder) Decode(b []byte) (any, int, error)        { return nil, 0, errTodo }
func (c *Coder) Append(dst []byte, v any) ([]byte, error) { return nil, errTodo }

// KV is a decoded KV.
type KV struct{ Key, Value any }

// Map is a decoded map, in the order of the bytes.
type Map []KV

// Row is a decoded row: a value for each field, nil for null.
type Row struct {
	Schema *Schema
	Values []any
}

func (r Row) Get(name string) (any, bool) { return nil, false }

// Schema is the type of a row.
type Schema struct {
	ID     string
	Fields []Field
	// Positions gives each field's encoding position; nil is schema order.
	Positions []int
}

type Field struct {
	Name string
	Type FieldType
}

// TypeKind is the shape of a field type.
type TypeKind uint8

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
	TypeLogical                      // by URN, else as the representation
)

type FieldType struct {
	Kind     TypeKind
	Nullable bool
	Elem     *FieldType   // of arrays, iterables; of maps, the value
	Key      *FieldType   // of maps
	Row      *Schema      // of rows
	Logical  *LogicalType // of logical types
}

type LogicalType struct {
	URN            string
	Payload        []byte
	Representation *FieldType // nil if the proto has none
	ArgumentType   *FieldType
	Argument       *pipepb.FieldValue
}

func Atomic(k TypeKind) FieldType                 { return FieldType{Kind: k} }
func ArrayOf(elem FieldType) FieldType            { return FieldType{} }
func MapOf(key, value FieldType) FieldType        { return FieldType{} }
func RowOf(s *Schema) FieldType                   { return FieldType{} }
func (t FieldType) OrNull() FieldType             { t.Nullable = true; return t }
func MillisInstant() FieldType                    { return FieldType{} }
func MicrosInstant() FieldType                    { return FieldType{} }
func DecimalType() FieldType                      { return FieldType{} }
func FixedDecimal(precision, scale int) FieldType { return FieldType{} }
func DateType() FieldType                         { return FieldType{} }
func TimeType() FieldType                         { return FieldType{} }
func DateTimeType() FieldType                     { return FieldType{} }
func VarChar(max int) FieldType                   { return FieldType{} }
func VarBytes(max int) FieldType                  { return FieldType{} }

func SchemaFromProto(p *pipepb.Schema) (*Schema, error) { return nil, errTodo }
func RowCoder(s *Schema) *Coder                         { return nil }
func (s *Schema) Proto() *pipepb.Schema                 { return nil }
func (s *Schema) Index(name string) int                 { return -1 }
