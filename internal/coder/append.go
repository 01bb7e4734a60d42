package coder

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"fresnel/internal/beam"
)

var globalWindow any = beam.GlobalWindow

// Append appends the encoding of v. It fails if v is not of the type that
// Decode gives, and then returns dst as it was.
func (c *Coder) Append(dst []byte, v any) ([]byte, error) {
	out, err := c.append(dst, v, nested)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (c *Coder) append(dst []byte, v any, f form) ([]byte, error) {
	switch c.kind {
	case KindBytes:
		return as(c, v, func(v []byte) ([]byte, error) { return appendBytes(dst, v, f), nil })
	case KindStringUTF8:
		return as(c, v, func(v string) ([]byte, error) { return appendString(dst, v, f) })
	case KindBool:
		return as(c, v, func(v bool) ([]byte, error) { return appendBool(dst, v), nil })
	case KindVarInt, KindByte, KindInt16, KindInt32:
		return c.appendInteger(dst, v)
	case KindDouble, KindFloat:
		return c.appendFloat(dst, v)
	case KindKV:
		return as(c, v, func(v KV) ([]byte, error) { return c.appendKV(dst, v, f) })
	case KindNullable:
		if v == nil {
			return append(dst, 0), nil
		}
		return c.comps[0].append(append(dst, 1), v, f)
	case KindIterable, KindStateBackedIterable:
		return c.appendIterable(dst, v)
	case KindRow:
		return as(c, v, func(v Row) ([]byte, error) { return c.row.append(dst, v) })
	case KindLengthPrefix:
		return c.appendPrefixed(dst, v)
	case KindMap:
		return as(c, v, func(v Map) ([]byte, error) { return c.appendMap(dst, v) })
	case KindInstant:
		return c.appendInstant(dst, v)
	case KindDecimal:
		return as(c, v, func(v Decimal) ([]byte, error) { return appendDecimal(dst, v) })
	case KindLogical:
		return c.appendLogical(dst, v, f)
	}
	return c.appendRare(dst, v, f)
}

// appendRare writes the kinds that only tests and tools write as values.
func (c *Coder) appendRare(dst []byte, v any, f form) ([]byte, error) {
	switch c.kind {
	case KindGlobalWindow:
		return dst, nil
	case KindIntervalWindow:
		return as(c, v, func(v beam.Window) ([]byte, error) { return AppendIntervalWindow(dst, v), nil })
	case KindCustomWindow:
		return as(c, v, func(v CustomWindow) ([]byte, error) {
			return c.comps[0].append(AppendTimestamp(dst, v.MaxTimestamp), v.Window, f)
		})
	case KindShardedKey:
		return as(c, v, func(v ShardedKey) ([]byte, error) {
			return c.comps[0].append(AppendLengthPrefixed(dst, v.ShardID), v.Key, nested)
		})
	case KindTimer:
		return as(c, v, func(v Timer) ([]byte, error) { return AppendTimer(dst, &v), nil })
	case KindWindowedValue, KindParamWindowedValue:
		return as(c, v, func(v WindowedValue) ([]byte, error) { return c.windowed.append(dst, v, f) })
	}
	return nil, c.unknown("cannot encode values")
}

// as passes v on if it is a T.
func as[T any](c *Coder, v any, f func(T) ([]byte, error)) ([]byte, error) {
	t, ok := v.(T)
	if !ok {
		return nil, c.mismatch(v)
	}
	return f(t)
}

func (c *Coder) mismatch(v any) error {
	return &beam.Error{Code: beam.BadData, What: fmt.Sprintf("a value of type %T for coder %s", v, c)}
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendBytes(dst, v []byte, f form) []byte {
	if f == outer {
		return append(dst, v...)
	}
	return AppendLengthPrefixed(dst, v)
}

func appendString(dst []byte, v string, f form) ([]byte, error) {
	if !utf8.ValidString(v) {
		return nil, malformed("a string that is not UTF-8: %q", excerpt([]byte(v)))
	}
	if f == outer {
		return append(dst, v...), nil
	}
	return appendLengthPrefixedString(dst, v), nil
}

// appendInteger writes any integer that is in the range of the kind.
func (c *Coder) appendInteger(dst []byte, v any) ([]byte, error) {
	i, ok := integer(v)
	if !ok {
		return nil, c.mismatch(v)
	}
	if least, most := c.kind.bounds(); i < least || i > most {
		return nil, malformed("%d for a field of type %s", i, c)
	}
	switch c.kind {
	case KindByte:
		return append(dst, byte(i)), nil
	case KindInt16:
		return binary.BigEndian.AppendUint16(dst, uint16(i)), nil
	case KindInt32:
		return AppendVarInt(dst, int64(uint32(i))), nil
	}
	return AppendVarInt(dst, i), nil
}

// bounds returns the range of an integer. The SDKs do not agree on the sign of
// a byte.
func (k Kind) bounds() (least, most int64) {
	switch k {
	case KindByte:
		return math.MinInt8, math.MaxUint8
	case KindInt16:
		return math.MinInt16, math.MaxInt16
	case KindInt32:
		return math.MinInt32, math.MaxInt32
	}
	return math.MinInt64, math.MaxInt64
}

// integer returns v as an int64, if it is an integer that fits.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	case int16:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case uint:
		return int64(v), uint64(v) <= math.MaxInt64
	case uint32:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint8:
		return int64(v), true
	}
	return 0, false
}

