package kafka

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/connectors"
	"fresnel/integration/parts"
	"fresnel/internal/beam"
)

func TestEveryPartitionBelongsToOneSplit(t *testing.T) {
	t.Parallel()
	var all []topicPartition
	for topic, count := range []int32{3, 1, 4} {
		for p := range count {
			all = append(all, topicPartition{fmt.Sprintf("t%d", topic), p})
		}
	}
	for _, splits := range []int{1, len(all)} {
		owners, first := map[topicPartition]int{}, map[topicPartition]int{}
		for split := range splits {
			at := startPosition(all, map[topicPartition]int64{all[0]: 7}, split, splits)
			for tp := range at.offsets() {
				first[tp]++
			}
			added := at.grow("t0", 20) + at.grow("t2", 5) + at.grow("t1", 1) + at.grow("unknown", 9)
			again, err := decodePosition(at.encode())
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for tp, offset := range again.offsets() {
				owners[tp]++
				n++
				if want := map[topicPartition]int64{all[0]: 7}[tp]; offset != want {
					t.Errorf("%v begins at %d", tp, offset)
				}
			}
			if splits > 1 && n-added != 1 {
				t.Errorf("split %d begins with %d partitions", split, n-added)
			}
		}
		if len(first) != len(all) || len(owners) != 20+1+5 {
			t.Errorf("%d splits: %d partitions, then %d", splits, len(first), len(owners))
		}
		for tp, n := range owners {
			if n != 1 {
				t.Errorf("%v belongs to %d splits", tp, n)
			}
		}
	}
}

func FuzzPosition(f *testing.F) {
	at := startPosition([]topicPartition{{"a", 0}, {"a", 1}, {"b", 0}}, map[topicPartition]int64{{"a", 1}: 300}, 1, 3)
	f.Add(at.encode())
	f.Add([]byte{1, 0, 1, 5, 7, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePosition(b)
		if err != nil {
			return
		}
		again, err := decodePosition(p.encode())
		if err != nil || !bytes.Equal(again.encode(), p.encode()) {
			t.Errorf("%+v becomes %+v, %v", p, again, err)
		}
		for tp := range p.offsets() {
			if tp.partition < 0 {
				t.Errorf("%+v has %v", p, tp)
			}
		}
	})
}

// addPartitions gives a topic more partitions.
func addPartitions(t testing.TB, k *parts.Kafka, topic string, count int) {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(k.Addr()), Transport: transport, Timeout: 10 * time.Second}
	res, err := client.CreatePartitions(t.Context(), &kafkago.CreatePartitionsRequest{
		Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: int32(count)}}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err == nil {
		err = k.MakeTopic(t.Context(), topic, count) // it waits for leaders
	}
	if err != nil {
		t.Fatal(err)
	}
}

// group reads all splits as a job does: positions are what is committed, and a
// failed reader is opened again there.
type group struct {
	t       *testing.T
	source  connectors.Source
	splits  []connectors.Split
	at      [][]byte
	readers []connectors.Reader
	values  []string
	// failures counts the reads that were tried again.
	failures int
	last     error // of them
	marks    []beam.EventTime
}

func newGroup(t *testing.T, s connectors.Source, splits []connectors.Split) *group {
	g := &group{t: t, source: s, splits: splits, readers: make([]connectors.Reader, len(splits)), marks: make([]beam.EventTime, len(splits))}
	for i, split := range splits {
		g.at = append(g.at, split.Start)
		g.marks[i] = beam.MinEventTime
	}
	t.Cleanup(g.close)
	return g
}

func (g *group) close() {
	for i, r := range g.readers {
		if r != nil {
			_ = r.Close()
		}
		g.readers[i] = nil
	}
}

// read takes values until there are n.
func (g *group) read(n int) {
	g.t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for len(g.values) < n {
		if time.Now().After(deadline) {
			g.t.Fatalf("%d of %d values after %d failures", len(g.values), n, g.failures)
		}
		for i := range g.splits {
			g.readSplit(i)
		}
	}
}

func (g *group) readSplit(i int) {
	g.t.Helper()
	if g.readers[i] == nil {
		r, err := g.source.Open(g.t.Context(), g.splits[i], g.at[i])
		if err != nil {
			g.t.Fatal(err)
		}
		g.readers[i], g.marks[i] = r, beam.MinEventTime
	}
	b, err := g.readers[i].Read(g.t.Context(), 1<<20, 20*time.Millisecond)
	if err != nil {
		if beam.CodeOf(err) != beam.Unavailable {
			g.t.Fatal(err)
		}
		g.failures, g.last = g.failures+1, err
		_ = g.readers[i].Close()
		g.readers[i] = nil
		time.Sleep(50 * time.Millisecond)
		return
	}
	if b.Watermark < g.marks[i] {
		g.t.Errorf("split %d: the watermark moves from %v back to %v", i, g.marks[i], b.Watermark)
	}
	g.at[i], g.marks[i] = b.Position, b.Watermark
	g.values = append(g.values, valuesOf(g.t, b)...)
}

