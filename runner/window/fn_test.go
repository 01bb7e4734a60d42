package window

import (
	"math"
	"slices"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

func fn(text string) Fn { return newStrategy(map[string]string{"window": text}).Fn() }

func TestAssign(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fn   string
		ts   beam.EventTime
		want []beam.Window
	}{
		{"global", 5, []beam.Window{beam.GlobalWindow}},
		{"fixed(10ms)", 0, []beam.Window{{Start: 0, End: 10}}},
		{"fixed(10ms)", 9, []beam.Window{{Start: 0, End: 10}}},
		{"fixed(10ms)", -1, []beam.Window{{Start: -10, End: 0}}},
		{"fixed(10ms)", -10, []beam.Window{{Start: -10, End: 0}}},
		{"fixed(10ms at 3ms)", 2, []beam.Window{{Start: -7, End: 3}}},
		{"fixed(10ms at 3ms)", 3, []beam.Window{{Start: 3, End: 13}}},
		{"fixed(10ms at -7ms)", 3, []beam.Window{{Start: 3, End: 13}}},
		{"fixed(10ms at 23ms)", 2, []beam.Window{{Start: -7, End: 3}}},
		{"sliding(20ms every 10ms)", 15, []beam.Window{{Start: 10, End: 30}, {Start: 0, End: 20}}},
		{"sliding(20ms every 10ms)", -1, []beam.Window{{Start: -10, End: 10}, {Start: -20, End: 0}}},
		{"sliding(25ms every 10ms at 1ms)", 0, []beam.Window{{Start: -9, End: 16}, {Start: -19, End: 6}}},
		{"sliding(5ms every 10ms)", 4, []beam.Window{{Start: 0, End: 5}}},
		{"sliding(5ms every 10ms)", 5, nil},
		{"sessions(10ms)", 7, []beam.Window{{Start: 7, End: 17}}},
		{"fixed(10ms)", beam.EndOfGlobalWindow, []beam.Window{{Start: beam.EndOfGlobalWindow - 5, End: beam.EndOfGlobalWindow + 1}}},
		{"sessions(10ms)", beam.EndOfGlobalWindow, []beam.Window{{Start: beam.EndOfGlobalWindow, End: beam.EndOfGlobalWindow + 1}}},
		{"sessions(10ms)", beam.MaxEventTime, []beam.Window{{Start: beam.MaxEventTime, End: beam.MaxEventTime + 1}}},
	} {
		if got := fn(c.fn).Assign(nil, c.ts); !slices.Equal(got, c.want) {
			t.Errorf("%s at %d: %v, want %v", c.fn, int64(c.ts), got, c.want)
		}
	}
}

// Whatever the instant, the windows that hold it are found, and no other.
func TestAssignedWindowsHoldTheInstant(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"fixed(7ms at 3ms)", "sliding(20ms every 3ms at 1ms)", "sessions(4ms)"} {
		f := fn(text)
		want := map[Kind]int64{Fixed: 1, Session: 1, Sliding: int64(f.Size / max(f.Period, 1))}[f.Kind]
		for ts := beam.EventTime(-100); ts < 100; ts++ {
			windows := f.Assign(nil, ts)
			if n := int64(len(windows)); n != want && n != want+1 {
				t.Fatalf("%s at %d: %d windows", text, int64(ts), n)
			}
			for _, w := range windows {
				if ts < w.Start || ts >= w.End || w.End-w.Start != beam.EventTime(f.Size.Milliseconds()) {
					t.Fatalf("%s at %d: %v", text, int64(ts), w)
				}
			}
		}
	}
}

func TestAssignAtTheBounds(t *testing.T) {
	t.Parallel()
	for _, f := range []Fn{fn("fixed(10s)"), fn("sliding(1h every 1s)"), fn("sessions(1h)"), {Kind: Fixed, Size: math.MaxInt64 / 4}} {
		for _, ts := range []beam.EventTime{beam.MinEventTime, beam.MaxEventTime, beam.EndOfGlobalWindow} {
			for _, w := range f.Assign(nil, ts) {
				if ts < w.Start || ts >= w.End {
					t.Errorf("%s at %s: %v", f.describe(), ts, w)
				}
			}
		}
	}
}

