package coder

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// form is the context of a coder: whether a value must say where it ends.
type form bool

const (
	nested form = false
	outer  form = true // the value extends to the end of the input
)

// Decode reads the first value of b and returns how many bytes it takes. Byte
// slices in it are slices of b. See Skip for the errors.
func (c *Coder) Decode(b []byte) (v any, n int, err error) {
	d := decoder{slots: minSlots + slotsPerByte*len(b)}
	v, n, err = d.decode(c, b, nested)
	if err != nil {
		return nil, 0, err
	}
	return v, n, nil
}

// A few bytes can stand for many values: a row of an older schema for a null in
// each newer field, a count for so many global windows. A decoder makes only
// as many slots as this allows (I7).
const (
	minSlots     = 1 << 16
	slotsPerByte = 128
)

type decoder struct {
	slots int // that it may still make
}

var errTooMany = malformed("more values than so few bytes can mean")

// take allows n values to be made.
func (d *decoder) take(n int) error {
	if d.slots -= n; d.slots < 0 {
		return errTooMany
	}
	return nil
}

func (d *decoder) decode(c *Coder, b []byte, f form) (any, int, error) {
	switch c.kind {
	case KindBytes:
		return decodeBytes(b, f)
	case KindStringUTF8:
		return decodeString(b, f)
	case KindVarInt:
		return boxed(DecodeVarInt(b))
	case KindKV:
		return d.decodeKV(c, b, f)
	case KindNullable:
		return d.decodeNullable(c, b, f)
	case KindIterable, KindStateBackedIterable:
		return d.decodeIterable(c, b)
	case KindRow:
		return d.decodeRow(c.row, b)
	case KindLengthPrefix:
		return d.decodePrefixed(c, b)
	case KindGlobalWindow, KindIntervalWindow, KindCustomWindow:
		return d.decodeWindow(c, b, f)
	case KindWindowedValue, KindParamWindowedValue:
		return d.decodeWindowed(c.windowed, b, f)
	case KindTimer:
		var t Timer
		n, err := c.ScanTimer(b, &t)
		return t, n, err
	case KindShardedKey:
		return d.decodeShardedKey(c, b)
	case KindMap:
		return d.decodeMap(c, b)
	case KindInt32:
		return boxed(decodeInt32(b))
	case KindInstant:
		return decodeInstant(b)
	case KindDecimal:
		return boxed(decodeDecimal(b))
	case KindLogical:
		return d.decodeLogical(c, b, f)
	case KindUnknown:
		return nil, 0, c.unknown("cannot be decoded")
	}
	return decodeFixed(c, b)
}

// boxed turns a typed result into one of any.
func boxed[T any](v T, n int, err error) (any, int, error) { return v, n, err }

// decodeFixed reads the kinds that are a few bytes of a fixed number.
func decodeFixed(c *Coder, b []byte) (any, int, error) {
	if len(b) < c.fixed {
		return nil, 0, ErrShort
	}
	switch c.kind {
	case KindBool:
		if b[0] > 1 {
			return nil, 0, malformed("a bool of %d", b[0])
		}
		return b[0] == 1, 1, nil
	case KindByte:
		return int8(b[0]), 1, nil
	case KindInt16:
		return int16(binary.BigEndian.Uint16(b)), 2, nil
	case KindFloat:
		return math.Float32frombits(binary.BigEndian.Uint32(b)), 4, nil
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), 8, nil
}

func decodeBytes(b []byte, f form) (any, int, error) {
	if f == outer {
		return b, len(b), nil
	}
	return boxed(DecodeLengthPrefixed(b))
}

func decodeString(b []byte, f form) (any, int, error) {
	content, n, err := b, len(b), error(nil)
	if f == nested {
		content, n, err = DecodeLengthPrefixed(b)
	}
	if err == nil && !utf8.Valid(content) {
		err = malformed("a string that is not UTF-8: %q", excerpt(content))
	}
	return string(content), n, err
}

// excerpt keeps an error message short.
func excerpt(b []byte) []byte { return b[:min(len(b), 64)] }

// decodeInt32 reads an INT32: the number modulo 2^32 as a varint. Go's SDK
// extends the sign to 64 bits instead; that is taken too.
func decodeInt32(b []byte) (int32, int, error) {
	v, n, err := DecodeVarInt(b)
	if err == nil && (v < math.MinInt32 || v > math.MaxUint32) {
		err = malformed("a 32-bit integer of %d", v)
	}
	return int32(v), n, err
}

func (d *decoder) decodeKV(c *Coder, b []byte, f form) (any, int, error) {
	key, at, err := d.decode(c.comps[0], b, nested)
	if err != nil {
		return nil, 0, within("key", err)
	}
	value, size, err := d.decode(c.comps[1], b[at:], f)
	if err != nil {
		return nil, 0, within("value", err)
	}
	return KV{key, value}, at + size, nil
}

func (d *decoder) decodeNullable(c *Coder, b []byte, f form) (any, int, error) {
	switch {
	case len(b) == 0:
		return nil, 0, ErrShort
	case b[0] == 0:
		return nil, 1, nil
	case b[0] != 1:
		return nil, 0, malformed("a null indicator of %d", b[0])
	}
	v, n, err := d.decode(c.comps[0], b[1:], f)
	return v, 1 + n, err
}