func TestPartitionsThatAreAddedAreReadOnceAndFromTheirBeginning(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	tr := readTransform(t, k, topic, func(r *readSpec) {
		r.Consumer["auto.offset.reset"], r.Policy = "latest", createTime
		r.Consumer["group.id"], r.Commit = "group-of-"+topic, true
	})
	feed(t, k, topic, 0, "before the job")
	s, splits := openSource(t, tr)
	s.(*source).discoverEvery = 100 * time.Millisecond
	g := newGroup(t, s, splits)
	feed(t, k, topic, 1, "old partition")
	g.read(1)
	addPartitions(t, k, topic, 5)
	want := []string{"old partition"}
	for p := range 5 {
		v := fmt.Sprintf("then in partition %d", p)
		want = append(want, v)
		feed(t, k, topic, p, v)
	}
	g.read(len(want))
	g.close() // the job starts again at its positions
	feed(t, k, topic, 4, "after the job was started again")
	g.read(len(want) + 1)
	want = append(want, "after the job was started again")
	slices.Sort(g.values)
	slices.Sort(want)
	if !slices.Equal(g.values, want) {
		t.Errorf("%q", g.values)
	}
	committed := map[topicPartition]int64{}
	for i, split := range splits {
		err := s.Committed(t.Context(), split, g.at[i])
		for beam.CodeOf(err) == beam.Unavailable && err != nil {
			time.Sleep(100 * time.Millisecond) // the group's coordinator starts
			err = s.Committed(t.Context(), split, g.at[i])
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := decodePosition(g.at[i])
		if err != nil {
			t.Fatal(err)
		}
		maps.Insert(committed, p.offsets())
	}
	all, err := s.(*source).partitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there, err := s.(*source).committed(t.Context(), all)
	if err != nil || len(there) != 5 || there[topicPartition{topic, 4}] != 2 || fmt.Sprint(there) != fmt.Sprint(committed) {
		t.Errorf("the group has %v, the job %v, %v", there, committed, err)
	}
}

func TestASplitIsReadFairly(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	line := strings.Repeat("x", 1000)
	for range 10 {
		feed(t, k, topic, 0, slices.Repeat([]string{line}, 500)...)
	}
	feed(t, k, topic, 1, "small")
	s, splits := openSource(t, readTransform(t, k, topic, func(r *readSpec) { r.MaxRecords = 5001 }))
	r, err := s.Open(t.Context(), splits[0], splits[0].Start)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := 0
	for {
		b, err := r.Read(t.Context(), 100_000, 5*time.Second)
		if err != nil || b.Done {
			t.Fatalf("%+v, %v", b, err)
		}
		if slices.Contains(valuesOf(t, b), "small") {
			break
		}
		read += b.Count
	}
	if read > 4000 {
		t.Errorf("%d records of the large partition came before the small one's", read)
	}
}

func TestABrokerThatComesBackIsReadOnWithoutLossOrDoubles(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 3)
	s, splits := openSource(t, readTransform(t, k, topic, nil))
	g := newGroup(t, s, splits)
	var want []string
	for i := range 30 {
		v := fmt.Sprintf("value-%02d", i)
		want = append(want, v)
		feed(t, k, topic, i%3, v)
		if i == 15 {
			g.read(10)
			k.Kill()
			for g.failures == 0 { // it is noticed
				for split := range splits {
					g.readSplit(split)
				}
			}
			if err := k.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	g.read(len(want))
	slices.Sort(g.values)
	if !slices.Equal(g.values, want) {
		t.Errorf("%q", g.values)
	}
}

// TestAReaderOfCommittedRecordsSeesNoAbortedOnes reads what the sink of this
// package wrote and gave up.
func TestAReaderOfCommittedRecordsSeesNoAbortedOnes(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	o := outboxOf(t, durableSink(t, k, topic, nil), 1)
	if err := o.Send(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	begun(t, o.Writer.(*exactlyOnce), 2)
	o.Writer = nil
	if err := o.Send(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for isolation, count := range map[string]int{"read_committed": 10, "read_uncommitted": 15} {
		s, splits := openSource(t, readTransform(t, k, topic, func(r *readSpec) { r.Consumer["isolation.level"] = isolation }))
		g := newGroup(t, s, splits)
		g.read(count)
		for range 5 {
			for i := range splits {
				g.readSplit(i)
			}
		}
		if len(g.values) != count {
			t.Errorf("%s: %d values, want %d", isolation, len(g.values), count)
		}
	}
}
