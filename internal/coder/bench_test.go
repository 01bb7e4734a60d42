package coder

import (
	"bytes"
	"testing"

	"fresnel/internal/beam"
)

type scanCase struct {
	name  string
	coder *Windowed
	data  []byte // one element
}

// scanCases are elements of about 100 bytes, the size that the budget of the
// design is for.
func scanCases(t testing.TB) []scanCase {
	payload := bytes.Repeat([]byte("x"), 80)
	kv := KVOf(Bytes, Bytes)
	kvBytes, err := kv.Append(nil, KV{[]byte("province"), payload})
	if err != nil {
		t.Fatal(err)
	}
	row := RowCoder(allTypes())
	rowBytes, err := row.Append(nil, everyValue())
	if err != nil {
		t.Fatal(err)
	}
	iter := IterableOf(VarInt)
	iterBytes, err := iter.Append(nil, []any{1, 20, 300, 4000, 50000, -1})
	if err != nil {
		t.Fatal(err)
	}
	window := AppendIntervalWindow(nil, beam.Window{Start: 10_000, End: 20_000})
	pane := beam.Pane{First: true, Timing: beam.OnTime, Index: 1, NonSpeculative: 1}
	global := AppendHeader(nil, 12_345, 1, nil, beam.NoFiring)
	interval := AppendHeader(nil, 12_345, 1, window, pane)
	sliding := AppendHeader(nil, 12_345, 3, bytes.Repeat(window, 3), pane)
	join := func(header, value []byte) []byte { return append(bytes.Clone(header), value...) }
	return []scanCase{
		{"bytes in the global window", NewWindowed(Bytes, GlobalWindow), join(global, AppendLengthPrefixed(nil, payload))},
		{"kv in the global window", NewWindowed(kv, GlobalWindow), join(global, kvBytes)},
		{"kv in an interval window", NewWindowed(kv, IntervalWindow), join(interval, kvBytes)},
		{"kv in three interval windows", NewWindowed(kv, IntervalWindow), join(sliding, kvBytes)},
		{"iterable in an interval window", NewWindowed(iter, IntervalWindow), join(interval, iterBytes)},
		{"row of every type", NewWindowed(row, GlobalWindow), join(global, rowBytes)},
		{"nullable kv", NewWindowed(KVOf(NullableOf(Bytes), NullableOf(Double)), GlobalWindow),
			join(global, []byte{1, 1, 'k', 0})},
	}
}

func BenchmarkScan(b *testing.B) {
	for _, test := range scanCases(b) {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(test.data)))
			var e Element
			for b.Loop() {
				if _, err := test.coder.Scan(test.data, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSkip(b *testing.B) {
	for _, test := range scanCases(b) {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			var e Element
			if _, err := test.coder.Scan(test.data, &e); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := test.coder.Value().Skip(e.Value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSplitKV(b *testing.B) {
	test := scanCases(b)[1]
	var e Element
	if _, err := test.coder.Scan(test.data, &e); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := test.coder.Value().SplitKV(e.Value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanTimer(b *testing.B) {
	c := TimerOf(Bytes, GlobalWindow)
	data := AppendTimer(nil, &Timer{Key: []byte{1, 'k'}, WindowCount: 1, Fire: 5, Hold: 5, Pane: []byte{0x0f}})
	b.ReportAllocs()
	var t Timer
	for b.Loop() {
		if _, err := c.ScanTimer(data, &t); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRow(b *testing.B) {
	c := RowCoder(allTypes())
	data, err := c.Append(nil, everyValue())
	if err != nil {
		b.Fatal(err)
	}
	row, _, err := c.Decode(data)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = c.Decode(data)
		}
	})
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _ = c.Append(buf[:0], row)
		}
	})
}