func (d *decoder) decodeIterable(c *Coder, b []byte) (any, int, error) {
	count, err := decodeCount(b)
	if err != nil {
		return nil, 0, err
	}
	n, elem := countSize, c.comps[0]
	if count >= 0 {
		values, size, err := d.decodeMany(elem, b[n:], int64(count), nil)
		return values, n + size, err
	}
	if count != countUnknown {
		return nil, 0, malformed("an iterable of %d values", count)
	}
	values := []any{}
	for {
		block, size, err := DecodeVarInt(b[n:])
		if err != nil {
			return nil, 0, err
		}
		n += size
		if block <= 0 {
			return c.decodeBlocksEnd(b, n, block, values)
		}
		if values, size, err = d.decodeMany(elem, b[n:], block, values); err != nil {
			return nil, 0, err
		}
		n += size
	}
}

// decodeBlocksEnd reads what follows the last block, whose count is at b[:n].
func (c *Coder) decodeBlocksEnd(b []byte, n int, count int64, values []any) (any, int, error) {
	end, err := c.skipBlocksEnd(b, n, count)
	if err != nil || count == blockEnd {
		return values, end, err
	}
	token, _, err := DecodeLengthPrefixed(b[n:end])
	return StateBacked{Head: values, Token: token}, end, err
}

// decodeMany appends count values to values.
func (d *decoder) decodeMany(c *Coder, b []byte, count int64, values []any) ([]any, int, error) {
	if c.least > 0 && count > int64(len(b)/c.least) {
		return nil, 0, ErrShort
	}
	if err := d.take(int(min(count, maxLength))); err != nil {
		return nil, 0, err
	}
	if values == nil {
		values = make([]any, 0, count)
	}
	n := 0
	for range count {
		v, size, err := d.decode(c, b[n:], nested)
		if err != nil {
			return nil, 0, err
		}
		values = append(values, v)
		n += size
	}
	return values, n, nil
}

func (d *decoder) decodeMap(c *Coder, b []byte) (any, int, error) {
	count, err := decodeCount(b)
	switch {
	case err != nil:
		return nil, 0, err
	case count < 0:
		return nil, 0, malformed("a map of %d entries", count)
	case c.comps[0].least+c.comps[1].least > 0 && count > len(b):
		return nil, 0, ErrShort
	}
	if err := d.take(count); err != nil {
		return nil, 0, err
	}
	m, n := make(Map, 0, count), countSize
	for range count {
		kv, size, err := d.decodeKV(c, b[n:], nested)
		if err != nil {
			return nil, 0, err
		}
		m = append(m, kv.(KV))
		n += size
	}
	return m, n, nil
}

// decodePrefixed reads what a length prefix holds, in the outer form. Where the
// runner has no decoder for it, the value is its bytes.
func (d *decoder) decodePrefixed(c *Coder, b []byte) (any, int, error) {
	content, n, err := DecodeLengthPrefixed(b)
	if err != nil || !c.comps[0].decodable {
		return content, n, err
	}
	v, used, err := d.decode(c.comps[0], content, outer)
	switch {
	case err != nil:
		return nil, 0, whole(err)
	case used != len(content):
		return nil, 0, malformed("%d bytes of %s in a length prefix of %d", used, c.comps[0], len(content))
	}
	return v, n, nil
}

func (d *decoder) decodeWindow(c *Coder, b []byte, f form) (any, int, error) {
	switch c.kind {
	case KindGlobalWindow:
		return globalWindow, 0, nil
	case KindIntervalWindow:
		return boxed(DecodeIntervalWindow(b))
	}
	t, at, err := DecodeTimestamp(b)
	if err != nil {
		return nil, 0, err
	}
	window, size, err := d.decode(c.comps[0], b[at:], f)
	return CustomWindow{MaxTimestamp: t, Window: window}, at + size, err
}

func (d *decoder) decodeShardedKey(c *Coder, b []byte) (any, int, error) {
	id, at, err := DecodeLengthPrefixed(b)
	if err != nil {
		return nil, 0, err
	}
	key, size, err := d.decode(c.comps[0], b[at:], nested)
	return ShardedKey{ShardID: id, Key: key}, at + size, err
}

func (d *decoder) decodeWindowed(w *Windowed, b []byte, f form) (any, int, error) {
	e, at, err := w.header(b)
	if err != nil {
		return nil, 0, err
	}
	pane, _, err := DecodePane(e.Pane)
	if err != nil {
		return nil, 0, err
	}
	windows, _, err := d.decodeMany(w.window, e.Windows, int64(e.WindowCount), nil)
	if err != nil {
		return nil, 0, whole(err)
	}
	v, size, err := d.decode(w.value, b[at:], f)
	return WindowedValue{Timestamp: e.Timestamp, Windows: windows, Pane: pane, Value: v}, at + size, err
}

// header reads all of a windowed value but the value.
func (w *Windowed) header(b []byte) (e Element, n int, err error) {
	if w.param != nil {
		return *w.param, 0, nil
	}
	n, err = NewWindowed(GlobalWindow, w.window).Scan(b, &e)
	return e, n, err
}
