package kafka

import (
	"github.com/segmentio/kafka-go/protocol"

	// These register messages of their own, which the init function here
	// replaces: they must come before.
	_ "github.com/segmentio/kafka-go/protocol/addoffsetstotxn"
	_ "github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	_ "github.com/segmentio/kafka-go/protocol/endtxn"
	_ "github.com/segmentio/kafka-go/protocol/offsetfetch"
	_ "github.com/segmentio/kafka-go/protocol/txnoffsetcommit"
)

// The messages of a transaction. kafka-go has them too, but it asks for the
// coordinator before each of them, which doubles the round trips of an entry:
// ours go to the broker that they name. Its OffsetFetch ends at version 5,
// before require_stable.
func init() {
	protocol.Register(&addPartitionsRequest{}, &addPartitionsResponse{})
	protocol.Register(&addOffsetsRequest{}, &codeResponse25{})
	protocol.Register(&endTxnRequest{}, &codeResponse26{})
	protocol.Register(&txnCommitRequest{}, &txnCommitResponse{})
	protocol.Register(&offsetFetchRequest{}, &offsetFetchResponse{})
}

// coordinator is the broker that a message goes to.
type coordinator struct{ node int32 }

func (c coordinator) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: c.node}, nil
}

type addPartitionsRequest struct {
	_               struct{}   `kafka:"min=v3,max=v3,tag"`
	TransactionalID string     `kafka:"min=v0,max=v3"`
	ProducerID      int64      `kafka:"min=v0,max=v3"`
	ProducerEpoch   int16      `kafka:"min=v0,max=v3"`
	Topics          []txnTopic `kafka:"min=v0,max=v3"`

	to coordinator
}

type txnTopic struct {
	_          struct{} `kafka:"min=v3,max=v3,tag"`
	Name       string   `kafka:"min=v0,max=v3"`
	Partitions []int32  `kafka:"min=v0,max=v3"`
}

func (r *addPartitionsRequest) ApiKey() protocol.ApiKey { return protocol.AddPartitionsToTxn }
func (r *addPartitionsRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	return r.to.Broker(c)
}

type addPartitionsResponse struct {
	_              struct{}         `kafka:"min=v3,max=v3,tag"`
	ThrottleTimeMs int32            `kafka:"min=v0,max=v3"`
	Results        []txnTopicResult `kafka:"min=v0,max=v3"`
}

type txnTopicResult struct {
	_          struct{}             `kafka:"min=v3,max=v3,tag"`
	Name       string               `kafka:"min=v0,max=v3"`
	Partitions []txnPartitionResult `kafka:"min=v0,max=v3"`
}

type txnPartitionResult struct {
	_         struct{} `kafka:"min=v3,max=v3,tag"`
	Partition int32    `kafka:"min=v0,max=v3"`
	ErrorCode int16    `kafka:"min=v0,max=v3"`
}

func (r *addPartitionsResponse) ApiKey() protocol.ApiKey { return protocol.AddPartitionsToTxn }

type addOffsetsRequest struct {
	_               struct{} `kafka:"min=v3,max=v3,tag"`
	TransactionalID string   `kafka:"min=v0,max=v3"`
	ProducerID      int64    `kafka:"min=v0,max=v3"`
	ProducerEpoch   int16    `kafka:"min=v0,max=v3"`
	GroupID         string   `kafka:"min=v0,max=v3"`

	to coordinator
}

func (r *addOffsetsRequest) ApiKey() protocol.ApiKey { return protocol.AddOffsetsToTxn }
func (r *addOffsetsRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	return r.to.Broker(c)
}

// codeResponse25 is the answer to AddOffsetsToTxn (API 25).
type codeResponse25 struct {
	_              struct{} `kafka:"min=v3,max=v3,tag"`
	ThrottleTimeMs int32    `kafka:"min=v0,max=v3"`
	ErrorCode      int16    `kafka:"min=v0,max=v3"`
}

func (r *codeResponse25) ApiKey() protocol.ApiKey { return protocol.AddOffsetsToTxn }

type endTxnRequest struct {
	_               struct{} `kafka:"min=v3,max=v3,tag"`
	TransactionalID string   `kafka:"min=v0,max=v3"`
	ProducerID      int64    `kafka:"min=v0,max=v3"`
	ProducerEpoch   int16    `kafka:"min=v0,max=v3"`
	Committed       bool     `kafka:"min=v0,max=v3"`

	to coordinator
}

func (r *endTxnRequest) ApiKey() protocol.ApiKey                            { return protocol.EndTxn }
func (r *endTxnRequest) Broker(c protocol.Cluster) (protocol.Broker, error) { return r.to.Broker(c) }

