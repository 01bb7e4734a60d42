package coder

import (
	"math"
	"strings"

	"fresnel/internal/beam"
)

// Kind is what a coder encodes.
type Kind uint8

// The kinds of the standard coders, then those that only the fields of a row
// have, and that have no URN.
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

	KindByte
	KindInt16
	KindInt32
	KindFloat
	KindMap
	KindInstant
	KindDecimal
	KindLogical
)

// spec is what the pipeline proto says of a kind.
type spec struct {
	urn, name  string
	components int
}

var specs = [...]spec{
	KindUnknown:             {"", "unknown", 0},
	KindBytes:               {"beam:coder:bytes:v1", "bytes", 0},
	KindStringUTF8:          {"beam:coder:string_utf8:v1", "string", 0},
	KindBool:                {"beam:coder:bool:v1", "bool", 0},
	KindVarInt:              {"beam:coder:varint:v1", "varint", 0},
	KindDouble:              {"beam:coder:double:v1", "double", 0},
	KindKV:                  {"beam:coder:kv:v1", "kv", 2},
	KindIterable:            {"beam:coder:iterable:v1", "iterable", 1},
	KindStateBackedIterable: {"beam:coder:state_backed_iterable:v1", "state_backed_iterable", 1},
	KindIntervalWindow:      {"beam:coder:interval_window:v1", "interval_window", 0},
	KindGlobalWindow:        {"beam:coder:global_window:v1", "global_window", 0},
	KindCustomWindow:        {"beam:coder:custom_window:v1", "custom_window", 1},
	KindLengthPrefix:        {"beam:coder:length_prefix:v1", "length_prefix", 1},
	KindNullable:            {"beam:coder:nullable:v1", "nullable", 1},
	KindTimer:               {"beam:coder:timer:v1", "timer", 2},
	KindWindowedValue:       {"beam:coder:windowed_value:v1", "windowed_value", 2},
	KindParamWindowedValue:  {"beam:coder:param_windowed_value:v1", "param_windowed_value", 2},
	KindRow:                 {"beam:coder:row:v1", "row", 0},
	KindShardedKey:          {"beam:coder:sharded_key:v1", "sharded_key", 1},
	KindByte:                {"", "byte", 0},
	KindInt16:               {"", "int16", 0},
	KindInt32:               {"", "int32", 0},
	KindFloat:               {"", "float", 0},
	KindMap:                 {"", "map", 2},
	KindInstant:             {"", "instant", 0},
	KindDecimal:             {"", "decimal", 0},
	KindLogical:             {"", "logical", 1},
}

var kindOf = kindsByURN()

func kindsByURN() map[string]Kind {
	m := make(map[string]Kind)
	for k, s := range specs {
		if s.urn != "" {
			m[s.urn] = Kind(k)
		}
	}
	return m
}

// String is the kind's name in its URN.
func (k Kind) String() string {
	if int(k) < len(specs) {
		return specs[k].name
	}
	return specs[KindUnknown].name
}

// Coder is one parsed coder, immutable and safe for concurrent use.
type Coder struct {
	kind    Kind
	urn     string
	payload []byte // of the proto, if it came from one
	comps   []*Coder

	row      *rowLayout // of KindRow
	logical  conversion // of KindLogical
	windowed *Windowed  // of KindWindowedValue and KindParamWindowedValue

	// What follows is derived, by seal.

	// fixed is the size of every value, variable if sizes differ.
	fixed int
	// least is the size of the smallest value.
	least int
	// known: Skip finds the end of every value.
	known bool
	// decodable: no unknown coder in the tree, but inside length prefixes.
	decodable bool
	// nodes and depth are those of the tree, a shared component counting
	// every time. They bound the recursion.
	nodes, depth int
}

const (
	variable = -1
	// sizeCap bounds the arithmetic on sizes and on nodes: a few shared
	// components make a tree of exponential size.
	sizeCap = math.MaxInt32
)

// The coders without components.
var (
	Bytes          = simple(KindBytes)
	StringUTF8     = simple(KindStringUTF8)
	Bool           = simple(KindBool)
	VarInt         = simple(KindVarInt)
	Double         = simple(KindDouble)
	GlobalWindow   = simple(KindGlobalWindow)
	IntervalWindow = simple(KindIntervalWindow)
)

// KVOf returns the coder of pairs.
func KVOf(key, value *Coder) *Coder { return simple(KindKV, key, value) }

// NullableOf returns the coder of nil and of what c encodes.
func NullableOf(c *Coder) *Coder { return simple(KindNullable, c) }

// IterableOf returns the coder of sequences.
func IterableOf(c *Coder) *Coder { return simple(KindIterable, c) }

// StateBackedIterableOf returns the coder of iterables whose rest may be in state.
func StateBackedIterableOf(c *Coder) *Coder { return simple(KindStateBackedIterable, c) }

