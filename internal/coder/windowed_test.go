package coder

import (
	"bytes"
	"errors"
	"testing"

	"fresnel/internal/beam"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// windowedElement was written by the Python SDK: KV(b"k", -3) at 12.5 s, in the
// windows [10 s, 20 s) and [12 s, 22 s), in a late pane.
const windowedElement = "80000000000030d4 00000002 8000000000004e20904e 80000000000055f0904e 2a0703" +
	"016b fdffffffffffffffff01"

func TestScanGivesSlicesOfTheInput(t *testing.T) {
	t.Parallel()
	w := NewWindowed(KVOf(Bytes, VarInt), IntervalWindow)
	raw := unhex(t, windowedElement)
	var e Element
	n, err := w.Scan(append(bytes.Clone(raw), 0, 0, 0), &e)
	if err != nil || n != len(raw) {
		t.Fatal(n, err)
	}
	if e.Timestamp != 12500 || e.WindowCount != 2 || !bytes.Equal(e.Raw, raw) ||
		!bytes.Equal(e.Windows, unhex(t, "8000000000004e20904e 80000000000055f0904e")) ||
		!bytes.Equal(e.Pane, unhex(t, "2a0703")) ||
		!bytes.Equal(e.Value, unhex(t, "016bfdffffffffffffffff01")) {
		t.Errorf("%+v", e)
	}
	pane, _, err := DecodePane(e.Pane)
	if want := (beam.Pane{Last: true, Timing: beam.Late, Index: 7, NonSpeculative: 3}); pane != want || err != nil {
		t.Errorf("%+v, %v", pane, err)
	}
	if got := AppendElement(nil, &e); !bytes.Equal(got, raw) {
		t.Errorf("appended as %x", got)
	}
	header := AppendHeader(nil, e.Timestamp, e.WindowCount, e.Windows, pane)
	if got := append(header, e.Value...); !bytes.Equal(got, raw) {
		t.Errorf("appended from its parts as %x", got)
	}
	if cap(e.Value) != len(e.Value) || cap(e.Windows) != len(e.Windows) {
		t.Error("an append to a part would overwrite what follows it")
	}
}

func TestAppendInWindow(t *testing.T) {
	t.Parallel()
	w := NewWindowed(KVOf(Bytes, VarInt), IntervalWindow)
	raw := unhex(t, windowedElement)
	var e Element
	if _, err := w.Scan(raw, &e); err != nil {
		t.Fatal(err)
	}
	window := unhex(t, "8000000000004e20904e")
	one := AppendInWindow([]byte("before"), raw, len(e.Windows), string(window))
	want := append([]byte("before"), unhex(t, "80000000000030d4 00000001 8000000000004e20904e 2a0703 016b fdffffffffffffffff01")...)
	if !bytes.Equal(one, want) {
		t.Errorf("%x", one)
	}
	if again := AppendInWindow(nil, one[6:], len(window), string(window)); !bytes.Equal(again, one[6:]) {
		t.Errorf("an element of one window became %x", again)
	}
}

func TestScanOfAPartLeavesTheElementAlone(t *testing.T) {
	t.Parallel()
	w := NewWindowed(KVOf(Bytes, VarInt), IntervalWindow)
	raw := unhex(t, windowedElement)
	for i := range raw {
		e := Element{Timestamp: 42}
		if n, err := w.Scan(raw[:i], &e); n != 0 || err != ErrShort || e.Timestamp != 42 {
			t.Errorf("%d bytes: %d, %v, %+v", i, n, err, e)
		}
	}
}

func TestEachWindow(t *testing.T) {
	t.Parallel()
	w := NewWindowed(KVOf(Bytes, VarInt), IntervalWindow)
	var e Element
	if _, err := w.Scan(unhex(t, windowedElement), &e); err != nil {
		t.Fatal(err)
	}
	var ends []beam.EventTime
	err := w.EachWindow(&e, func(raw []byte) error {
		window, _, err := DecodeIntervalWindow(raw)
		ends = append(ends, window.End)
		return err
	})
	if err != nil || len(ends) != 2 || ends[0] != 20000 || ends[1] != 22000 {
		t.Errorf("%v, %v", ends, err)
	}
	stop := errors.New("stop")
	if err := w.EachWindow(&e, func([]byte) error { return stop }); err != stop {
		t.Error(err)
	}
}

func TestScanOfTheGlobalWindow(t *testing.T) {
	t.Parallel()
	w := NewWindowed(Bytes, GlobalWindow)
	b := AppendLengthPrefixed(AppendHeader(nil, beam.MinEventTime, 1, nil, beam.NoFiring), []byte("abc"))
	var e Element
	if n, err := w.Scan(b, &e); n != len(b) || err != nil {
		t.Fatal(n, err)
	}
	if e.Timestamp != beam.MinEventTime || e.WindowCount != 1 || len(e.Windows) != 0 {
		t.Errorf("%+v", e)
	}
	calls := 0
	if err := w.EachWindow(&e, func([]byte) error { calls++; return nil }); calls != 1 || err != nil {
		t.Error(calls, err)
	}
}

func TestScanRefusesBadHeaders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, hex string }{
		{"windows of unknown number", "8000000000000000 ffffffff 0f 00"},
		{"two global windows", "8000000000000000 00000002 0f 00"},
		{"pane encoding", "8000000000000000 00000001 3f 00"},
	} {
		var e Element
		if _, err := NewWindowed(Bytes, GlobalWindow).Scan(unhex(t, test.hex), &e); !isBadData(err) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestScanClampsTimestamps(t *testing.T) {
	t.Parallel()
	w := NewWindowed(Bytes, GlobalWindow)
	for _, test := range []struct {
		hex  string
		want beam.EventTime
	}{
		{"0000000000000000", beam.MinEventTime},
		{"ffffffffffffffff", beam.MaxEventTime},
	} {
		var e Element
		if _, err := w.Scan(unhex(t, test.hex+"00000001 0f 00"), &e); err != nil || e.Timestamp != test.want {
			t.Errorf("%s: %v, %v", test.hex, e.Timestamp, err)
		}
	}
}

func TestScanKeepsMetadataWithThePane(t *testing.T) {
	t.Parallel()
	w := NewWindowed(Bytes, GlobalWindow)
	raw := unhex(t, "8000000000000000 00000001 95 05 02 0801 01 61")
	var e Element
	if n, err := w.Scan(raw, &e); n != len(raw) || err != nil {
		t.Fatal(n, err)
	}
	if !bytes.Equal(e.Pane, unhex(t, "9505020801")) || !bytes.Equal(e.Value, unhex(t, "0161")) {
		t.Errorf("%+v", e)
	}
	pane, n, err := DecodePane(e.Pane)
	want := beam.Pane{First: true, Timing: beam.OnTime, Index: 5, NonSpeculative: 5}
	if pane != want || n != len(e.Pane) || err != nil {
		t.Errorf("%+v, %d, %v", pane, n, err)
	}
}

func TestParamWindowedValueTakesItsHeaderFromThePayload(t *testing.T) {
	t.Parallel()
	payload := unhex(t, "80000000000003e8 00000001 8000000000000014 0a 261e28 00")
	w, err := ParseWindowed("param", map[string]*pipepb.Coder{
		"param":  withPayload(coderProto(KindParamWindowedValue, "value", "window"), payload),
		"value":  coderProto(KindVarInt),
		"window": coderProto(KindIntervalWindow),
	})
	if err != nil {
		t.Fatal(err)
	}
	var e Element
	if n, err := w.Scan(unhex(t, "ac02 07"), &e); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if e.Timestamp != 1000 || e.WindowCount != 1 || !bytes.Equal(e.Value, unhex(t, "ac02")) || !w.Known() {
		t.Errorf("%+v", e)
	}
	full := append(bytes.Clone(payload[:len(payload)-1]), 0xac, 0x02)
	if got := AppendElement(nil, &e); !bytes.Equal(got, full) {
		t.Errorf("%x, not %x", got, full)
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	for _, test := range scanCases(t) {
		var e Element
		if got := testing.AllocsPerRun(100, func() {
			if _, err := test.coder.Scan(test.data, &e); err != nil {
				t.Error(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", test.name, got)
		}
	}
}

func TestShortScanDoesNotAllocate(t *testing.T) {
	w := NewWindowed(KVOf(Bytes, VarInt), IntervalWindow)
	b := unhex(t, windowedElement)[:20]
	var e Element
	if got := testing.AllocsPerRun(100, func() { _, _ = w.Scan(b, &e) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestAnElementHoldsNoLaterThanItsWindows: Python gives what it has combined in
// a window the window's end for a timestamp.
func TestAnElementHoldsNoLaterThanItsWindows(t *testing.T) {
	t.Parallel()
	in := func(ends ...beam.EventTime) (raw []byte) {
		for _, end := range ends {
			raw = AppendIntervalWindow(raw, beam.Window{Start: end - 10_000, End: end})
		}
		return raw
	}
	custom := simple(KindCustomWindow, Bytes)
	for name, test := range map[string]struct {
		window   *Coder
		ts, want beam.EventTime
		windows  []byte
		count    int
	}{
		"within":               {IntervalWindow, 12_345, 12_345, in(20_000), 1},
		"at the end":           {IntervalWindow, 20_000, 19_999, in(20_000), 1},
		"at a negative end":    {IntervalWindow, 0, -1, in(0), 1},
		"after one of several": {IntervalWindow, 21_000, 19_999, in(30_000, 20_000, 25_000), 3},
		"custom":               {custom, 12_345, 9_000, AppendLengthPrefixed(AppendTimestamp(nil, 9_000), []byte("w")), 1},
		"global":               {GlobalWindow, beam.MaxEventTime, beam.MaxEventTime, nil, 1},
		"before time":          {IntervalWindow, 5, beam.MinEventTime, unhex(t, "0000000000000000 01"), 1},
		"in none":              {IntervalWindow, 5, 5, nil, 0},
	} {
		raw := append(AppendHeader(nil, test.ts, test.count, test.windows, beam.NoFiring), 0)
		var e Element
		if _, err := NewWindowed(Bytes, test.window).Scan(raw, &e); err != nil || e.Timestamp != test.ts || e.Hold != test.want {
			t.Errorf("%s: at %d, held at %d (%v), want %d", name, e.Timestamp, e.Hold, err, test.want)
		}
	}
}
