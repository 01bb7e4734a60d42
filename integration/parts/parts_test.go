package parts_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"fresnel/integration/parts"
)

// readerWait is short, since a kafka.Reader closes only when its last fetch has come back.
const readerWait = 100 * time.Millisecond

func TestKafkaKeepsItsRecordsOverAKill(t *testing.T) {
	t.Parallel()
	k := parts.StartKafka(t)
	k.CreateTopic(t, "access_log", 2)
	w := &kafka.Writer{Addr: kafka.TCP(k.Addr()), Topic: "access_log", Balancer: &kafka.RoundRobin{}, BatchSize: 50, RequiredAcks: kafka.RequireAll}
	defer w.Close()
	var sent []kafka.Message
	for i := range 100 {
		sent = append(sent, kafka.Message{Value: fmt.Appendf(nil, "line %d", i)})
	}
	if err := w.WriteMessages(t.Context(), sent...); err != nil {
		t.Fatal(err)
	}

	addr := k.Addr()
	k.Kill()
	if k.Pid() != 0 {
		t.Fatal("killed, yet running")
	}
	if err := k.Restart(); err != nil {
		t.Fatal(err)
	}
	if k.Addr() != addr {
		t.Fatalf("address changed from %s to %s", addr, k.Addr())
	}

	for partition := range 2 {
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{k.Addr()}, Topic: "access_log", Partition: partition, MaxBytes: 1 << 20, MaxWait: readerWait})
		defer r.Close()
		for range 50 {
			if _, err := r.ReadMessage(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestKafkaServesConsumerGroups(t *testing.T) {
	t.Parallel()
	k := parts.StartKafka(t)
	k.CreateTopic(t, "orders", 1)
	w := &kafka.Writer{Addr: kafka.TCP(k.Addr()), Topic: "orders", BatchSize: 1}
	defer w.Close()
	if err := w.WriteMessages(t.Context(), kafka.Message{Value: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{k.Addr()}, GroupID: "g", Topic: "orders", StartOffset: kafka.FirstOffset, MaxWait: readerWait})
	defer r.Close()
	m, err := r.ReadMessage(t.Context())
	if err != nil || string(m.Value) != "one" {
		t.Fatalf("got %q, %v", m.Value, err)
	}
}

func TestMariaDBKeepsItsRowsOverAKill(t *testing.T) {
	t.Parallel()
	m := parts.StartMariaDB(t)
	db := m.DB(t)
	exec := func(stmt string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE t (k INT PRIMARY KEY, v VARCHAR(20))")
	exec("INSERT INTO t VALUES (1, 'one') ON DUPLICATE KEY UPDATE v = VALUES(v)")

	m.Kill()
	if err := db.PingContext(t.Context()); err == nil {
		t.Fatal("killed, yet it answers")
	}
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}

	var v string
	if err := db.QueryRowContext(t.Context(), "SELECT v FROM t WHERE k = 1").Scan(&v); err != nil || v != "one" {
		t.Fatalf("got %q, %v", v, err)
	}
}

func TestPartsOfOneKindRunSideBySide(t *testing.T) {
	t.Parallel()
	a, b := parts.StartMariaDB(t), parts.StartMariaDB(t)
	if a.Addr() == b.Addr() {
		t.Fatal("two servers share an address")
	}
	a.Stop()
	if err := b.DB(t).PingContext(t.Context()); err != nil {
		t.Fatalf("stopping one stopped the other: %v", err)
	}
}
