package kafka

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/connectors"
	"fresnel/connectors/connectorstest"
	"fresnel/integration/parts"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// The tests here use a real broker, one for all of them.
var shared struct {
	once   sync.Once
	broker *parts.Kafka
	dir    string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.broker != nil {
		shared.broker.Stop()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

func broker(t testing.TB) *parts.Kafka {
	t.Helper()
	if testing.Short() {
		t.Skip("a real Kafka broker")
	}
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "fresnel-kafka-"); shared.err == nil { //nolint:usetesting // it outlives the test that happens to start it
			shared.broker, shared.err = parts.LaunchKafka(shared.dir, filepath.Join(shared.dir, "log"),
				"transaction.abort.timed.out.transaction.cleanup.interval.ms=500")
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.broker
}

var topics atomic.Int64

// newTopic makes a topic of its own for a test.
func newTopic(t testing.TB, k *parts.Kafka, partitions int) string {
	t.Helper()
	name := fmt.Sprintf("topic-%d", topics.Add(1))
	var err error
	for range 60 { // a broker that has just come back, on a busy machine, is not at once itself
		if err = k.MakeTopic(context.Background(), name, partitions); err == nil {
			return name
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatal(err)
	return ""
}

// feed writes records with the client library, each with key "key".
func feed(t testing.TB, k *parts.Kafka, topic string, partition int, values ...string) {
	t.Helper()
	transport := &kafkago.Transport{MetadataTopics: []string{topic}} // new: the shared one's metadata are seconds old
	defer transport.CloseIdleConnections()
	w := &kafkago.Writer{Addr: kafkago.TCP(k.Addr()), Topic: topic, BatchTimeout: time.Millisecond, BatchSize: 1000, Transport: transport,
		RequiredAcks: kafkago.RequireAll, Balancer: kafkago.BalancerFunc(func(kafkago.Message, ...int) int { return partition })}
	defer w.Close()
	messages := make([]kafkago.Message, len(values))
	for i, v := range values {
		messages[i] = kafkago.Message{Key: []byte("key"), Value: []byte(v)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		err := w.WriteMessages(ctx, messages...)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "Leader") && !strings.Contains(err.Error(), "Topic") {
			t.Fatal(err)
		}
	}
	t.Fatal(ctx.Err())
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// readTransform is a native read of a topic from its beginning.
func readTransform(t testing.TB, k *parts.Kafka, topic string, change func(*readSpec)) connectors.Transform {
	t.Helper()
	spec := readSpec{
		Consumer: map[string]string{"bootstrap.servers": k.Addr(), "auto.offset.reset": "earliest"},
		Topics:   []string{topic},
		Format:   format{Key: byteArray, Value: byteArray},
		Policy:   processingTime,
	}
	if change != nil {
		change(&spec)
	}
	payload, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return connectors.Transform{URN: ReadURN, Payload: payload, Name: "Read logs"}
}

func renderValue(v any) string {
	switch v := v.(type) {
	case coder.KV:
		b, _ := v.Value.([]byte)
		return string(b)
	case coder.Row:
		b, _ := v.Values[5].([]byte)
		return string(b)
	}
	return fmt.Sprint(v)
}

func TestSourceContract(t *testing.T) {
	k := broker(t)
	for name, change := range map[string]func(*readSpec){
		"ProcessingTime": func(*readSpec) {},
		"CreateTime":     func(s *readSpec) { s.Policy = createTime },
		"Metadata":       func(s *readSpec) { s.Format.Metadata = true },
		"ReadCommitted":  func(s *readSpec) { s.Consumer["isolation.level"] = "read_committed" },
	} {
		t.Run(name, func(t *testing.T) {
			connectorstest.Source(t, func(t *testing.T) connectorstest.SourceCase {
				topic := newTopic(t, k, 1)
				f := format{Key: byteArray, Value: byteArray, Metadata: name == "Metadata"}
				c := connectorstest.SourceCase{
					Connector: New(testLog(t)),
					Transform: readTransform(t, k, topic, change),
					Coder:     f.coder(),
					Render:    renderValue,
					Append:    func(t testing.TB, texts ...string) { feed(t, k, topic, 0, texts...) },
				}
				if name == "ProcessingTime" {
					c.Stop = func(testing.TB) { k.Kill() }
					c.Start = func(t testing.TB) {
						if err := k.Restart(); err != nil {
							t.Fatal(err)
						}
					}
				}
				return c
			})
		})
	}
}

// drain reads splits until n records are there.
func drain(t *testing.T, s connectors.Source, splits []connectors.Split, n int) (values []string, last map[string]connectors.Batch) {
	t.Helper()
	last = map[string]connectors.Batch{}
	var readers []connectors.Reader
	for _, split := range splits {
		r, err := s.Open(t.Context(), split, split.Start)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers = append(readers, r)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(values) < n && time.Now().Before(deadline) {
		for i, r := range readers {
			b, err := r.Read(t.Context(), 1<<20, 50*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			last[splits[i].ID] = b
			values = append(values, valuesOf(t, b)...)
		}
	}
	return values, last
}

func valuesOf(t *testing.T, b connectors.Batch) []string {
	t.Helper()
	c := format{Key: byteArray, Value: byteArray}.coder()
	w := coder.NewWindowed(c, coder.GlobalWindow)
	var out []string
	for rest := b.Elements; len(rest) > 0; {
		var e coder.Element
		n, err := w.Scan(rest, &e)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := c.Decode(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		out, rest = append(out, renderValue(v)), rest[n:]
	}
	return out
}

func openSource(t *testing.T, tr connectors.Transform) (connectors.Source, []connectors.Split) {
	t.Helper()
	s, err := New(testLog(t)).Source(tr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	splits, err := s.Splits(t.Context())
	for range 100 {
		if beam.CodeOf(err) != beam.Unavailable {
			break
		}
		time.Sleep(100 * time.Millisecond) // as the runner does
		splits, err = s.Splits(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, splits
}

func TestEveryPartitionIsASplit(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 3)
	for p := range 3 {
		feed(t, k, topic, p, fmt.Sprintf("from-%d", p))
	}
	s, splits := openSource(t, readTransform(t, k, topic, nil))
	if len(splits) != 3 {
		t.Fatalf("%d splits", len(splits))
	}
	values, _ := drain(t, s, splits, 3)
	if len(values) != 3 {
		t.Errorf("%v", values)
	}
}

func TestLatestIsWhereASplitStartsByDefault(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 1)
	feed(t, k, topic, 0, "before")
	s, splits := openSource(t, readTransform(t, k, topic, func(r *readSpec) { delete(r.Consumer, "auto.offset.reset") }))
	feed(t, k, topic, 0, "after")
	if values, _ := drain(t, s, splits, 1); len(values) != 1 || values[0] != "after" {
		t.Errorf("%v", values)
	}
}

func TestAGroupGoesOnWhereItCommitted(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 1)
	feed(t, k, topic, 0, "one", "two", "three")
	tr := readTransform(t, k, topic, func(r *readSpec) { r.Consumer["group.id"], r.Commit = "group-"+topic, true })
	s, splits := openSource(t, tr)
	r, err := s.Open(t.Context(), splits[0], splits[0].Start)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := r.Read(t.Context(), 1, 10*time.Second) // one record
	if err != nil || b.Count != 1 {
		t.Fatalf("%+v, %v", b, err)
	}
	commit := func() error { return s.Committed(t.Context(), splits[0], b.Position) }
	for err = commit(); beam.CodeOf(err) == beam.Unavailable && t.Context().Err() == nil; err = commit() {
		time.Sleep(100 * time.Millisecond) // the group's coordinator starts
		if err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	again, splits := openSource(t, tr)
	if values, _ := drain(t, again, splits, 2); strings.Join(values, " ") != "two three" {
		t.Errorf("%v", values)
	}
}

func TestReadingStartsAtATime(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 1)
	feed(t, k, topic, 0, "early")
	time.Sleep(20 * time.Millisecond)
	at := time.Now().UnixMilli()
	tr := readTransform(t, k, topic, func(r *readSpec) { r.StartTime = &at })
	s, err := New(testLog(t)).Source(tr)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Splits(t.Context()); beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "start_read_time") {
		t.Errorf("no record at or after the time: %v", err)
	}
	feed(t, k, topic, 0, "late")
	again, splits := openSource(t, tr)
	if values, _ := drain(t, again, splits, 1); strings.Join(values, " ") != "late" {
		t.Errorf("%v", values)
	}
}

func TestABoundedReadEnds(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 3)
	feed(t, k, topic, 0, "a", "b")
	feed(t, k, topic, 1, "c", "d", "e")
	tr := readTransform(t, k, topic, func(r *readSpec) { r.MaxRecords = 4 })
	s, splits := openSource(t, tr)
	if !s.Bounded() || len(splits) != 1 {
		t.Fatalf("bounded %v, %d splits", s.Bounded(), len(splits))
	}
	at, total, done := splits[0].Start, 0, false
	for range 100 { // a new reader for every batch: the bound is in the position
		r, err := s.Open(t.Context(), splits[0], at)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Read(t.Context(), 1, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		at, total = b.Position, total+b.Count
		if done = b.Done; done {
			break
		}
	}
	if total != 4 || !done {
		t.Errorf("%d records, done %v", total, done)
	}
}

func TestABoundedTimeEnds(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	feed(t, k, topic, 1, "a")
	s, splits := openSource(t, readTransform(t, k, topic, func(r *readSpec) { r.MaxSeconds = 1 }))
	values, last := drain(t, s, splits, 1)
	r, err := s.Open(t.Context(), splits[0], last[splits[0].ID].Position)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := r.Read(t.Context(), 1<<20, 10*time.Second)
	for err == nil && !b.Done {
		b, err = r.Read(t.Context(), 1<<20, 10*time.Second)
	}
	if err != nil || len(values) != 1 || b.Watermark != beam.MaxEventTime {
		t.Errorf("%v, %+v, %v", values, b, err)
	}
}

func TestAMissingTopicIsNamed(t *testing.T) {
	k := broker(t)
	s, err := New(testLog(t)).Source(readTransform(t, k, "acces_log", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Splits(t.Context())
	if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "acces_log") || !strings.Contains(err.Error(), "Read logs") {
		t.Errorf("%v", err)
	}
	t.Log(err)
}

func TestLogAppendTimeNeedsATopicThatHasIt(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 1)
	feed(t, k, topic, 0, "x")
	s, splits := openSource(t, readTransform(t, k, topic, func(r *readSpec) { r.Policy = appendTime }))
	r, err := s.Open(t.Context(), splits[0], splits[0].Start)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(t.Context(), 1<<20, 10*time.Second); beam.CodeOf(err) != beam.Rejected {
		t.Errorf("%v", err)
	}
}

func TestMetadataRows(t *testing.T) {
	t.Parallel()
	c := coder.RowCoder(metadataSchema())
	for _, r := range []record{
		{offset: 5, timestamp: 77, key: []byte("k"), value: []byte("v")},
		{offset: 1 << 40, timestamp: -1, value: []byte{}},
		{key: []byte{}, appended: true},
		{nHeaders: 2, headers: appendField(appendField(appendField(appendField(nil, []byte("a")), []byte("x")), []byte("b")), nil)},
	} {
		got, err := appendMetadata(nil, &r, topicPartition{"topic", 3})
		if err != nil {
			t.Fatal(err)
		}
		v, n, err := c.Decode(got)
		if err != nil || n != len(got) {
			t.Fatalf("%+v: %v", r, err)
		}
		again, err := c.Append(nil, v)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%+v: %x by hand, %x by the coder, %v", r, got, again, err)
		}
	}
}

// BenchmarkRead reads a topic of a real broker as fast as it comes.
func BenchmarkRead(b *testing.B) {
	k := broker(b)
	topic := newTopic(b, k, 1)
	line := strings.Repeat("x", 100)
	values := make([]string, 10_000)
	for i := range values {
		values[i] = line
	}
	const total = 1_000_000
	for range total / len(values) {
		feed(b, k, topic, 0, values...)
	}
	s, err := New(testLog(b)).Source(readTransform(b, k, topic, nil))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	splits, err := s.Splits(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	count := 0
	for b.Loop() {
		r, err := s.Open(b.Context(), splits[0], splits[0].Start)
		if err != nil {
			b.Fatal(err)
		}
		for n := 0; n < total; {
			batch, err := r.Read(b.Context(), 1<<20, time.Second)
			if err != nil {
				b.Fatal(err)
			}
			n += batch.Count
			count += batch.Count
		}
		_ = r.Close()
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}

// writeTransform is a native write of KVs of bytes to a topic.
func writeTransform(t testing.TB, k *parts.Kafka, topic string, c *coder.Coder, change func(*writeSpec)) connectors.Transform {
	t.Helper()
	spec := writeSpec{Producer: map[string]string{"bootstrap.servers": k.Addr()}, Topic: topic, Key: byteArray, Value: byteArray}
	if change != nil {
		change(&spec)
	}
	payload, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return connectors.Transform{URN: WriteURN, Payload: payload, Name: "Write logs", Job: "job-" + topic, Input: coder.NewWindowed(c, coder.GlobalWindow)}
}

var pairs = coder.KVOf(coder.Bytes, coder.Bytes)

func TestSinkContract(t *testing.T) {
	k := broker(t)
	for name, change := range map[string]func(*writeSpec){
		"Idempotent":  func(s *writeSpec) { s.Producer[guaranteeKey] = atLeastOnce },
		"ExactlyOnce": nil,
		"Compressed": func(s *writeSpec) {
			s.Producer["compression.type"], s.Producer["enable.idempotence"] = "lz4", "false"
			s.Producer["max.request.size"] = "2000"
		},
	} {
		t.Run(name, func(t *testing.T) {
			connectorstest.Sink(t, func(t *testing.T) connectorstest.SinkCase {
				topic := newTopic(t, k, 2)
				c := connectorstest.SinkCase{
					Connector: New(testLog(t)),
					Transform: writeTransform(t, k, topic, pairs, change),
					Encode: func(t testing.TB, text string) []byte {
						return connectorstest.Encode(t, pairs, 0, coder.KV{Key: []byte("same"), Value: []byte(text)})[0]
					},
					Contents: func(t testing.TB) []string { return contents(t, k, topic) },
				}
				c.Transform.Durable = name == "ExactlyOnce"
				if name != "Compressed" {
					c.Stop = func(testing.TB) { k.Kill() }
					c.Start = func(t testing.TB) {
						if err := k.Restart(); err != nil {
							t.Fatal(err)
						}
					}
				}
				return c
			})
		})
	}
}

// contents returns the values of a topic as a reader with read_committed sees
// them, partition by partition.
func contents(t testing.TB, k *parts.Kafka, topic string) []string {
	t.Helper()
	s, err := newSource(readTransform(t, k, topic, func(r *readSpec) { r.Consumer["isolation.level"] = "read_committed" }), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	all, err := s.partitions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ends := settled(ctx, t, s, all)
	var out []string
	for _, tp := range all {
		out = append(out, partitionContents(ctx, t, s, tp, ends[tp])...)
	}
	return out
}

// settled returns the partitions' ends when no transaction is open in them: the
// broker answers to the end of one before its markers are everywhere.
func settled(ctx context.Context, t testing.TB, s *source, all []topicPartition) map[topicPartition]int64 {
	t.Helper()
	for {
		s.consumer.isolation = kafkago.ReadUncommitted
		whole, err := s.listOffsets(ctx, all, kafkago.LastOffset)
		s.consumer.isolation = kafkago.ReadCommitted
		if err == nil {
			var stable map[topicPartition]int64
			if stable, err = s.listOffsets(ctx, all, kafkago.LastOffset); err == nil && maps.Equal(stable, whole) {
				return stable
			}
		}
		if err != nil && beam.CodeOf(err) != beam.Unavailable || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// partitionContents decodes the records of a partition up to its end.
func partitionContents(ctx context.Context, t testing.TB, s *source, tp topicPartition, end int64) (out []string) {
	t.Helper()
	var d batchDecoder
	for d.offset < end {
		p, err := s.fetch(ctx, tp, d.offset)
		if err != nil || p.ErrorCode != 0 {
			t.Fatal(err, kafkago.Error(p.ErrorCode))
		}
		gone := make([]aborted, len(p.AbortedTransactions))
		for i, a := range p.AbortedTransactions {
			gone[i] = aborted{a.ProducerID, a.FirstOffset}
		}
		d.reset(p.RecordSet.data, d.offset, gone)
		var r record
		for {
			more, err := d.next(&r)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			out = append(out, string(r.value))
		}
	}
	return out
}

// messages reads a topic with the client library.
func messages(t testing.TB, k *parts.Kafka, topic string) []kafkago.Message {
	t.Helper()
	var out []kafkago.Message
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for p := range 2 {
		conn, err := kafkago.DialLeader(ctx, "tcp", k.Addr(), topic, p)
		if err != nil {
			t.Fatal(err)
		}
		last, err := conn.ReadLastOffset()
		_ = conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{k.Addr()}, Topic: topic, Partition: p, MaxWait: 100 * time.Millisecond})
		for range last {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, m)
		}
		_ = r.Close()
	}
	return out
}

func TestHeadersAndSerializers(t *testing.T) {
	k := broker(t)
	topic, other := newTopic(t, k, 2), newTopic(t, k, 2)
	header := &coder.Schema{Fields: []coder.Field{{Name: "key", Type: coder.Atomic(coder.TypeString)}, {Name: "value", Type: coder.Atomic(coder.TypeBytes).OrNull()}}}
	row := coder.RowCoder(&coder.Schema{Fields: []coder.Field{
		{Name: "key", Type: coder.Atomic(coder.TypeBytes)}, {Name: "value", Type: coder.Atomic(coder.TypeBytes)},
		{Name: "headers", Type: coder.ArrayOf(coder.RowOf(header))}, {Name: "topic", Type: coder.Atomic(coder.TypeString).OrNull()},
		{Name: "partition", Type: coder.Atomic(coder.TypeInt64).OrNull()}, {Name: "timestamp", Type: coder.Atomic(coder.TypeInt64).OrNull()}}})
	s, err := New(testLog(t)).Sink(writeTransform(t, k, topic, row, func(w *writeSpec) { w.Headers = true }))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	headers := []any{coder.Row{Schema: header, Values: []any{"h", []byte("x")}}, coder.Row{Schema: header, Values: []any{"null", nil}}}
	writeAll(t, s, connectorstest.Encode(t, row, 0,
		coder.Row{Schema: row.Schema(), Values: []any{[]byte("k"), []byte("v"), headers, nil, int64(1), int64(12345)}},
		coder.Row{Schema: row.Schema(), Values: []any{[]byte("k"), []byte("elsewhere"), []any{}, other, nil, nil}}))
	got := messages(t, k, topic)
	if len(got) != 1 || got[0].Partition != 1 || got[0].Time.UnixMilli() != 12345 || len(got[0].Headers) != 2 || string(got[0].Headers[0].Value) != "x" {
		t.Errorf("%+v", got)
	}
	if got := contents(t, k, other); len(got) != 1 || got[0] != "elsewhere" {
		t.Errorf("%v", got)
	}
	c := coder.KVOf(coder.VarInt, coder.NullableOf(coder.StringUTF8))
	typed, err := New(testLog(t)).Sink(writeTransform(t, k, newTopic(t, k, 2), c, func(w *writeSpec) { w.Topic, w.Key, w.Value = topic, long, text }))
	if err != nil {
		t.Fatal(err)
	}
	defer typed.Close()
	writeAll(t, typed, connectorstest.Encode(t, c, 0, coder.KV{Key: int64(258), Value: "text"}, coder.KV{Key: int64(258), Value: nil}))
	found := 0
	for _, m := range messages(t, k, topic) {
		if bytes.Equal(m.Key, []byte{0, 0, 0, 0, 0, 0, 1, 2}) && (string(m.Value) == "text" || m.Value == nil) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 records", found)
	}
}

func writeAll(t *testing.T, s connectors.Sink, entry [][]byte) {
	t.Helper()
	w, _, err := s.Open(t.Context(), 0, 1)
	for beam.CodeOf(err) == beam.Unavailable && err != nil {
		time.Sleep(100 * time.Millisecond)
		w, _, err = s.Open(t.Context(), 0, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	for err = w.Write(t.Context(), 1, entry); err != nil && beam.CodeOf(err) == beam.Unavailable; {
		time.Sleep(100 * time.Millisecond)
		err = w.Write(t.Context(), 1, entry)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestALostConnectionWritesNothingTwice(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	s, err := New(testLog(t)).Sink(writeTransform(t, k, topic, pairs, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entry := connectorstest.Encode(t, pairs, 0, coder.KV{Key: []byte("a"), Value: []byte("1")}, coder.KV{Key: []byte("a"), Value: []byte("2")})
	writeAll(t, s, entry[:1]) // the shard has a producer
	w := newWriter(s.(*sink), 0)
	e, err := w.encode(t.Context(), 2, entry[1:])
	if err != nil {
		t.Fatal(err)
	}
	w.pending = &encoded{n: 2, queue: maps.Clone(e.queue)}
	if err := w.send(t.Context(), e); err != nil || len(e.queue) != 0 {
		t.Fatal(err)
	}
	// The answer is lost: another writer of the shard is told to write it.
	again, _, err := s.Open(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Write(t.Context(), 2, entry[1:]); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, k, topic); strings.Join(got, " ") != "1 2" {
		t.Errorf("%v", got)
	}
}

func TestKeysGoWhereJavaPutsThem(t *testing.T) {
	t.Parallel()
	b := kafkago.Murmur2Balancer{}
	for i := range 1000 {
		key := bytes.Repeat([]byte{byte(i), byte(i >> 3), 0xfe}, i%23)[:i%23*3-i%23*3%(i%5+1)]
		if got, want := int(partitionOf(key, 7)), b.Balance(kafkago.Message{Key: append([]byte{}, key...)}, 0, 1, 2, 3, 4, 5, 6); got != want {
			t.Fatalf("key %x goes to %d, want %d", key, got, want)
		}
	}
}
