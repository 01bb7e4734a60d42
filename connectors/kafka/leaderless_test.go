package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"fresnel/internal/beam"
)

// leaderlessCluster answers for a broker as the brokers of a cluster do of which
// those with a partition's replicas are down.
type leaderlessCluster struct {
	mu sync.Mutex
	// partition has no leader; -1: all have.
	partition int32
	// known: the cluster says so in its metadata. Else only the broker does that
	// was the leader, which is what a client meets first.
	known bool
	// whole: the cluster says so of topics as a whole.
	whole bool
	// refusals counts the fetches that were refused.
	refusals int
}

func (l *leaderlessCluster) set(partition int32, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partition, l.known = partition, known
}

func (l *leaderlessCluster) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &leaderlessConn{Conn: c, cluster: l, asked: map[int32]request{}}, nil
}

// request is what an answer is to.
type request struct {
	api     protocol.ApiKey
	version int16
}

// leaderlessConn changes answers.
type leaderlessConn struct {
	net.Conn
	cluster *leaderlessCluster
	mu      sync.Mutex
	asked   map[int32]request
	answer  []byte // what was not read yet
}

func (c *leaderlessConn) Write(b []byte) (int, error) {
	if len(b) >= 12 && int(binary.BigEndian.Uint32(b)) >= len(b)-4 { // a request begins
		c.mu.Lock()
		c.asked[int32(binary.BigEndian.Uint32(b[8:]))] = request{protocol.ApiKey(binary.BigEndian.Uint16(b[4:])), int16(binary.BigEndian.Uint16(b[6:]))}
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *leaderlessConn) Read(b []byte) (int, error) {
	if len(c.answer) == 0 {
		var size [4]byte
		if _, err := io.ReadFull(c.Conn, size[:]); err != nil {
			return 0, err
		}
		frame := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
		copy(frame, size[:])
		if _, err := io.ReadFull(c.Conn, frame[4:]); err != nil {
			return 0, err
		}
		var err error
		if c.answer, err = c.changed(frame); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.answer)
	c.answer = c.answer[n:]
	return n, nil
}

// changed is an answer as the cluster gives it.
func (c *leaderlessConn) changed(frame []byte) ([]byte, error) {
	id := int32(binary.BigEndian.Uint32(frame[4:]))
	c.mu.Lock()
	asked, ok := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if !ok || asked.api != protocol.Metadata && asked.api != protocol.Fetch {
		return frame, nil
	}
	_, message, err := protocol.ReadResponse(bytes.NewReader(frame), asked.api, asked.version)
	if err != nil || !c.cluster.change(message) {
		return frame, err
	}
	var out bytes.Buffer
	err = protocol.WriteResponse(&out, asked.version, id, message)
	return out.Bytes(), err
}

func (l *leaderlessCluster) change(message protocol.Message) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m := message.(type) {
	case *metadata.Response:
		for i := range m.Topics {
			topic := &m.Topics[i]
			if l.whole {
				topic.ErrorCode, topic.Partitions, changed = int16(kafkago.LeaderNotAvailable), nil, true
			}
			for i := range topic.Partitions {
				if p := &topic.Partitions[i]; l.known && p.PartitionIndex == l.partition {
					p.ErrorCode, p.LeaderID, p.IsrNodes, changed = int16(kafkago.LeaderNotAvailable), -1, nil, true
				}
			}
		}
	case *fetchResponse:
		for _, topic := range m.Topics {
			for i := range topic.Partitions {
				if p := &topic.Partitions[i]; p.Partition == l.partition {
					*p = fetchedPartition{Partition: p.Partition, ErrorCode: int16(kafkago.NotLeaderForPartition), HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1}
					l.refusals++
					changed = true
				}
			}
		}
	}
	return changed
}

// TestAPartitionWithoutALeaderIsWaitedFor: the others are read meanwhile, the user
// is told which it is, and nothing is lost or read twice when it has a leader again.
func TestAPartitionWithoutALeaderIsWaitedFor(t *testing.T) {
	k := broker(t)
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("known=%v", known), func(t *testing.T) {
			topic := newTopic(t, k, 2)
			cluster := &leaderlessCluster{partition: -1}
			made, err := New(testLog(t)).Source(readTransform(t, k, topic, nil))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = made.Close() })
			s := made.(*source)
			s.transport.Dial = cluster.dial
			cluster.set(1, known) // there are none when the job starts, either
			splits, err := s.Splits(t.Context())
			told := func() bool {
				return beam.CodeOf(err) == beam.Unavailable && strings.Contains(err.Error(), topic+"-1") && strings.Contains(err.Error(), "no leader")
			}
			for tries := 0; known && !told() && tries < 100; tries++ { // those of a new topic come one by one
				time.Sleep(100 * time.Millisecond)
				splits, err = s.Splits(t.Context())
			}
			if known && !told() {
				t.Errorf("when the job starts the user is told: %v", err)
			}
			cluster.set(-1, false)
			for tries := 0; err != nil && tries < 600; tries++ { // as the runner does
				time.Sleep(100 * time.Millisecond)
				splits, err = s.Splits(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			g := newGroup(t, s, splits)
			var want []string
			write := func(from, to int) {
				for i := from; i < to; i++ {
					v := fmt.Sprintf("value-%02d", i)
					want = append(want, v)
					feed(t, k, topic, i%2, v)
				}
			}
			write(0, 10)
			g.read(10)
			cluster.set(1, known)
			s.transport.CloseIdleConnections() // it asks for metadata again
			write(10, 20)
			g.read(15)
			for tries := 0; g.failures < 3 && tries < 1000; tries++ {
				g.readSplit(1)
			}
			if g.failures < 3 || beam.CodeOf(g.last) != beam.Unavailable {
				t.Errorf("%d failures, the last: %v", g.failures, g.last)
			}
			for _, part := range []string{"no leader", topic, "Fresnel goes on"} {
				if !strings.Contains(fmt.Sprint(g.last), part) {
					t.Errorf("the user is told %v, without %q", g.last, part)
				}
			}
			if len(g.values) != 15 {
				t.Errorf("%d values were read, while the rest has no leader", len(g.values))
			}
			cluster.set(-1, false)
			write(20, 30)
			g.read(len(want))
			slices.Sort(g.values)
			if !slices.Equal(g.values, want) {
				t.Errorf("%q", g.values)
			}
		})
	}
}

// TestATopicWithoutLeadersIsToldOf: a start on it does not wait in silence.
func TestATopicWithoutLeadersIsToldOf(t *testing.T) {
	k := broker(t)
	topic := newTopic(t, k, 1)
	made, err := New(testLog(t)).Source(readTransform(t, k, topic, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	cluster := &leaderlessCluster{partition: -1, whole: true}
	made.(*source).transport.Dial = cluster.dial
	ctx, cancel := context.WithTimeout(t.Context(), 4*topicGrace)
	defer cancel()
	if _, err := made.Splits(ctx); beam.CodeOf(err) != beam.Unavailable || !strings.Contains(err.Error(), topic) {
		t.Errorf("the user is told: %v", err)
	}
}
