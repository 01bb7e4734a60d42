package connectorstest

import (
	"slices"
	"strings"
	"testing"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// SinkCase is a sink under test, into an empty place.
type SinkCase struct {
	Connector connectors.Connector
	Transform connectors.Transform
	// Encode makes an element that shows in the server as text.
	Encode func(t testing.TB, text string) []byte
	// Refused is an element that the server refuses, nil if there is none.
	Refused []byte
	// RefusedText is what the error must name of it.
	RefusedText string
	// Contents returns what the server shows, in the order of writing.
	Contents func(t testing.TB) []string
	// Stop and Start take the server away and back; nil: not tried.
	Stop, Start func(t testing.TB)
}

// Sink runs the suite; open makes a case whose place is empty.
func Sink(t *testing.T, open func(t *testing.T) SinkCase) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *SinkCase)
	}{
		{"EntriesAreThereInOrder", writeInOrder},
		{"AnEntryWithOneRow", writeOne},
		{"ALargeEntry", writeLarge},
		{"ARowThatIsRefusedIsNamed", refused},
		{"AServerThatIsDownIsUnavailable", sinkOutage},
		{"AnEntryThatIsSentAgainIsThereOnce", sentAgain},
		{"AnOlderOwnerIsFenced", fenced},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := open(t)
			test.run(t, &c)
		})
	}
}

func (c *SinkCase) open(t *testing.T) connectors.Sink {
	t.Helper()
	s, err := c.Connector.Sink(c.Transform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if rows, bytes := s.MaxEntry(); s.Shards() < 1 || rows < 1 || bytes < 1 {
		t.Fatalf("%d shards, entries of %d rows and %d bytes", s.Shards(), rows, bytes)
	}
	return s
}

func (c *SinkCase) writer(t *testing.T, s connectors.Sink, epoch int64) (connectors.Writer, int64) {
	t.Helper()
	type opened struct {
		w    connectors.Writer
		last int64
	}
	o, err := eventually(t, func() (opened, error) {
		w, last, err := s.Open(t.Context(), 0, epoch)
		return opened{w, last}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.w.Close() })
	return o.w, o.last
}

func (c *SinkCase) entry(t *testing.T, texts ...string) [][]byte {
	t.Helper()
	out := make([][]byte, len(texts))
	for i, text := range texts {
		out[i] = c.Encode(t, text)
	}
	return out
}

// write sends an entry until it is there, as the runner does.
func (c *SinkCase) write(t *testing.T, w connectors.Writer, n int64, texts ...string) {
	t.Helper()
	entry := c.entry(t, texts...)
	if _, err := eventually(t, func() (struct{}, error) { return struct{}{}, w.Write(t.Context(), n, entry) }); err != nil {
		t.Fatal(err)
	}
}

func (c *SinkCase) shows(t *testing.T, want []string) {
	t.Helper()
	if got := c.Contents(t); !slices.Equal(got, want) {
		t.Errorf("the server shows %d rows where %d were written, or others: %v", len(got), len(want), got[:min(len(got), 5)])
	}
}

func writeInOrder(t *testing.T, c *SinkCase) {
	w, _ := c.writer(t, c.open(t), 1)
	all := numbered(0, 500)
	n := int64(0)
	for part := range slices.Chunk(all, 70) {
		n++
		c.write(t, w, n, part...)
	}
	c.shows(t, all)
}

func writeOne(t *testing.T, c *SinkCase) {
	w, _ := c.writer(t, c.open(t), 1)
	c.write(t, w, 1, "alone")
	c.shows(t, []string{"alone"})
}

func writeLarge(t *testing.T, c *SinkCase) {
	s := c.open(t)
	w, _ := c.writer(t, s, 1)
	rows, _ := s.MaxEntry()
	all := numbered(0, min(rows, 20_000))
	c.write(t, w, 1, all...)
	c.shows(t, all)
}

func refused(t *testing.T, c *SinkCase) {
	if c.Refused == nil {
		t.Skip("the server takes everything")
	}
	w, _ := c.writer(t, c.open(t), 1)
	entry := append(c.entry(t, numbered(0, 50)...), c.Refused)
	err := w.Write(t.Context(), 1, append(entry, c.entry(t, "behind it")...))
	if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), c.RefusedText) {
		t.Fatalf("a refused row: %v", err)
	}
	t.Log(err)
	c.shows(t, nil) // all or nothing
	c.write(t, w, 1, "another")
	c.shows(t, []string{"another"})
}

