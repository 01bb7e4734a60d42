package sequence

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"fresnel/connectors"
	"fresnel/connectors/expansion"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

func open(t *testing.T, s spec) (connectors.Source, connectors.Split) {
	t.Helper()
	payload, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	made, err := New().Source(connectors.Transform{URN: ReadURN, Name: "Numbers", Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
	splits, err := made.Splits(t.Context())
	if err != nil || len(splits) != 1 {
		t.Fatal(splits, err)
	}
	return made, splits[0]
}

// numbers are those in a batch, which have one event time.
func numbers(t *testing.T, b connectors.Batch) (all []int64) {
	t.Helper()
	w := coder.NewWindowed(coder.VarInt, coder.GlobalWindow)
	for rest := b.Elements; len(rest) > 0; {
		var e coder.Element
		n, err := w.Scan(rest, &e)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := coder.VarInt.Decode(e.Value)
		if err != nil || e.Timestamp != b.MinTimestamp {
			t.Fatal(v, e.Timestamp, err)
		}
		all, rest = append(all, v.(int64)), rest[n:]
	}
	if len(all) != b.Count {
		t.Errorf("%d numbers, said to be %d", len(all), b.Count)
	}
	return all
}

// TestARangeGoesOnAtAnyPosition in batches of any size, without event times.
func TestARangeGoesOnAtAnyPosition(t *testing.T) {
	t.Parallel()
	s, split := open(t, spec{Start: 5, Stop: new(int64(1000))})
	if !s.Bounded() {
		t.Error("it has no end")
	}
	at, want := split.Start, int64(5)
	for {
		r, err := s.Open(t.Context(), split, at)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Read(t.Context(), 100, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if b.Count > 0 && b.MinTimestamp != beam.MinEventTime || len(b.Elements) > 200 {
			t.Errorf("%d bytes at %v", len(b.Elements), b.MinTimestamp)
		}
		for _, n := range numbers(t, b) {
			if n != want {
				t.Fatalf("%d in place of %d", n, want)
			}
			want++
		}
		if at = b.Position; b.Done {
			break
		}
	}
	if want != 1000 {
		t.Errorf("it ends before %d", want)
	}
}

// TestARateIsKept, and made up for after a stop.
func TestARateIsKept(t *testing.T) {
	t.Parallel()
	s, split := open(t, spec{Rate: 2, Period: 10})
	if s.Bounded() {
		t.Error("it has an end")
	}
	r, err := s.Open(t.Context(), split, position{began: time.Now().Add(-time.Second).UnixMilli()}.encode())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	first, err := r.Read(t.Context(), 1<<20, time.Minute)
	if err != nil || first.Count < 200 || first.Watermark > first.MinTimestamp || first.MinTimestamp < beam.FromTime(began) {
		t.Errorf("%d after a second, watermark %v at %v: %v", first.Count, first.Watermark, first.MinTimestamp, err)
	}
	count := first.Count
	for range 5 {
		b, err := r.Read(t.Context(), 1<<20, time.Minute)
		if err != nil || b.Count == 0 || b.Done {
			t.Fatalf("%d numbers, done %v: %v", b.Count, b.Done, err)
		}
		numbers(t, b)
		count += b.Count
	}
	if most := 200 + int(time.Since(began).Milliseconds())/5 + 3; count > most {
		t.Errorf("%d numbers, more than %d", count, most)
	}
	if b, err := r.Read(t.Context(), 1<<20, 0); err != nil || b.Watermark < first.Watermark {
		t.Errorf("a watermark of %v after %v: %v", b.Watermark, first.Watermark, err)
	}
}

// TestATimeEndsASequence while it waits for the next number.
func TestATimeEndsASequence(t *testing.T) {
	t.Parallel()
	s, split := open(t, spec{Rate: 1, Period: math.MaxInt64 / 4, MaxTime: new(int64(50))})
	r, err := s.Open(t.Context(), split, split.Start)
	if err != nil {
		t.Fatal(err)
	}
	var all []int64
	for b := (connectors.Batch{}); !b.Done; {
		if b, err = r.Read(t.Context(), 1<<20, time.Minute); err != nil {
			t.Fatal(err)
		}
		all = append(all, numbers(t, b)...)
	}
	if len(all) != 1 || all[0] != 0 {
		t.Error(all)
	}
}

func TestTheGreatestNumbersAreDue(t *testing.T) {
	t.Parallel()
	r := &reader{spec: &spec{Start: math.MaxInt64 - 1, Rate: math.MaxInt64, Period: 1}, at: position{next: math.MaxInt64 - 1}}
	if due := r.dueBy(time.Now()); due != math.MaxInt64 {
		t.Error(due)
	}
	r.spec.MaxTime, r.at.began = new(int64(math.MaxInt64)), 1<<40
	if b, err := r.Read(t.Context(), 1<<20, 0); err != nil || b.Count != 1 || !b.Done {
		t.Errorf("%d numbers, done %v: %v", b.Count, b.Done, err)
	}
}

func TestPositionsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	s, split := open(t, spec{})
	for _, bad := range [][]byte{nil, {1}, position{next: -1}.encode(), position{began: math.MaxInt64}.encode()} {
		if _, err := s.Open(t.Context(), split, bad); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}

// TestWhatCannotBeExpanded names what is wrong with it.
func TestWhatCannotBeExpanded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config map[string]any
		told   string
	}{
		"a start below 0":   {map[string]any{"start": int64(-1)}, "start"},
		"a stop before":     {map[string]any{"start": int64(5), "stop": int64(4)}, "stop"},
		"a rate below 0":    {map[string]any{"start": int64(0), "elements_per_period": int64(-1)}, "elements_per_period"},
		"no period":         {map[string]any{"start": int64(0), "elements_per_period": int64(1), "period": int64(0)}, "period"},
		"a time below 0":    {map[string]any{"start": int64(0), "max_read_time": int64(-1)}, "max_read_time"},
		"what is no number": {map[string]any{"start": "one"}, "start"},
		"what is not known": {map[string]any{"start": int64(0), "colour": "red"}, "colour"},
	} {
		_, err := expand(context.Background(), &expansion.Request{Config: expansion.NewConfig(c.config)})
		if beam.CodeOf(err) != beam.InvalidPipeline && beam.CodeOf(err) != beam.Unsupported || !strings.Contains(err.Error(), c.told) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := expand(context.Background(), &expansion.Request{Config: expansion.NewConfig(map[string]any{"start": int64(1), "stop": int64(10)})})
	if err != nil || !e.Bounded || e.URN != ReadURN {
		t.Errorf("%+v, %v", e, err)
	}
}
