package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/connectors"
	"fresnel/connectors/connectorstest"
	"fresnel/integration/parts"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// durableSink opens a sink whose outbox survives crashes, as one process's.
func durableSink(t testing.TB, k *parts.Kafka, topic string, change func(*writeSpec)) *sink {
	t.Helper()
	tr := writeTransform(t, k, topic, pairs, change)
	tr.Durable = true
	s, err := newSink(tr, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// entryOf is an entry of rows for several keys, so for all partitions.
func entryOf(t testing.TB, n int64) (elements [][]byte, values []string) {
	t.Helper()
	for i := range 5 {
		v := fmt.Sprintf("entry-%06d-%d", n, i)
		values = append(values, v)
		elements = append(elements, connectorstest.Encode(t, pairs, 0, coder.KV{Key: []byte{byte(n), byte(i)}, Value: []byte(v)})...)
	}
	return elements, values
}

// outboxOf sends entries of entryOf.
func outboxOf(t testing.TB, s connectors.Sink, epoch int64) *connectorstest.Outbox {
	return &connectorstest.Outbox{T: t, Sink: s, Epoch: epoch, Entry: func(n int64) [][]byte {
		elements, _ := entryOf(t, n)
		return elements
	}}
}

// once checks that a reader with read_committed sees the entries 1 to last, and
// every record of them once.
func once(t testing.TB, k *parts.Kafka, topic string, last int64) {
	t.Helper()
	var want []string
	for n := range last {
		_, values := entryOf(t, n+1)
		want = append(want, values...)
	}
	got := contents(t, k, topic)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d records where %d are expected, or others: %s", len(got), len(want), difference(got, want))
	}
}

func difference(got, want []string) string {
	seen := map[string]int{}
	for _, v := range want {
		seen[v]++
	}
	for _, v := range got {
		seen[v]--
	}
	var out []string
	for v, n := range seen {
		if n != 0 {
			out = append(out, fmt.Sprintf("%s %+d", v, -n))
		}
	}
	slices.Sort(out)
	return strings.Join(out[:min(len(out), 20)], ", ")
}

func TestConnectionsThatAreCutWriteNothingTwice(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	cutter := connectorstest.NewCutter(seed)
	s := durableSink(t, k, topic, func(w *writeSpec) { w.Producer["request.timeout.ms"] = "2000" })
	s.transport.Dial = cutter.Dial
	o := outboxOf(t, s, 1)
	cutter.Percent.Store(3)
	const entries = 60
	for n := range int64(entries) {
		if err := o.Send(t.Context(), n+1); err != nil {
			t.Fatal(err)
		}
		if n%7 == 6 { // after a crash the last ones are sent again
			o.Writer = nil
			o.Epoch++
			for again := max(n-2, 1); again <= n+1; again++ {
				if err := o.Send(t.Context(), again); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	cutter.Percent.Store(0)
	t.Logf("%d cuts, %d faults", cutter.Cuts.Load(), o.Faults)
	if o.Faults == 0 {
		t.Error("no connection was cut within an entry")
	}
	once(t, k, topic, entries)
}

// messageCut breaks a connection at a message of one API: before it is sent, or
// when its answer comes.
type messageCut struct {
	mu     sync.Mutex
	api    uint16
	answer bool
	left   int // how many times
}

func (m *messageCut) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &messageConn{Conn: c, cut: m}, nil
}

type messageConn struct {
	net.Conn
	cut  *messageCut
	lost bool // the next answer is
}

func (c *messageConn) Write(b []byte) (int, error) {
	c.cut.mu.Lock()
	if c.cut.left > 0 && len(b) > 6 && binary.BigEndian.Uint16(b[4:]) == c.cut.api {
		c.cut.left--
		c.lost = c.cut.answer
		if !c.lost {
			c.cut.mu.Unlock()
			_ = c.Close()
			return 0, net.ErrClosed
		}
	}
	c.cut.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *messageConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.cut.mu.Lock()
	defer c.cut.mu.Unlock()
	if c.lost && err == nil {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestAMessageThatIsLostWritesNothingTwice(t *testing.T) {
	k := broker(t)
	for api, name := range map[uint16]string{0: "Produce", 9: "OffsetFetch", 22: "InitProducerId", 24: "AddPartitionsToTxn",
		25: "AddOffsetsToTxn", 26: "EndTxn", 28: "TxnOffsetCommit"} {
		for _, answer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/answer=%v", name, answer), func(t *testing.T) {
				topic := newTopic(t, k, 2)
				s := durableSink(t, k, topic, nil)
				cut := &messageCut{api: api, answer: answer}
				s.transport.Dial = cut.dial
				o := outboxOf(t, s, 1)
				for n := range int64(6) {
					cut.mu.Lock()
					cut.left = int(n) % 3
					cut.mu.Unlock()
					if n >= 4 { // opened again: what is only sent then is cut too
						o.Writer = nil
					}
					if err := o.Send(t.Context(), n+1); err != nil {
						t.Fatal(err)
					}
				}
				if o.Faults == 0 {
					t.Error("nothing was cut")
				}
				once(t, k, topic, 6)
			})
		}
	}
}

func TestABrokerThatIsKilledShowsEveryEntryOnce(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	o := outboxOf(t, durableSink(t, k, topic, func(w *writeSpec) { w.Producer["request.timeout.ms"] = "3000" }), 1)
	killed := make(chan error, 1)
	n := int64(0)
	for after := 0; after < 10; {
		n++
		if n == 4 {
			go func() {
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
				k.Kill()
				killed <- k.Restart()
			}()
		}
		if err := o.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-killed:
			if err != nil {
				t.Fatal(err)
			}
			after = 1
		default:
			if after > 0 {
				after++
			}
		}
	}
	t.Logf("%d entries, %d faults", n, o.Faults)
	once(t, k, topic, n)
}

// begun opens a transaction as Write does and leaves it before its end.
func begun(t *testing.T, w *exactlyOnce, n int64) *encoded {
	t.Helper()
	elements, _ := entryOf(t, n)
	e, err := w.encode(t.Context(), n, elements)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.txn.open(t.Context(), partitionsOf(e)); err != nil {
		t.Fatal(err)
	}
	if err := w.fill(t.Context(), e, w.progressTopic(e)); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnOwnerThatComesBackIsFenced(t *testing.T) {
	k := broker(t)
	for name, comesBack := range map[string]func(*connectorstest.Outbox, *exactlyOnce) error{
		"at the end of a transaction": func(o *connectorstest.Outbox, w *exactlyOnce) error {
			return w.unsure(o.T.Context(), w.txn.end(o.T.Context(), true), "write")
		},
		"with the next entry": func(o *connectorstest.Outbox, w *exactlyOnce) error {
			w.ready = true
			elements, _ := entryOf(o.T, 2)
			return w.Write(o.T.Context(), 2, elements)
		},
		"before it opens the shard": func(o *connectorstest.Outbox, _ *exactlyOnce) error {
			_, _, err := o.Sink.Open(o.T.Context(), 0, 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			topic := newTopic(t, k, 2)
			old := outboxOf(t, durableSink(t, k, topic, nil), 1)
			if err := old.Send(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			paused := old.Writer.(*exactlyOnce)
			begun(t, paused, 2) // and there it is stopped
			newer := outboxOf(t, durableSink(t, k, topic, nil), 2)
			for n := int64(1); n <= 3; n++ {
				if err := newer.Send(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			err := comesBack(old, paused)
			if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "newer owner") {
				t.Errorf("the older owner: %v", err)
			}
			if err := newer.Send(t.Context(), 4); err != nil || newer.Faults > 0 {
				t.Errorf("the newer owner: %d faults, %v", newer.Faults, err)
			}
			once(t, k, topic, 4)
		})
	}
}

func TestAnOwnerThatWasPausedTooLongGoesOn(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	o := outboxOf(t, durableSink(t, k, topic, func(w *writeSpec) { w.Producer["transaction.timeout.ms"] = "300" }), 1)
	if err := o.Send(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w := o.Writer.(*exactlyOnce)
	begun(t, w, 2)
	time.Sleep(2 * time.Second) // the broker gives the transaction up
	err := w.unsure(t.Context(), w.txn.end(t.Context(), true), "write")
	if beam.CodeOf(err) != beam.Unavailable {
		t.Fatalf("the end of a transaction that was given up: %v", err)
	}
	o.Writer = nil
	for n := int64(2); n <= 3; n++ {
		if err := o.Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	once(t, k, topic, 3)
}

func TestATimeoutThatTheBrokerRefusesEndsTheJob(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	for _, millis := range []string{"0", "3600000"} {
		s := durableSink(t, k, topic, func(w *writeSpec) { w.Producer["transaction.timeout.ms"] = millis })
		if _, _, err := s.Open(t.Context(), 0, 1); beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "transaction.timeout.ms") {
			t.Errorf("%s ms: %v", millis, err)
		}
	}
}

func TestAProgressThatIsLostStopsTheSink(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	o := outboxOf(t, durableSink(t, k, topic, nil), 1)
	for range 2 { // also when it has been opened once without
		err := o.Send(t.Context(), 5)
		if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "entry 4 was written") {
			t.Errorf("%v", err)
		}
		t.Log(err)
		o.Writer = nil
	}
	once(t, k, topic, 0)
}

func TestAForeignGroupIsLeftAlone(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	s := durableSink(t, k, topic, nil)
	id := transactionalID("fresnel", s.job, s.name, 0)
	_, err := s.client.OffsetCommit(t.Context(), &kafkago.OffsetCommitRequest{GroupID: id, GenerationID: -1,
		Topics: map[string][]kafkago.OffsetCommit{topic: {{Partition: 0, Offset: 7}}}})
	if err != nil {
		t.Fatal(err)
	}
	o := outboxOf(t, s, 1)
	if err := o.Send(t.Context(), 1); beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "not committed by Fresnel") {
		t.Errorf("%v", err)
	}
}

func TestAnIdleSinkCommitsItsProgressAgain(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	s := durableSink(t, k, topic, nil)
	s.refreshEvery = 100 * time.Millisecond
	o := outboxOf(t, s, 1)
	if err := o.Send(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	id := o.Writer.(*exactlyOnce).txn.id
	res, err := s.client.OffsetDelete(t.Context(), &kafkago.OffsetDeleteRequest{GroupID: id, Topics: map[string][]int{topic: {0}}})
	if err != nil || res.Error != nil {
		t.Fatal(err, res)
	}
	reader := newExactlyOnce(s, 0, 1)
	deadline := time.Now().Add(10 * time.Second)
	for p := (progress{}); p.n != 1; {
		if p, err = reader.progress(t.Context(), true); err != nil || time.Now().After(deadline) {
			t.Fatalf("the progress is %+v, %v", p, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := o.Send(t.Context(), 2); err != nil || o.Faults > 0 {
		t.Errorf("%d faults, %v", o.Faults, err)
	}
	_ = o.Writer.Close()
	once(t, k, topic, 2)
}

func TestAtLeastOnceKeepsNoProgress(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	o := outboxOf(t, durableSink(t, k, topic, func(w *writeSpec) { w.Producer[guaranteeKey] = atLeastOnce }), 1)
	for n := range int64(2) {
		if err := o.Send(t.Context(), n+1); err != nil {
			t.Fatal(err)
		}
	}
	if _, last, err := o.Sink.Open(t.Context(), 0, 2); last != connectors.NoProgress || err != nil {
		t.Errorf("%d, %v", last, err)
	}
	once(t, k, topic, 2)
}

func TestRowsThatNameTheirTopicsAreThereOnce(t *testing.T) {
	k := broker(t)
	a, b := newTopic(t, k, 2), newTopic(t, k, 2)
	row := coder.RowCoder(&coder.Schema{Fields: []coder.Field{
		{Name: "key", Type: coder.Atomic(coder.TypeBytes)}, {Name: "value", Type: coder.Atomic(coder.TypeBytes)},
		{Name: "topic", Type: coder.Atomic(coder.TypeString)}}})
	tr := writeTransform(t, k, a, row, func(w *writeSpec) { w.Topic, w.Headers = "", true })
	tr.Durable = true
	to := func(topic, v string) [][]byte {
		return connectorstest.Encode(t, row, 0, coder.Row{Schema: row.Schema(), Values: []any{[]byte("k"), []byte(v), topic}})
	}
	for epoch, entries := range [][][][]byte{{to(b, "1"), to(a, "2")}, {to(a, "2"), append(to(a, "3"), to(b, "4")...)}} {
		s, err := New(testLog(t)).Sink(tr)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		o := outboxOf(t, s, int64(epoch+1))
		for i, e := range entries {
			if err := o.Attempt(t.Context(), int64(1+epoch+i), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := strings.Join(contents(t, k, a), " ") + " " + strings.Join(contents(t, k, b), " "); got != "2 3 1 4" {
		t.Errorf("%s", got)
	}
}

// TestJavaSeesEveryRecordOnce reads with Kafka's own consumer, where the other
// tests use our decoder.
func TestJavaSeesEveryRecordOnce(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 2)
	o := outboxOf(t, durableSink(t, k, topic, nil), 1)
	for n := range int64(4) {
		if err := o.Send(t.Context(), n+1); err != nil {
			t.Fatal(err)
		}
		if n%2 == 1 {
			begun(t, o.Writer.(*exactlyOnce), n+2) // aborted by the next owner
			o.Writer = nil
			o.Epoch++
		}
	}
	if err := o.Send(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	want := contents(t, k, topic) // and no transaction is open any more
	slices.Sort(want)
	program := filepath.Join("testdata", "ReadCommitted.java")
	cmd := exec.Command("java", append(parts.KafkaJava(), program, k.Addr(), topic)...)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if strings.Contains(problem.String(), "jdk.compiler") {
		t.Skip("java without a compiler")
	}
	if err != nil {
		t.Fatal(err, problem.String())
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if len(got) != 25 || !slices.Equal(got, want) {
		t.Errorf("%d records of 25, by our decoder %d: %s", len(got), len(want), difference(got, want))
	}
}

// BenchmarkWriteEntry writes entries of five rows to two partitions.
func BenchmarkWriteEntry(b *testing.B) {
	k := broker(b)
	for _, guarantee := range []string{exactlyOnceWord, atLeastOnce} {
		b.Run(guarantee, func(b *testing.B) {
			topic := newTopic(b, k, 2)
			o := outboxOf(b, durableSink(b, k, topic, func(w *writeSpec) { w.Producer[guaranteeKey] = guarantee }), 1)
			n := int64(0)
			for b.Loop() {
				n++
				if err := o.Send(b.Context(), n); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(o.Faults), "faults")
		})
	}
}
