package coder

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// coderFrom builds a coder from the bytes of a recipe, as in Polish notation,
// so that a fuzzer can search among trees too.
func coderFrom(recipe []byte, depth int) (*Coder, []byte) {
	leaves := []*Coder{Bytes, StringUTF8, Bool, VarInt, Double, GlobalWindow, IntervalWindow,
		RowCoder(allTypes()), simple(KindUnknown), simple(KindDecimal), simple(KindInt32)}
	if len(recipe) == 0 || depth > 6 {
		return Bytes, recipe
	}
	pick := int(recipe[0])
	recipe = recipe[1:]
	if pick < 128 {
		return leaves[pick%len(leaves)], recipe
	}
	kinds := []Kind{KindKV, KindIterable, KindStateBackedIterable, KindNullable, KindLengthPrefix,
		KindCustomWindow, KindShardedKey, KindTimer, KindMap, KindWindowedValue}
	kind := kinds[pick%len(kinds)]
	var comps []*Coder
	for range specs[kind].components {
		var c *Coder
		c, recipe = coderFrom(recipe, depth+1)
		comps = append(comps, c)
	}
	c := &Coder{kind: kind, urn: specs[kind].urn, comps: comps}
	if kind == KindWindowedValue {
		c.windowed = NewWindowed(comps[0], comps[1])
	}
	return c.seal(), recipe
}

// checkCoder states what must hold for every coder and all bytes.
func checkCoder(t *testing.T, c *Coder, b []byte) {
	n, err := c.Skip(b)
	if n < 0 || n > len(b) || err != nil && n != 0 {
		t.Fatalf("skip by %s: %d of %d bytes, %v", c, n, len(b), err)
	}
	v, used, decodeErr := c.Decode(b)
	if decodeErr != nil {
		return
	}
	if c.Known() && (err != nil || used != n) {
		t.Fatalf("decode by %s took %d bytes, skip %d, %v", c, used, n, err)
	}
	first, err := c.Append(nil, v)
	if err != nil {
		return // a null where the schema has none, a scale without end
	}
	back, used, err := c.Decode(first)
	if errors.Is(err, errTooMany) {
		return // the allowance is by the bytes, and these are fewer than b
	}
	if err != nil || used != len(first) {
		t.Fatalf("%s decodes %x, but not its own %x: %v", c, b, first, err)
	}
	if second, err := c.Append(nil, back); err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%s encodes %x as %x, then as %x, %v", c, b, first, second, err)
	}
}

func FuzzSkip(f *testing.F) {
	for _, test := range valueTests {
		f.Add([]byte{128, 0, 131, 3}, unhex(f, test.hex))
	}
	for i := range 11 {
		f.Add([]byte{byte(i)}, unhex(f, "0a029102000000000000000000000000"))
		f.Add([]byte{byte(130 + i), byte(i), byte(i + 1)}, unhex(f, "ffffffff01020304050607080900"))
	}
	f.Fuzz(func(t *testing.T, recipe, b []byte) {
		c, _ := coderFrom(recipe, 0)
		checkCoder(t, c, b)
	})
}