// codeResponse26 is the answer to EndTxn (API 26).
type codeResponse26 struct {
	_              struct{} `kafka:"min=v3,max=v3,tag"`
	ThrottleTimeMs int32    `kafka:"min=v0,max=v3"`
	ErrorCode      int16    `kafka:"min=v0,max=v3"`
}

func (r *codeResponse26) ApiKey() protocol.ApiKey { return protocol.EndTxn }

type txnCommitRequest struct {
	_               struct{}         `kafka:"min=v3,max=v3,tag"`
	TransactionalID string           `kafka:"min=v0,max=v3"`
	GroupID         string           `kafka:"min=v0,max=v3"`
	ProducerID      int64            `kafka:"min=v0,max=v3"`
	ProducerEpoch   int16            `kafka:"min=v0,max=v3"`
	GenerationID    int32            `kafka:"min=v3,max=v3"`
	MemberID        string           `kafka:"min=v3,max=v3"`
	GroupInstanceID string           `kafka:"min=v3,max=v3,nullable"`
	Topics          []txnCommitTopic `kafka:"min=v0,max=v3"`

	to coordinator
}

type txnCommitTopic struct {
	_          struct{}             `kafka:"min=v3,max=v3,tag"`
	Name       string               `kafka:"min=v0,max=v3"`
	Partitions []txnCommitPartition `kafka:"min=v0,max=v3"`
}

type txnCommitPartition struct {
	_           struct{} `kafka:"min=v3,max=v3,tag"`
	Partition   int32    `kafka:"min=v0,max=v3"`
	Offset      int64    `kafka:"min=v0,max=v3"`
	LeaderEpoch int32    `kafka:"min=v2,max=v3"`
	Metadata    string   `kafka:"min=v0,max=v3,nullable"`
}

func (r *txnCommitRequest) ApiKey() protocol.ApiKey { return protocol.TxnOffsetCommit }
func (r *txnCommitRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	return r.to.Broker(c)
}

type txnCommitResponse struct {
	_              struct{}         `kafka:"min=v3,max=v3,tag"`
	ThrottleTimeMs int32            `kafka:"min=v0,max=v3"`
	Results        []txnTopicResult `kafka:"min=v0,max=v3"`
}

func (r *txnCommitResponse) ApiKey() protocol.ApiKey { return protocol.TxnOffsetCommit }

// offsetFetchRequest asks for what a group has committed; without topics, for
// all of it. RequireStable has the broker answer UNSTABLE_OFFSET_COMMIT while a
// transaction that commits offsets is being completed.
type offsetFetchRequest struct {
	_             struct{}           `kafka:"min=v6,max=v7,tag"`
	GroupID       string             `kafka:"min=v1,max=v7"`
	Topics        []offsetFetchTopic `kafka:"min=v1,max=v7,nullable"`
	RequireStable bool               `kafka:"min=v7,max=v7"`
}

type offsetFetchTopic struct {
	_          struct{} `kafka:"min=v6,max=v7,tag"`
	Name       string   `kafka:"min=v1,max=v7"`
	Partitions []int32  `kafka:"min=v1,max=v7"`
}

func (r *offsetFetchRequest) ApiKey() protocol.ApiKey { return protocol.OffsetFetch }

// Group has kafka-go find the group's coordinator.
func (r *offsetFetchRequest) Group() string { return r.GroupID }

type offsetFetchResponse struct {
	_              struct{}             `kafka:"min=v6,max=v7,tag"`
	ThrottleTimeMs int32                `kafka:"min=v3,max=v7"`
	Topics         []fetchedOffsetTopic `kafka:"min=v1,max=v7"`
	ErrorCode      int16                `kafka:"min=v2,max=v7"`
}

type fetchedOffsetTopic struct {
	_          struct{}        `kafka:"min=v6,max=v7,tag"`
	Name       string          `kafka:"min=v1,max=v7"`
	Partitions []fetchedOffset `kafka:"min=v1,max=v7"`
}

type fetchedOffset struct {
	_           struct{} `kafka:"min=v6,max=v7,tag"`
	Partition   int32    `kafka:"min=v1,max=v7"`
	Offset      int64    `kafka:"min=v1,max=v7"`
	LeaderEpoch int32    `kafka:"min=v5,max=v7"`
	Metadata    string   `kafka:"min=v1,max=v7,nullable"`
	ErrorCode   int16    `kafka:"min=v1,max=v7"`
}

func (r *offsetFetchResponse) ApiKey() protocol.ApiKey { return protocol.OffsetFetch }
