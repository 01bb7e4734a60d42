package coder

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"

	"fresnel/internal/beam"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func isBadData(err error) bool {
	return err != nil && err != ErrShort && beam.CodeOf(err) == beam.BadData
}

// The encodings below were written by the Python SDK where it has the coder.
var valueTests = []struct {
	name  string
	coder *Coder
	hex   string
	value any
}{
	{"bytes", Bytes, "03 00ff61", []byte{0, 0xff, 'a'}},
	{"no bytes", Bytes, "00", []byte{}},
	{"a length of two bytes", Bytes, "8001" + strings.Repeat("61", 128), bytes.Repeat([]byte("a"), 128)},
	{"string", StringUTF8, "02 c3bf", "ÿ"},
	{"bool", Bool, "01", true},
	{"varint", VarInt, "ac02", int64(300)},
	{"negative varint", VarInt, "fdffffffffffffffff01", int64(-3)},
	{"greatest varint", VarInt, "ffffffffffffffff7f", int64(math.MaxInt64)},
	{"double", Double, "c000000000000000", -2.0},
	{"kv", KVOf(Bytes, VarInt), "01 6b fdffffffffffffffff01", KV{[]byte("k"), int64(-3)}},
	{"kv of nullables", KVOf(NullableOf(Bytes), NullableOf(Bytes)), "00 01026263", KV{nil, []byte("bc")}},
	{"iterable", IterableOf(StringUTF8), "00000002 0161 00", []any{"a", ""}},
	{"empty iterable", IterableOf(VarInt), "00000000", []any{}},
	{"iterable of empty values", IterableOf(GlobalWindow), "00000001", []any{beam.GlobalWindow}},
	{"length prefix, outer form inside", LengthPrefixOf(KVOf(Bytes, Bytes)), "04 01 61 6263",
		KV{[]byte("a"), []byte("bc")}},
	{"length prefix of a nullable", LengthPrefixOf(NullableOf(Bytes)), "03 01 6263", []byte("bc")},
	{"length prefix of an unknown coder", LengthPrefixOf(simple(KindUnknown)), "02 6263", []byte("bc")},
	{"length prefix of unknown parts", LengthPrefixOf(KVOf(Bytes, simple(KindUnknown))), "02 6263", []byte("bc")},
	{"state-backed iterable", simple(KindStateBackedIterable, VarInt),
		"ffffffff 01 05 ffffffffffffffffff01 03 746f6b", StateBacked{[]any{int64(5)}, []byte("tok")}},
	{"interval window", IntervalWindow, "80000000000055f0 904e",
		beam.Window{Start: 12000, End: 22000}},
	{"window before time", IntervalWindow, "7fdf3b645a1cad76 ed02",
		beam.Window{Start: beam.MinEventTime, End: beam.MinEventTime + 365}},
	{"global window", GlobalWindow, "", beam.GlobalWindow},
	{"custom window", simple(KindCustomWindow, StringUTF8), "8000000000000001 0177",
		CustomWindow{MaxTimestamp: 1, Window: "w"}},
	{"sharded key", simple(KindShardedKey, VarInt), "0273 68 07", ShardedKey{[]byte("sh"), int64(7)}},
}

func TestValuesByCoder(t *testing.T) {
	t.Parallel()
	for _, test := range valueTests {
		t.Run(test.name, func(t *testing.T) {
			encoded := unhex(t, test.hex)
			v, n, err := test.coder.Decode(encoded)
			if err != nil || n != len(encoded) || !reflect.DeepEqual(v, test.value) {
				t.Errorf("decoded %#v of %d bytes, %v, not %#v", v, n, err, test.value)
			}
			if back, err := test.coder.Append([]byte("x"), test.value); err != nil ||
				!bytes.Equal(back[1:], encoded) {
				t.Errorf("encoded %x, %v, not %x", back, err, encoded)
			}
			checkEnds(t, test.coder, encoded)
			if !test.coder.Known() {
				t.Errorf("%s is not known", test.coder)
			}
		})
	}
}

func TestAppendTakesEveryIntegerThatFits(t *testing.T) {
	t.Parallel()
	for _, v := range []any{7, int8(7), int16(7), int32(7), uint(7), uint8(7), uint16(7), uint32(7), uint64(7)} {
		if b, err := VarInt.Append(nil, v); err != nil || !bytes.Equal(b, []byte{7}) {
			t.Errorf("%T: %x, %v", v, b, err)
		}
	}
}

func TestAppendRefusesWhatTheCoderCannotHold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		coder *Coder
		value any
	}{
		{VarInt, uint64(math.MaxUint64)},
		{VarInt, 1.5},
		{VarInt, nil},
		{Bytes, "text"},
		{StringUTF8, []byte("bytes")},
		{StringUTF8, "\xff"},
		{Double, 1},
		{Bool, 1},
		{KVOf(Bytes, Bytes), KV{[]byte("k"), "v"}},
		{KVOf(Bytes, Bytes), []any{}},
		{IterableOf(VarInt), []any{"x"}},
		{IterableOf(VarInt), StateBacked{}},
		{LengthPrefixOf(simple(KindUnknown)), "x"},
		{simple(KindUnknown), []byte("x")},
		{atomicCoders[TypeByte], 256},
		{atomicCoders[TypeInt16], math.MaxInt16 + 1},
		{atomicCoders[TypeInt32], math.MinInt32 - 1},
	} {
		dst := []byte("before")
		if b, err := test.coder.Append(dst, test.value); err == nil || string(b) != "before" {
			t.Errorf("%v for %s: %q, %v", test.value, test.coder, b, err)
		}
	}
}