// FuzzPrefix checks that what is short is neither whole nor malformed.
func FuzzPrefix(f *testing.F) {
	f.Add([]byte{128, 0, 3}, unhex(f, "01 6b ac02"))
	f.Add([]byte{7}, unhex(f, "0100 80000173e82bd76b"))
	f.Fuzz(func(t *testing.T, recipe, b []byte) {
		c, _ := coderFrom(recipe, 0)
		n, err := c.Skip(b)
		if err != nil {
			return
		}
		for i := range min(n, 100) {
			if _, err := c.Skip(b[:i]); err != ErrShort {
				t.Fatalf("%s takes %d bytes of %x, but %d give %v", c, n, b, i, err)
			}
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add(true, unhex(f, windowedElement))
	f.Add(false, unhex(f, "8000000000000000 00000001 95 05 02 0801 01 61 00"))
	f.Fuzz(func(t *testing.T, interval bool, b []byte) {
		w := NewWindowed(KVOf(Bytes, VarInt), GlobalWindow)
		if interval {
			w = NewWindowed(KVOf(Bytes, VarInt), IntervalWindow)
		}
		var e Element
		n, err := w.Scan(b, &e)
		if err != nil {
			if n != 0 || e.Raw != nil {
				t.Fatalf("%d, %+v with %v", n, e, err)
			}
			return
		}
		if n != len(e.Raw) || n > len(b) {
			t.Fatalf("%d, %+v", n, e)
		}
		var windows []byte
		if err := w.EachWindow(&e, func(raw []byte) error {
			windows = append(windows, raw...)
			return nil
		}); err != nil || !bytes.Equal(windows, e.Windows) {
			t.Fatalf("%x, not %x, %v", windows, e.Windows, err)
		}
		key, value, err := w.Value().SplitKV(e.Value)
		if err != nil || len(key)+len(value) != len(e.Value) {
			t.Fatalf("%x, %x, %v", key, value, err)
		}
		var again Element
		if n, err := w.Scan(AppendElement(nil, &e), &again); err != nil || n != len(e.Raw) ||
			again.Timestamp != e.Timestamp || !bytes.Equal(again.Raw[8:], e.Raw[8:]) {
			t.Fatalf("%+v, then %+v, %v", e, again, err)
		}
		checkPane(t, e.Pane)
	})
}

func checkPane(t *testing.T, b []byte) {
	pane, n, err := DecodePane(b)
	if err != nil || n != len(b) {
		t.Fatalf("%x: %d, %v", b, n, err)
	}
	first := AppendPane(nil, pane)
	again, _, err := DecodePane(first)
	if second := AppendPane(nil, again); err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%+v: %x, then %x, %v", pane, first, second, err)
	}
}

func FuzzScanTimer(f *testing.F) {
	f.Add(unhex(f, "036b6579 0174 00000001 800000000000ea60e0d403 00 800000000000ea5f 8000000000007530 0f"))
	f.Add(unhex(f, "036b6579 00 00000001 800000000000ea60e0d403 01"))
	c := TimerOf(StringUTF8, IntervalWindow)
	f.Fuzz(func(t *testing.T, b []byte) {
		var timer, again Timer
		n, err := c.ScanTimer(b, &timer)
		if err != nil {
			return
		}
		back := AppendTimer(nil, &timer)
		if m, err := c.ScanTimer(back, &again); err != nil || m != len(back) || fmt.Sprint(again) != fmt.Sprint(timer) {
			t.Fatalf("%x (%d bytes): %+v, then %+v, %v", b, n, timer, again, err)
		}
	})
}

func FuzzDecodeRow(f *testing.F) {
	all := allTypes()
	schema, err := proto.Marshal(all.Proto())
	if err != nil {
		f.Fatal(err)
	}
	row, err := RowCoder(all).Append(nil, everyValue())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(schema, row)
	f.Add(schema, row[:len(row)/2])
	f.Fuzz(func(t *testing.T, schema, b []byte) {
		var msg pipepb.Schema
		if proto.Unmarshal(schema, &msg) != nil {
			return
		}
		s, err := SchemaFromProto(&msg)
		if err != nil {
			return
		}
		checkCoder(t, RowCoder(s), b)
		again, err := SchemaFromProto(s.Proto())
		if err != nil || RowCoder(again).String() != RowCoder(s).String() {
			t.Fatalf("%v does not survive its proto: %v", s, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	add := func(coders map[string]*pipepb.Coder) {
		b, err := proto.Marshal(&pipepb.Components{Coders: coders})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, unhex(f, windowedElement))
	}
	add(map[string]*pipepb.Coder{
		"root": coderProto(KindWindowedValue, "kv", "w"), "w": coderProto(KindIntervalWindow),
		"kv": coderProto(KindKV, "b", "v"), "b": coderProto(KindBytes), "v": coderProto(KindVarInt)})
	add(map[string]*pipepb.Coder{
		"root": withPayload(coderProto(KindParamWindowedValue, "b", "w"),
			unhex(f, "80000000000003e8 00000001 8000000000000014 0a 261e28 00")),
		"w": coderProto(KindIntervalWindow), "b": coderProto(KindBytes)})
	f.Fuzz(func(t *testing.T, components, b []byte) {
		var msg pipepb.Components
		if proto.Unmarshal(components, &msg) != nil {
			return
		}
		c, err := Parse("root", msg.GetCoders())
		if err != nil {
			return
		}
		checkCoder(t, c, b)
		coders := make(map[string]*pipepb.Coder)
		add := func(p *pipepb.Coder) string {
			id := fmt.Sprint(len(coders))
			coders[id] = p
			return id
		}
		if back, err := Parse(add(c.Proto(add)), coders); err != nil || back.String() != c.String() {
			t.Fatalf("%s comes back as %v, %v", c, back, err)
		}
	})
}