// LengthPrefixOf returns the coder that puts the length before what c encodes.
func LengthPrefixOf(c *Coder) *Coder { return simple(KindLengthPrefix, c) }

// TimerOf returns the coder of timers of one family.
func TimerOf(key, window *Coder) *Coder { return simple(KindTimer, key, window) }

func simple(k Kind, comps ...*Coder) *Coder {
	return (&Coder{kind: k, urn: specs[k].urn, comps: comps}).seal()
}

// Kind returns what c encodes.
func (c *Coder) Kind() Kind { return c.kind }

// URN returns the URN that c has in a pipeline proto, empty for a kind that
// occurs inside rows only.
func (c *Coder) URN() string { return c.urn }

// Component returns component i, nil if there is none.
func (c *Coder) Component(i int) *Coder {
	if i < 0 || i >= len(c.comps) {
		return nil
	}
	return c.comps[i]
}

// Components returns the components; the caller must not change the slice.
func (c *Coder) Components() []*Coder { return c.comps }

// Schema returns the schema of a row coder, nil for others.
func (c *Coder) Schema() *Schema {
	if c.row == nil {
		return nil
	}
	return c.row.schema
}

// Known says that Skip finds the end of every value. Where it is false, the
// coder must be wrapped in a length prefix before its data reaches the runner.
func (c *Coder) Known() bool { return c.known }

// String writes the tree as kv<bytes,iterable<varint>>; an unknown coder is
// its URN.
func (c *Coder) String() string {
	var b strings.Builder
	c.write(&b)
	return b.String()
}

func (c *Coder) write(b *strings.Builder) {
	if c.kind == KindUnknown && c.urn != "" {
		b.WriteString(c.urn)
		return
	}
	b.WriteString(c.kind.String())
	for i, comp := range c.comps {
		b.WriteByte("<,"[min(i, 1)])
		comp.write(b)
	}
	if len(c.comps) > 0 {
		b.WriteByte('>')
	}
}

func (c *Coder) unknown(what string) error {
	return &beam.Error{Code: beam.Unsupported, What: "the coder " + c.String() + " " + what}
}

// seal computes the derived fields, from those of the components.
func (c *Coder) seal() *Coder {
	c.nodes, c.depth = 1, 1
	c.known, c.decodable = c.kind != KindUnknown, c.kind != KindUnknown
	for _, part := range c.parts() {
		c.nodes = min(c.nodes+part.nodes, sizeCap)
		c.depth = max(c.depth, part.depth+1)
		c.known = c.known && part.known
		c.decodable = c.decodable && part.decodable
	}
	switch {
	case c.kind == KindLengthPrefix:
		c.known, c.decodable = true, true
	case c.kind == KindRow && c.row.doubtful:
		c.known = false
	}
	c.fixed, c.least = c.size()
	return c
}

// parts returns the coders below c: its components, or those of its fields.
func (c *Coder) parts() []*Coder {
	if c.row == nil {
		return c.comps
	}
	parts := make([]*Coder, len(c.row.fields))
	for i, f := range c.row.fields {
		parts[i] = f.coder
	}
	return parts
}

// size returns the fixed and the least size.
func (c *Coder) size() (fixed, least int) {
	switch c.kind {
	case KindGlobalWindow:
		return 0, 0
	case KindBool, KindByte:
		return 1, 1
	case KindInt16:
		return 2, 2
	case KindFloat:
		return 4, 4
	case KindDouble, KindInstant:
		return 8, 8
	case KindKV, KindLogical:
		return c.sum(0)
	case KindCustomWindow:
		return c.sum(timestampSize)
	case KindParamWindowedValue:
		return c.comps[0].fixed, c.comps[0].least
	case KindUnknown:
		return variable, 0
	}
	return variable, leastOf(c)
}

// sum returns the size of a prefix and all components.
func (c *Coder) sum(prefix int) (fixed, least int) {
	fixed, least = prefix, prefix
	for _, comp := range c.comps {
		least = min(least+comp.least, sizeCap)
		if fixed == variable || comp.fixed == variable {
			fixed = variable
			continue
		}
		fixed = min(fixed+comp.fixed, sizeCap)
	}
	if fixed == sizeCap {
		fixed = variable
	}
	return fixed, least
}

// leastOf returns the least size of a coder whose sizes vary.
func leastOf(c *Coder) int {
	_, comps := c.sum(0)
	switch c.kind {
	case KindIterable, KindStateBackedIterable, KindMap:
		return countSize
	case KindIntervalWindow:
		return timestampSize + 1
	case KindTimer: // key, tag, windows, clear bit
		return min(c.comps[0].least+1+countSize+1, sizeCap)
	case KindWindowedValue: // timestamp, windows, pane, value
		return min(timestampSize+countSize+1+c.comps[0].least, sizeCap)
	case KindShardedKey:
		return min(1+comps, sizeCap)
	case KindRow, KindDecimal:
		return 2
	}
	return 1
}