func TestMalformedBytes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		coder *Coder
		hex   string
	}{
		{"varint of 11 bytes", VarInt, "8080808080808080808001"},
		{"varint of 65 bits", VarInt, "80808080808080808002"},
		{"negative length", Bytes, "ffffffffffffffffff01"},
		{"length beyond 2 GiB", Bytes, "8080808008"},
		{"null indicator", NullableOf(VarInt), "02"},
		{"negative count", IterableOf(VarInt), "fffffffe"},
		{"negative block", IterableOf(VarInt), "ffffffff feffffffffffffffff01"},
		{"token in a plain iterable", IterableOf(VarInt), "ffffffff ffffffffffffffffff01 00"},
		{"negative map", simple(KindMap, VarInt, VarInt), "ffffffff"},
		{"clear bit", TimerOf(VarInt, GlobalWindow), "00 00 00000001 02"},
		{"timer in two global windows", TimerOf(VarInt, GlobalWindow), "00 00 00000002 01"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := unhex(t, test.hex)
			if n, err := test.coder.Skip(b); n != 0 || !isBadData(err) {
				t.Errorf("skip: %d, %v", n, err)
			}
			if v, n, err := test.coder.Decode(b); v != nil || n != 0 || !isBadData(err) {
				t.Errorf("decode: %v, %d, %v", v, n, err)
			}
		})
	}
}

func TestDecodeIsStricterThanSkip(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		coder *Coder
		hex   string
	}{
		{Bool, "07"},
		{StringUTF8, "01 ff"},
		{IntervalWindow, "8000000000000000 ffffffffffffffffff01"},
		{LengthPrefixOf(VarInt), "02 0101"},
		{LengthPrefixOf(VarInt), "01 80"},
		{atomicCoders[TypeInt32], "8080808010"},
		{simple(KindDecimal), "00 00"},
	} {
		b := unhex(t, test.hex)
		if n, err := test.coder.Skip(b); n != len(b) || err != nil {
			t.Errorf("skip of %x by %s: %d, %v", b, test.coder, n, err)
		}
		if v, n, err := test.coder.Decode(b); !isBadData(err) || n != 0 {
			t.Errorf("decode of %x by %s: %v, %d, %v", b, test.coder, v, n, err)
		}
	}
}

func TestManyEmptyValuesTakeNoTimeAndNoMemory(t *testing.T) {
	t.Parallel()
	empty := KVOf(GlobalWindow, GlobalWindow)
	for _, c := range []*Coder{IterableOf(empty), simple(KindMap, empty, GlobalWindow)} {
		b := unhex(t, "7fffffff")
		if n, err := c.Skip(b); n != 4 || err != nil {
			t.Errorf("skip by %s: %d, %v", c, n, err)
		}
		if _, _, err := c.Decode(b); !isBadData(err) {
			t.Errorf("decode by %s: %v", c, err)
		}
	}
	blocks := unhex(t, "ffffffff ffffffffffffffff7f ffffffffffffffff7f 00")
	if n, err := IterableOf(empty).Skip(blocks); n != len(blocks) || err != nil {
		t.Errorf("skip of blocks: %d, %v", n, err)
	}
}

func TestNestedCountsCannotMultiply(t *testing.T) {
	t.Parallel()
	c := IterableOf(IterableOf(GlobalWindow))
	b := AppendIterableCount(nil, 1000)
	for range 1000 {
		b = AppendIterableCount(b, minSlots/2)
	}
	if _, _, err := c.Decode(b); !isBadData(err) {
		t.Errorf("%d values were made of %d bytes: %v", 1000*minSlots/2, len(b), err)
	}
}

func TestUnknownCodersSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	c := KVOf(Bytes, (&Coder{urn: "beam:coder:pickled_python:v1"}).seal())
	if c.Known() || !LengthPrefixOf(c).Known() {
		t.Error("only the length prefix makes it known")
	}
	_, err := c.Skip(unhex(t, "00 00"))
	if beam.CodeOf(err) != beam.Unsupported || !strings.Contains(err.Error(), "pickled_python") {
		t.Errorf("skip: %v", err)
	}
	if _, _, err := c.Decode(unhex(t, "00 00")); beam.CodeOf(err) != beam.Unsupported {
		t.Errorf("decode: %v", err)
	}
}

func TestCodersPrintAsTrees(t *testing.T) {
	t.Parallel()
	c := KVOf(NullableOf(Bytes), IterableOf(VarInt))
	if got := c.String(); got != "kv<nullable<bytes>,iterable<varint>>" {
		t.Error(got)
	}
	if got := Kind(200).String(); got != "unknown" {
		t.Error(got)
	}
}

func TestComponentsOutOfRangeAreNil(t *testing.T) {
	t.Parallel()
	c := KVOf(Bytes, VarInt)
	if c.Component(1) != VarInt || c.Component(2) != nil || c.Component(-1) != nil {
		t.Error(c.Components())
	}
}

func TestSplitKV(t *testing.T) {
	t.Parallel()
	c := KVOf(Bytes, VarInt)
	key, value, err := c.SplitKV(unhex(t, "01 6b ac02"))
	if err != nil || !bytes.Equal(key, unhex(t, "016b")) || !bytes.Equal(value, unhex(t, "ac02")) {
		t.Errorf("%x, %x, %v", key, value, err)
	}
	if _, _, err := c.SplitKV(unhex(t, "05 6b")); !isBadData(err) {
		t.Errorf("a value that is too short: %v", err)
	}
	if _, _, err := Bytes.SplitKV(unhex(t, "00")); err == nil {
		t.Error("bytes are no KV")
	}
}