func sinkOutage(t *testing.T, c *SinkCase) {
	if c.Stop == nil {
		t.Skip("the server stays")
	}
	s := c.open(t)
	w, _ := c.writer(t, s, 1)
	c.write(t, w, 1, "before")
	if err := probe(t, c.open(t)); err != nil {
		t.Errorf("asking a server that is there: %v", err)
	}
	c.Stop(t)
	if err := probe(t, c.open(t)); beam.CodeOf(err) != beam.Unavailable {
		t.Errorf("asking a server that is down: %v", err)
	}
	entry := c.entry(t, "during")
	if err := w.Write(t.Context(), 2, entry); beam.CodeOf(err) != beam.Unavailable {
		t.Errorf("writing to a server that is down: %v", err)
	}
	if _, _, err := s.Open(t.Context(), 1, 1); beam.CodeOf(err) != beam.Unavailable {
		t.Errorf("opening a server that is down: %v", err)
	} else {
		t.Log(err)
	}
	c.Start(t)
	if _, err := eventually(t, func() (struct{}, error) { return struct{}{}, w.Write(t.Context(), 2, entry) }); err != nil {
		t.Fatal(err)
	}
	c.shows(t, []string{"before", "during"})
}

func probe(t *testing.T, s connectors.Sink) error {
	p, ok := s.(connectors.Prober)
	if !ok {
		t.Skip("the sink cannot be asked")
	}
	return p.Probe(t.Context())
}

// sentAgain tries what the runner does after a crash: the entries that it does
// not know to be there are sent by a new owner.
func sentAgain(t *testing.T, c *SinkCase) {
	c.Transform.Durable = true
	s := c.open(t)
	w, last := c.writer(t, s, 1)
	if last > 0 {
		t.Fatalf("entry %d is there already", last)
	}
	for n, text := range []string{"one", "two", "three"} {
		c.write(t, w, int64(n+1), text)
	}
	if err := w.Write(t.Context(), 3, c.entry(t, "three")); err != nil {
		t.Errorf("the same entry again: %v", err)
	}
	again, last := c.writer(t, c.open(t), 2)
	if last == connectors.NoProgress {
		t.Skip("the sink keeps no progress")
	}
	if last != 3 {
		t.Errorf("the last entry is %d, want 3", last)
	}
	for n, text := range []string{"two", "three", "four"} {
		c.write(t, again, int64(n+2), text)
	}
	c.shows(t, []string{"one", "two", "three", "four"})
}

func fenced(t *testing.T, c *SinkCase) {
	c.Transform.Durable = true
	s := c.open(t)
	older, _ := c.writer(t, s, 1)
	c.write(t, older, 1, "older")
	newer, last := c.writer(t, s, 2)
	if last == connectors.NoProgress {
		t.Skip("the sink keeps no progress")
	}
	if err := older.Write(t.Context(), 2, c.entry(t, "fenced")); err == nil || beam.CodeOf(err) == beam.Unavailable {
		t.Errorf("an older owner writes: %v", err)
	} else {
		t.Log(err)
	}
	c.write(t, newer, 2, "newer")
	if _, _, err := s.Open(t.Context(), 0, 1); err == nil {
		t.Error("an older owner opens the shard again")
	}
	c.shows(t, []string{"older", "newer"})
}
