package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

// transactions speaks for one transactional id to its two coordinators: that of
// the transactions, and that of the group which holds the progress. One
// transaction is
//
//	AddPartitionsToTxn, AddOffsetsToTxn   what it will write
//	Produce, TxnOffsetCommit              the records, the progress
//	EndTxn                                both become visible, or neither
//
// (KIP-98). It is used by one goroutine at a time.
type transactions struct {
	link
	limit time.Duration // after which the broker aborts a transaction
	// id is the transactional id, and the group's.
	id       string
	producer producer
	// leaders are the coordinators by kind, where they are known.
	leaders map[kafkago.CoordinatorKeyType]int32
}

// notYet are answers of a coordinator that is being moved, loads its log or
// still completes the transaction before: the next try finds it ready.
var notYet = []kafkago.Error{
	kafkago.GroupLoadInProgress, kafkago.GroupCoordinatorNotAvailable, kafkago.NotCoordinatorForGroup,
	kafkago.ConcurrentTransactions, kafkago.UnstableOffsetCommit,
}

// fencing are the answers to a producer whose epoch is not the transactional
// id's any more: another one took over, or the broker gave the transaction up.
var fencing = []kafkago.Error{
	kafkago.InvalidProducerEpoch, kafkago.ProducerFenced, kafkago.InvalidProducerIDMapping, kafkago.InvalidTransactionState,
	kafkago.UnknownProducerId, kafkago.OutOfOrderSequenceNumber,
}

func isOneOf(err error, codes []kafkago.Error) bool {
	var code kafkago.Error
	return errors.As(err, &code) && slices.Contains(codes, code)
}

// Between two tries of a request that the broker is not ready for; patience
// bounds them all.
const (
	firstPause = time.Millisecond
	longPause  = 100 * time.Millisecond
	patience   = 10 * time.Second
)

