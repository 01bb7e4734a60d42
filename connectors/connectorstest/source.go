package connectorstest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// SourceCase is a source under test: one split of records whose values can be
// told apart.
type SourceCase struct {
	Connector connectors.Connector
	Transform connectors.Transform
	// Coder of the elements, and how a decoded value is rendered.
	Coder  *coder.Coder
	Render func(v any) string
	// Append adds records to what the source reads; they render as texts.
	Append func(t testing.TB, texts ...string)
	// Stop and Start take the server away and back; nil: not tried.
	Stop, Start func(t testing.TB)
}

// Source runs the suite; open makes a case with nothing to read yet.
func Source(t *testing.T, open func(t *testing.T) SourceCase) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *SourceCase)
	}{
		{"EveryRecordOnceAndInOrder", readInOrder},
		{"GoesOnAtAnyPosition", resume},
		{"BatchesKeepToTheAskedSize", backpressure},
		{"TheWatermarkKeepsItsPromise", watermark},
		{"WaitsWithoutRecordsAndIsCancelled", idle},
		{"AServerThatIsDownIsUnavailable", outage},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := open(t)
			test.run(t, &c)
		})
	}
}

func numbered(from, to int) []string {
	out := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("record-%06d", i))
	}
	return out
}

// start opens the source and its one split.
func (c *SourceCase) start(t *testing.T) (connectors.Source, connectors.Split) {
	t.Helper()
	s, err := c.Connector.Source(c.Transform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	splits, err := eventually(t, func() ([]connectors.Split, error) { return s.Splits(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	if len(splits) != 1 {
		t.Fatalf("%d splits", len(splits))
	}
	return s, splits[0]
}

func openAt(t *testing.T, s connectors.Source, split connectors.Split, at []byte) connectors.Reader {
	t.Helper()
	r, err := s.Open(t.Context(), split, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// patience bounds how long records are waited for.
const patience = 30 * time.Second

// take reads until n elements are there, or the split is done.
func (c *SourceCase) take(t *testing.T, r connectors.Reader, n, maxBytes int) ([]Element, []connectors.Batch) {
	t.Helper()
	var elements []Element
	var batches []connectors.Batch
	deadline := time.Now().Add(patience)
	for len(elements) < n {
		b, err := r.Read(t.Context(), maxBytes, 200*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, c.Coder, c.Render, b.Elements)
		if len(got) != b.Count {
			t.Fatalf("%d elements where the batch says %d", len(got), b.Count)
		}
		for _, e := range got {
			if e.Timestamp < b.MinTimestamp {
				t.Fatalf("an element at %v, the batch says %v", e.Timestamp, b.MinTimestamp)
			}
		}
		elements, batches = append(elements, got...), append(batches, b)
		if b.Done || time.Now().After(deadline) {
			break
		}
	}
	return elements, batches
}

func readInOrder(t *testing.T, c *SourceCase) {
	want := numbered(0, 5000)
	c.Append(t, want...)
	s, split := c.start(t)
	got, _ := c.take(t, openAt(t, s, split, split.Start), len(want), 1<<20)
	if !slices.Equal(texts(got), want) {
		t.Errorf("%d elements, or in another order", len(got))
	}
}

func resume(t *testing.T, c *SourceCase) {
	want := numbered(0, 300)
	c.Append(t, want...)
	s, split := c.start(t)
	_, batches := c.take(t, openAt(t, s, split, split.Start), len(want), 700)
	passed := 0
	for i, b := range batches {
		passed += b.Count
		if i%7 != 0 {
			continue
		}
		again := openAt(t, s, split, b.Position)
		got, _ := c.take(t, again, len(want)-passed, 1<<20)
		if !slices.Equal(texts(got), want[passed:]) {
			t.Fatalf("after %d records, %d follow: %v", passed, len(got), texts(got)[:min(len(got), 3)])
		}
		_ = again.Close()
	}
}

func backpressure(t *testing.T, c *SourceCase) {
	want := numbered(0, 2000)
	c.Append(t, want...)
	s, split := c.start(t)
	const most, largest = 4096, 200
	got, batches := c.take(t, openAt(t, s, split, split.Start), len(want), most)
	for _, b := range batches {
		if len(b.Elements) > most+largest {
			t.Errorf("a batch of %d bytes where %d were asked for", len(b.Elements), most)
		}
	}
	if !slices.Equal(texts(got), want) {
		t.Errorf("%d elements, or in another order", len(got))
	}
}

func watermark(t *testing.T, c *SourceCase) {
	s, split := c.start(t)
	c.Append(t, numbered(0, 100)...)
	r := openAt(t, s, split, split.Start)
	last := beam.MinEventTime
	for range 2 {
		_, batches := c.take(t, r, 100, 512)
		for _, b := range batches {
			if b.Count > 0 && b.MinTimestamp < last {
				t.Fatalf("an element at %v behind the watermark %v", b.MinTimestamp, last)
			}
			if b.Watermark < last {
				t.Fatalf("the watermark moves from %v back to %v", last, b.Watermark)
			}
			last = b.Watermark
		}
		if s.Bounded() {
			break
		}
		c.Append(t, numbered(100, 200)...)
	}
}

func idle(t *testing.T, c *SourceCase) {
	s, split := c.start(t)
	if s.Bounded() {
		t.Skip("a bounded source ends")
	}
	r := openAt(t, s, split, split.Start)
	for range 3 {
		begin := time.Now()
		b, err := r.Read(t.Context(), 1<<20, 100*time.Millisecond)
		if err != nil || b.Count != 0 || b.Position == nil {
			t.Fatalf("%+v, %v", b, err)
		}
		if d := time.Since(begin); d < 90*time.Millisecond || d > 2*time.Second {
			t.Errorf("an empty read took %v", d)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := r.Read(ctx, 1<<20, time.Minute); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("a cancelled read took %v", d)
	}
	c.Append(t, "late")
	if got, _ := c.take(t, r, 1, 1<<20); len(got) != 1 || got[0].Text != "late" {
		t.Errorf("then %v", got)
	}
}

func outage(t *testing.T, c *SourceCase) {
	if c.Stop == nil {
		t.Skip("the server stays")
	}
	c.Append(t, numbered(0, 10)...)
	s, split := c.start(t)
	r := openAt(t, s, split, split.Start)
	first, _ := c.take(t, r, 10, 1<<20)
	c.Stop(t)
	fresh, err := c.Connector.Source(c.Transform)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if _, err := fresh.Splits(t.Context()); beam.CodeOf(err) != beam.Unavailable {
		t.Errorf("splits of a server that is down: %v", err)
	} else {
		t.Log(err)
	}
	awaitUnavailable(t, r)
	c.Start(t)
	c.Append(t, numbered(10, 20)...)
	if _, err := eventually(t, func() (struct{}, error) { _, err := fresh.Splits(t.Context()); return struct{}{}, err }); err != nil {
		t.Errorf("splits of a server that is back: %v", err)
	}
	got, err := eventually(t, func() ([]Element, error) { return c.tryTake(t, r, 10) })
	if err != nil || !slices.Equal(texts(got), numbered(10, 20)) {
		t.Errorf("after %d elements and an outage: %v, %v", len(first), texts(got), err)
	}
}

// awaitUnavailable reads until the reader notices.
func awaitUnavailable(t *testing.T, r connectors.Reader) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if _, err := r.Read(t.Context(), 1<<20, 100*time.Millisecond); err != nil {
			if beam.CodeOf(err) != beam.Unavailable {
				t.Errorf("reading from a server that is down: %v", err)
			}
			return
		}
	}
	t.Error("the reader does not notice that the server is down")
}

// tryTake is take that gives errors back.
func (c *SourceCase) tryTake(t *testing.T, r connectors.Reader, n int) ([]Element, error) {
	t.Helper()
	var out []Element
	for len(out) < n {
		b, err := r.Read(t.Context(), 1<<20, 200*time.Millisecond)
		if err != nil {
			return nil, err
		}
		out = append(out, decode(t, c.Coder, c.Render, b.Elements)...)
	}
	return out, nil
}

// eventually tries again while the error is one that the runner retries.
func eventually[T any](t *testing.T, f func() (T, error)) (T, error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		v, err := f()
		if err == nil || beam.CodeOf(err) != beam.Unavailable || time.Now().After(deadline) {
			return v, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			return v, err
		}
	}
}