func TestRewindow(t *testing.T) {
	t.Parallel()
	in := coder.NewWindowed(coder.StringUTF8, coder.GlobalWindow)
	pane := beam.Pane{Timing: beam.Late, Index: 3, NonSpeculative: 1}
	var block []byte
	for _, ts := range []beam.EventTime{12, 3, 5, 4} {
		block = coder.AppendHeader(block, ts, 1, nil, pane)
		block = coder.AppendLengthPrefixed(block, []byte("v"))
	}
	out, count, least, err := fn("sliding(5ms every 10ms)").Rewindow([]byte("before"), in, block)
	if err != nil || count != 3 || least != 3 || string(out[:6]) != "before" {
		t.Fatalf("count %d, least %d, %v", count, int64(least), err)
	}
	var times []beam.EventTime
	to := coder.NewWindowed(coder.StringUTF8, coder.IntervalWindow)
	for rest := out[6:]; len(rest) > 0; {
		var e coder.Element
		n, err := to.Scan(rest, &e)
		must(err)
		rest = rest[n:]
		w, _, _ := coder.DecodeIntervalWindow(e.Windows)
		p, _, _ := coder.DecodePane(e.Pane)
		if e.Timestamp < w.Start || e.Timestamp >= w.End || p != pane || string(e.Value) != "\x01v" {
			t.Errorf("%d in %v, pane %v", int64(e.Timestamp), w, p)
		}
		times = append(times, e.Timestamp)
	}
	if !slices.Equal(times, []beam.EventTime{12, 3, 4}) {
		t.Error(times)
	}
}

func TestRewindowRefuses(t *testing.T) {
	t.Parallel()
	in := coder.NewWindowed(coder.StringUTF8, coder.GlobalWindow)
	if _, _, _, err := (Fn{Kind: Custom, URN: "some"}).Rewindow(nil, in, nil); beam.CodeOf(err) != beam.Internal || err == nil {
		t.Error(err)
	}
	if _, _, _, err := fn("global").Rewindow(nil, in, []byte{1, 2, 3}); beam.CodeOf(err) != beam.BadData {
		t.Error(err)
	}
}

// aThousand are elements in the global window, a tenth of a second apart.
func aThousand() (in *coder.Windowed, block []byte) {
	for i := range 1000 {
		block = coder.AppendHeader(block, beam.EventTime(i*100), 1, nil, beam.NoFiring)
		block = coder.AppendLengthPrefixed(block, []byte("value"))
	}
	return coder.NewWindowed(coder.StringUTF8, coder.GlobalWindow), block
}

func TestRewindowDoesNotAllocate(t *testing.T) {
	f := fn("fixed(10s)")
	in, block := aThousand()
	out := make([]byte, 0, 2*len(block))
	// The few are for the windows kept, not for the elements.
	if n := testing.AllocsPerRun(10, func() { out, _, _, _ = f.Rewindow(out[:0], in, block) }); n > 5 {
		t.Errorf("%g allocations for 1000 elements", n)
	}
}

func TestRewindowedSize(t *testing.T) {
	t.Parallel()
	in, block := aThousand()
	for _, name := range []string{"global", "fixed(10s)", "fixed(24h)", "sliding(24h every 8h)", "sliding(60s every 20s)", "sliding(5ms every 10ms)", "sessions(5s)"} {
		out, _, _, err := fn(name).Rewindow(nil, in, block)
		must(err)
		if size := fn(name).RewindowedSize(len(block), 1000); size < len(out) || size > 2*max(len(out), len(block)) {
			t.Errorf("%s: %d for %d bytes", name, size, len(out))
		}
	}
	if size := (Fn{Kind: Sliding, Size: math.MaxInt64, Period: math.MaxInt64}).RewindowedSize(0, 1); size < 0 {
		t.Error(size)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	at := func(s float64) instant { return instant(s * 1e6) }
	for _, c := range []struct {
		text      string
		from, due float64
	}{
		{"delay", 7, 7},
		{"delay(+5s)", 7, 12},
		{"delay(+5s, +1s)", 7, 13},
		{"delay(aligned to 10s)", 7, 10},
		{"delay(aligned to 10s)", 10, 10},
		{"delay(aligned to 10s)", 10.000001, 20},
		{"delay(aligned to 10s at 3s)", 10, 13},
		{"delay(aligned to 10s at 13s)", 2, 3},
		{"delay(aligned to 10s at -7s)", 2, 3},
		{"delay(aligned to 10s at 3s)", -8, -7},
		{"delay(+5s, aligned to 10s)", 7, 20},
	} {
		n := newStrategy(map[string]string{"trigger": c.text}).trigger.nodes[0]
		if got := n.due(at(c.from)); got != at(c.due) {
			t.Errorf("%s from %g: %g, want %g", c.text, c.from, float64(got)/1e6, c.due)
		}
	}
	far := node{delay: []delay{{add: maxDelay * 1000}, {period: maxDelay * 1000}}}
	if due := far.due(never - 5); due != never-1 {
		t.Errorf("far: %d", due)
	}
	if got := instantOf(time.UnixMicro(-5)).time(); got != time.UnixMicro(-5) {
		t.Error(got)
	}
}