// patiently repeats a request while the broker says that it is not ready yet.
func (t *transactions) patiently(ctx context.Context, request func() error) error {
	deadline := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := request()
		if !isOneOf(err, notYet) || time.Now().After(deadline) {
			return err
		}
		if !errors.Is(err, kafkago.ConcurrentTransactions) {
			clear(t.leaders)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// link is how requests get to a cluster.
type link struct {
	transport *kafkago.Transport
	addr      net.Addr
	timeout   time.Duration // of one request
}

// ask sends one request and returns its answer.
func ask[T kafkago.Response](ctx context.Context, l link, request kafkago.Request) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var none T
	res, err := l.transport.RoundTrip(ctx, l.addr, request)
	if err != nil {
		return none, err
	}
	answer, ok := res.(T)
	if !ok {
		return none, fmt.Errorf("an answer of type %T", res)
	}
	return answer, nil
}

// coded is nil for code 0.
func coded(code int16) error {
	if code == 0 {
		return nil
	}
	return kafkago.Error(code)
}

// leader finds a coordinator once; patiently forgets it when it has moved.
func (t *transactions) leader(ctx context.Context, kind kafkago.CoordinatorKeyType) (coordinator, error) {
	if node, ok := t.leaders[kind]; ok {
		return coordinator{node}, nil
	}
	r, err := ask[*findcoordinator.Response](ctx, t.link, &findcoordinator.Request{Key: t.id, KeyType: int8(kind)})
	if err == nil {
		err = coded(r.ErrorCode)
	}
	if err != nil {
		return coordinator{-1}, err
	}
	t.leaders[kind] = r.NodeID
	return coordinator{r.NodeID}, nil
}

// start makes this producer the owner of the transactional id: whoever was is
// fenced, and its open transaction is aborted or, if its commit was accepted,
// completed before the answer.
func (t *transactions) start(ctx context.Context) error {
	clear(t.leaders)
	return t.patiently(ctx, func() error {
		r, err := ask[*initproducerid.Response](ctx, t.link, &initproducerid.Request{
			TransactionalID:      t.id,
			TransactionTimeoutMs: int32(t.limit.Milliseconds()),
			ProducerID:           -1,
			ProducerEpoch:        -1,
		})
		if err == nil {
			err = coded(r.ErrorCode)
		}
		if err == nil {
			t.producer = producer{id: r.ProducerID, epoch: r.ProducerEpoch, transactional: true}
		}
		return err
	})
}

// open begins a transaction: it names the partitions that it will write to, and
// that it will commit offsets.
func (t *transactions) open(ctx context.Context, partitions []topicPartition) error {
	if len(partitions) > 0 {
		if err := t.patiently(ctx, func() error { return t.addPartitions(ctx, partitions) }); err != nil {
			return err
		}
	}
	return t.patiently(ctx, func() error {
		to, err := t.leader(ctx, kafkago.CoordinatorKeyTypeTransaction)
		if err != nil {
			return err
		}
		r, err := ask[*codeResponse25](ctx, t.link, &addOffsetsRequest{
			TransactionalID: t.id, ProducerID: t.producer.id, ProducerEpoch: t.producer.epoch, GroupID: t.id, to: to})
		if err != nil {
			return err
		}
		return coded(r.ErrorCode)
	})
}

func (t *transactions) addPartitions(ctx context.Context, partitions []topicPartition) error {
	to, err := t.leader(ctx, kafkago.CoordinatorKeyTypeTransaction)
	if err != nil {
		return err
	}
	r, err := ask[*addPartitionsResponse](ctx, t.link, &addPartitionsRequest{
		TransactionalID: t.id, ProducerID: t.producer.id, ProducerEpoch: t.producer.epoch, Topics: byTopic(partitions), to: to})
	if err != nil {
		return err
	}
	return firstError(r.Results)
}

func byTopic(partitions []topicPartition) []txnTopic {
	var topics []txnTopic
	for _, tp := range partitions {
		i := slices.IndexFunc(topics, func(t txnTopic) bool { return t.Name == tp.topic })
		if i < 0 {
			i = len(topics)
			topics = append(topics, txnTopic{Name: tp.topic})
		}
		topics[i].Partitions = append(topics[i].Partitions, tp.partition)
	}
	return topics
}

// notAttempted is OPERATION_NOT_ATTEMPTED, which kafka-go calls otherwise.
const notAttempted = kafkago.Error(55)

// firstError returns the first thing that went wrong; an answer "not attempted"
// only says that something else did.
func firstError(results []txnTopicResult) error {
	var first error
	for _, t := range results {
		for _, p := range t.Partitions {
			if err := coded(p.ErrorCode); err != nil && (first == nil || errors.Is(first, notAttempted)) {
				first = err
			}
		}
	}
	return first
}

// commitOffset takes an offset of partition 0 of a topic, with metadata, into
// the transaction.
func (t *transactions) commitOffset(ctx context.Context, topic string, offset int64, metadata string) error {
	return t.patiently(ctx, func() error {
		to, err := t.leader(ctx, kafkago.CoordinatorKeyTypeConsumer)
		if err != nil {
			return err
		}
		r, err := ask[*txnCommitResponse](ctx, t.link, &txnCommitRequest{
			TransactionalID: t.id, GroupID: t.id, ProducerID: t.producer.id, ProducerEpoch: t.producer.epoch, GenerationID: -1,
			Topics: []txnCommitTopic{{Name: topic, Partitions: []txnCommitPartition{{Offset: offset, LeaderEpoch: -1, Metadata: metadata}}}},
			to:     to,
		})
		if err != nil {
			return err
		}
		return firstError(r.Results)
	})
}

// end commits or aborts the transaction. After an error of a commit its outcome
// is unknown: start brings it to an end, and offsets tells which.
func (t *transactions) end(ctx context.Context, commit bool) error {
	return t.patiently(ctx, func() error {
		to, err := t.leader(ctx, kafkago.CoordinatorKeyTypeTransaction)
		if err != nil {
			return err
		}
		r, err := ask[*codeResponse26](ctx, t.link, &endTxnRequest{
			TransactionalID: t.id, ProducerID: t.producer.id, ProducerEpoch: t.producer.epoch, Committed: commit, to: to})
		if err != nil {
			return err
		}
		return coded(r.ErrorCode)
	})
}

// offsets returns what the group has committed, of all topics. stable waits for
// a transaction that commits offsets; it may be our own, which waits for us.
func (t *transactions) offsets(ctx context.Context, stable bool) ([]fetchedOffsetTopic, error) {
	var topics []fetchedOffsetTopic
	err := t.patiently(ctx, func() error {
		r, err := ask[*offsetFetchResponse](ctx, t.link, &offsetFetchRequest{GroupID: t.id, RequireStable: stable})
		if err != nil {
			return err
		}
		topics = r.Topics
		return offsetsError(r)
	})
	return topics, err
}

func offsetsError(r *offsetFetchResponse) error {
	if err := coded(r.ErrorCode); err != nil {
		return err
	}
	for _, topic := range r.Topics {
		for _, p := range topic.Partitions {
			if err := coded(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