// appendFloat writes a float32 or a float64 in the precision of the kind.
func (c *Coder) appendFloat(dst []byte, v any) ([]byte, error) {
	single, isSingle := v.(float32)
	double, isDouble := v.(float64)
	switch {
	case c.kind == KindFloat && isSingle:
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(single)), nil
	case c.kind == KindFloat && isDouble:
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(double))), nil
	case isSingle:
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(float64(single))), nil
	case isDouble:
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(double)), nil
	}
	return nil, c.mismatch(v)
}

func (c *Coder) appendKV(dst []byte, v KV, f form) ([]byte, error) {
	dst, err := c.comps[0].append(dst, v.Key, nested)
	if err != nil {
		return nil, within("key", err)
	}
	if dst, err = c.comps[1].append(dst, v.Value, f); err != nil {
		return nil, within("value", err)
	}
	return dst, nil
}

func (c *Coder) appendIterable(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []any:
		return c.appendMany(AppendIterableCount(dst, len(v)), v)
	case StateBacked:
		if c.kind == KindStateBackedIterable {
			return c.appendStateBacked(dst, v)
		}
	}
	return nil, c.mismatch(v)
}

func (c *Coder) appendMany(dst []byte, values []any) ([]byte, error) {
	for _, v := range values {
		var err error
		if dst, err = c.comps[0].append(dst, v, nested); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func (c *Coder) appendStateBacked(dst []byte, v StateBacked) ([]byte, error) {
	dst = AppendIterableCount(dst, countUnknown)
	if len(v.Head) > 0 {
		var err error
		if dst, err = c.appendMany(AppendVarInt(dst, int64(len(v.Head))), v.Head); err != nil {
			return nil, err
		}
	}
	return AppendStateToken(dst, v.Token), nil
}

func (c *Coder) appendMap(dst []byte, m Map) ([]byte, error) {
	dst = AppendIterableCount(dst, len(m))
	for _, kv := range m {
		var err error
		if dst, err = c.appendKV(dst, kv, nested); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// appendPrefixed writes the component in the outer form, then makes room for
// the length before it.
func (c *Coder) appendPrefixed(dst []byte, v any) ([]byte, error) {
	if !c.comps[0].decodable {
		return as(c, v, func(v []byte) ([]byte, error) { return AppendLengthPrefixed(dst, v), nil })
	}
	at := len(dst)
	dst, err := c.comps[0].append(dst, v, outer)
	if err != nil {
		return nil, err
	}
	length := int64(len(dst) - at)
	size := varIntSize(length)
	dst = append(dst, make([]byte, size)...)
	copy(dst[at+size:], dst[at:])
	AppendVarInt(dst[:at], length)
	return dst, nil
}

// append writes a windowed value; of one with constant header, the value only.
func (w *Windowed) append(dst []byte, v WindowedValue, f form) ([]byte, error) {
	if w.param == nil {
		dst = AppendIterableCount(AppendTimestamp(dst, v.Timestamp), len(v.Windows))
		for _, window := range v.Windows {
			var err error
			if dst, err = w.window.append(dst, window, nested); err != nil {
				return nil, err
			}
		}
		dst = AppendPane(dst, v.Pane)
	}
	return w.value.append(dst, v.Value, f)
}
