package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/segmentio/kafka-go/protocol"

	// Registers its own Fetch messages, which the init function here replaces:
	// it must come before.
	_ "github.com/segmentio/kafka-go/protocol/fetch"
)

// The Fetch messages of the protocol, versions 4 (Kafka 0.11) to 11, with the
// record set kept as bytes. kafka-go's transport sends whatever messages are
// registered for an API; its own decode the records while they read.
func init() { protocol.Register(&fetchRequest{}, &fetchResponse{}) }

type fetchRequest struct {
	ReplicaID       int32            `kafka:"min=v4,max=v11"`
	MaxWaitTime     int32            `kafka:"min=v4,max=v11"` // milliseconds
	MinBytes        int32            `kafka:"min=v4,max=v11"`
	MaxBytes        int32            `kafka:"min=v4,max=v11"`
	IsolationLevel  int8             `kafka:"min=v4,max=v11"`
	SessionID       int32            `kafka:"min=v7,max=v11"`
	SessionEpoch    int32            `kafka:"min=v7,max=v11"`
	Topics          []fetchTopic     `kafka:"min=v4,max=v11"`
	ForgottenTopics []forgottenTopic `kafka:"min=v7,max=v11"`
	RackID          string           `kafka:"min=v11,max=v11"`
}

type fetchTopic struct {
	Topic      string           `kafka:"min=v4,max=v11"`
	Partitions []fetchPartition `kafka:"min=v4,max=v11"`
}

type fetchPartition struct {
	Partition          int32 `kafka:"min=v4,max=v11"`
	CurrentLeaderEpoch int32 `kafka:"min=v9,max=v11"`
	FetchOffset        int64 `kafka:"min=v4,max=v11"`
	LogStartOffset     int64 `kafka:"min=v5,max=v11"`
	PartitionMaxBytes  int32 `kafka:"min=v4,max=v11"`
}

type forgottenTopic struct {
	Topic      string  `kafka:"min=v7,max=v11"`
	Partitions []int32 `kafka:"min=v7,max=v11"`
}

func (r *fetchRequest) ApiKey() protocol.ApiKey { return protocol.Fetch }

// Broker routes the request to the leader of its one partition.
func (r *fetchRequest) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	none := protocol.Broker{ID: -1}
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return none, errors.New("a fetch is for one partition")
	}
	name, number := r.Topics[0].Topic, r.Topics[0].Partitions[0].Partition
	topic, ok := cluster.Topics[name]
	if !ok {
		return none, protocol.NewErrNoTopic(name)
	}
	partition, ok := topic.Partitions[number]
	if !ok {
		return none, protocol.NewErrNoPartition(name, number)
	}
	broker, ok := cluster.Brokers[partition.Leader]
	if !ok {
		return none, protocol.NewErrNoLeader(name, number)
	}
	return broker, nil
}

type fetchResponse struct {
	ThrottleTimeMs int32          `kafka:"min=v4,max=v11"`
	ErrorCode      int16          `kafka:"min=v7,max=v11"`
	SessionID      int32          `kafka:"min=v7,max=v11"`
	Topics         []fetchedTopic `kafka:"min=v4,max=v11"`
}

func (r *fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

type fetchedTopic struct {
	Topic      string             `kafka:"min=v4,max=v11"`
	Partitions []fetchedPartition `kafka:"min=v4,max=v11"`
}

type fetchedPartition struct {
	Partition            int32                `kafka:"min=v4,max=v11"`
	ErrorCode            int16                `kafka:"min=v4,max=v11"`
	HighWatermark        int64                `kafka:"min=v4,max=v11"`
	LastStableOffset     int64                `kafka:"min=v4,max=v11"`
	LogStartOffset       int64                `kafka:"min=v5,max=v11"`
	AbortedTransactions  []fetchedTransaction `kafka:"min=v4,max=v11"`
	PreferredReadReplica int32                `kafka:"min=v11,max=v11"`
	RecordSet            rawSet               `kafka:"min=v4,max=v11"`
}

type fetchedTransaction struct {
	ProducerID  int64 `kafka:"min=v4,max=v11"`
	FirstOffset int64 `kafka:"min=v4,max=v11"`
}

// rawSet is a record set as it came. Its buffer is pooled: free gives it back.
type rawSet struct{ data []byte }

// maxSetBytes bounds a record set: the size that is asked for is a target,
// which a single large batch may exceed.
const maxSetBytes = 1 << 30

var setBuffers = sync.Pool{New: func() any { return new([]byte) }}

// ReadFrom reads the set with its length; kafka-go calls it for a field of the
// type with a reader that ends with the message.
func (s *rawSet) ReadFrom(r io.Reader) (int64, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return 0, err
	}
	size := int32(binary.BigEndian.Uint32(prefix[:]))
	switch {
	case size <= 0:
		return 4, nil
	case size > maxSetBytes:
		return 4, fmt.Errorf("a record set of %d bytes", size)
	}
	buffer := *setBuffers.Get().(*[]byte)
	if cap(buffer) < int(size) {
		buffer = make([]byte, size)
	}
	s.data = buffer[:size]
	n, err := io.ReadFull(r, s.data)
	return int64(4 + n), err
}

// WriteTo writes the set with its length, for kafka-go's encoder.
func (s *rawSet) WriteTo(w io.Writer) (int64, error) {
	var prefix [4]byte
	binary.BigEndian.PutUint32(prefix[:], uint32(len(s.data)))
	if _, err := w.Write(prefix[:]); err != nil {
		return 0, err
	}
	n, err := w.Write(s.data)
	return int64(4 + n), err
}

// free gives the buffer back; nothing may point into it any more.
func (s *rawSet) free() {
	if buffer := s.data; buffer != nil {
		s.data = nil
		setBuffers.Put(&buffer)
	}
}
