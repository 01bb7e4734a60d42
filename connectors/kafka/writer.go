package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"fresnel/internal/beam"
)

// writer implements connectors.Writer. An entry is encoded once into batches
// for each partition, numbered in the sequence of an idempotent producer; where
// an outcome is unknown, the same bytes are sent again and the broker knows
// them. Batches of one partition go one after another, so the order is kept.
type writer struct {
	*sink
	shard int
	*sequence
	// transactionalID goes with every batch of a transaction; "" outside one.
	transactionalID string
}

// sequence is what a shard has written. The sink keeps it, so that it outlives
// a writer that is closed after an error: the next one goes on.
type sequence struct {
	producer producer
	started  bool
	// next holds the number of the next record of each partition.
	next map[topicPartition]int32
	// pending is the entry that is being written; it outlives a failed Write.
	pending *encoded
}

// encoded is an encoded entry: what is not yet acknowledged of it.
type encoded struct {
	n     int64
	queue map[topicPartition][]batch
}

func newWriter(s *sink, shard int) *writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := s.sequences[shard]
	if seq == nil {
		seq = &sequence{producer: producer{id: -1, epoch: -1}, next: map[topicPartition]int32{}}
		s.sequences[shard] = seq
	}
	return &writer{sink: s, shard: shard, sequence: seq}
}

// Close implements connectors.Writer.
func (w *writer) Close() error { return nil }

// initProducer is kafka-go's request without its method that routes it to a
// transaction's coordinator: any broker gives out the id of a producer that
// has no transactions.
type initProducer initproducerid.Request

// ApiKey implements protocol.Message.
func (r *initProducer) ApiKey() protocol.ApiKey { return protocol.InitProducerId }

// begin contacts the cluster and gets a producer id.
func (w *writer) begin(ctx context.Context) error {
	if !w.config.idempotence {
		_, err := w.client.Metadata(ctx, &kafkago.MetadataRequest{})
		w.started = err == nil
		return w.failed(err, "connect")
	}
	p, err := w.newProducer(ctx)
	switch {
	case errors.Is(err, kafkago.ClusterAuthorizationFailed):
		w.log.Warn("the user may not write idempotently: records can be written twice when a connection is lost",
			"transform", w.name, "cure", "grant IDEMPOTENT_WRITE on the cluster")
		w.producer, w.started = producer{id: -1, epoch: -1}, true
		return nil
	case err != nil:
		return w.failed(err, "get a producer id")
	}
	w.producer, w.started = p, true
	clear(w.next)
	return nil
}

func (w *writer) newProducer(ctx context.Context) (producer, error) {
	ctx, cancel := context.WithTimeout(ctx, w.config.timeout)
	defer cancel()
	res, err := w.transport.RoundTrip(ctx, w.addr, &initProducer{ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return producer{}, err
	}
	r, ok := res.(*initproducerid.Response)
	switch {
	case !ok:
		return producer{}, fmt.Errorf("an answer of type %T", res)
	case r.ErrorCode != 0:
		return producer{}, kafkago.Error(r.ErrorCode)
	}
	return producer{id: r.ProducerID, epoch: r.ProducerEpoch}, nil
}

// failed explains an error; the next try finds the cluster anew.
func (w *writer) failed(err error, doing string) error {
	if err != nil {
		w.transport.CloseIdleConnections()
	}
	return w.explain(err, doing)
}

// Write implements connectors.Writer.
func (w *writer) Write(ctx context.Context, n int64, elements [][]byte) error {
	if w.pending == nil || w.pending.n != n {
		e, err := w.encode(ctx, n, elements)
		if err != nil {
			return err
		}
		w.pending = e
	}
	for len(w.pending.queue) > 0 {
		if err := w.send(ctx, w.pending); err != nil {
			return w.failed(err, "write to "+w.input.topic)
		}
	}
	w.pending = nil
	return nil
}

// encode makes the batches of an entry.
func (w *writer) encode(ctx context.Context, n int64, elements [][]byte) (*encoded, error) {
	e := &encoded{n: n, queue: map[topicPartition][]batch{}}
	open := map[topicPartition]*batchEncoder{}
	counts := map[string]int{}
	now := time.Now()
	var r addressed
	for _, b := range elements {
		if err := w.input.read(b, &r, now); err != nil {
			return nil, &beam.Error{Code: beam.BadData, Where: w.name, What: "an element cannot be written", Cause: err}
		}
		tp, err := w.address(ctx, &r, counts, n)
		if err != nil {
			return nil, err
		}
		enc := open[tp]
		if enc == nil {
			enc = &batchEncoder{}
			open[tp] = enc
		}
		if enc.count > 0 && enc.size()+len(r.key)+len(r.value)+64 > w.config.maxRequest {
			if err := w.finish(e, tp, enc); err != nil {
				return nil, err
			}
			*enc = batchEncoder{}
		}
		enc.add(&r.outRecord)
	}
	for tp, enc := range open {
		if err := w.finish(e, tp, enc); err != nil {
			return nil, err
		}
	}
	w.number(e)
	return e, nil
}

func (w *writer) finish(e *encoded, tp topicPartition, enc *batchEncoder) error {
	b, err := enc.finish(w.config.compression)
	if err != nil {
		return &beam.Error{Code: beam.Internal, Where: w.name, Cause: err}
	}
	e.queue[tp] = append(e.queue[tp], b)
	return nil
}

// number stamps the batches with the producer's next sequence numbers.
func (w *writer) number(e *encoded) {
	if w.producer.id < 0 {
		return
	}
	for tp, batches := range e.queue {
		next := w.next[tp]
		for i := range batches {
			batches[i].stamp(w.producer, next)
			next = int32((int64(next) + int64(batches[i].count)) & 0x7fffffff)
		}
		w.next[tp] = next
	}
}

// address returns the partition of a record. Records without a key stay
// together within an entry, as with Java's sticky partitioner.
func (w *writer) address(ctx context.Context, r *addressed, counts map[string]int, n int64) (topicPartition, error) {
	count, ok := counts[r.topic]
	if !ok {
		var err error
		if count, err = w.partitions(ctx, r.topic); err != nil {
			return topicPartition{}, err
		}
		counts[r.topic] = count
	}
	switch {
	case r.partition >= int32(count):
		return topicPartition{}, &beam.Error{Code: beam.BadData, Where: w.name,
			What: fmt.Sprintf("a row names partition %d of the topic %s, which has %d", r.partition, r.topic, count)}
	case r.partition >= 0:
		return topicPartition{r.topic, r.partition}, nil
	case r.key != nil:
		return topicPartition{r.topic, partitionOf(r.key, count)}, nil
	}
	return topicPartition{r.topic, int32((n + int64(w.shard)) % int64(count))}, nil
}

// partitions returns the number of partitions of a topic, waiting a moment for
// a broker that creates it.
func (w *writer) partitions(ctx context.Context, topic string) (int, error) {
	if topic == "" {
		return 0, &beam.Error{Code: beam.BadData, Where: w.name, What: "a row names no topic, and the transform names none either"}
	}
	deadline := time.Now().Add(topicGrace)
	for {
		meta, err := w.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
		if err != nil {
			return 0, w.failed(err, "find the partitions of "+topic)
		}
		if len(meta.Topics) == 1 && meta.Topics[0].Error == nil && len(meta.Topics[0].Partitions) > 0 {
			return len(meta.Topics[0].Partitions), nil
		}
		if err := meta.Topics[0].Error; err != nil && !errors.Is(err, kafkago.UnknownTopicOrPartition) {
			return 0, w.failed(err, "find the partitions of "+topic)
		}
		if time.Now().After(deadline) {
			return 0, w.noTopic(topic)
		}
		autoCreate(ctx, w.transport, w.addr, topic)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		w.transport.CloseIdleConnections()
	}
}

// send sends the first batch of every partition of the entry, one request for
// each leader, and takes what is acknowledged off the queue.
func (w *writer) send(ctx context.Context, e *encoded) error {
	requests, err := w.requests(ctx, e)
	if err != nil {
		return err
	}
	results := make([]*produce.Response, len(requests))
	errs := make([]error, len(requests))
	var wait sync.WaitGroup
	for i, req := range requests {
		wait.Go(func() { results[i], errs[i] = w.produce(ctx, req) })
	}
	wait.Wait() // also for the bytes: they may be stamped anew below
	forgotten := false
	for i, res := range results {
		if errs[i] == nil {
			var lost bool
			lost, errs[i] = w.take(e, res)
			forgotten = forgotten || lost
		}
	}
	err = errors.Join(errs...)
	if forgotten {
		err = errors.Join(err, w.renumber(ctx, e))
	}
	return err
}

func (w *writer) produce(ctx context.Context, req *rawproduce.Request) (*produce.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, w.config.timeout+5*time.Second)
	defer cancel()
	res, err := w.transport.RoundTrip(ctx, w.addr, req)
	if err != nil {
		return nil, err
	}
	r, ok := res.(*produce.Response)
	if !ok {
		return nil, fmt.Errorf("an answer of type %T", res)
	}
	return r, nil
}

// requests groups the first batches by their partitions' leaders.
func (w *writer) requests(ctx context.Context, e *encoded) ([]*rawproduce.Request, error) {
	meta, err := w.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: topicsOf(e)})
	if err != nil {
		return nil, err
	}
	byLeader := map[int]*rawproduce.Request{}
	for _, topic := range meta.Topics {
		for _, p := range topic.Partitions {
			batches := e.queue[topicPartition{topic.Name, int32(p.ID)}]
			if len(batches) == 0 {
				continue
			}
			req := byLeader[p.Leader.ID]
			if req == nil {
				req = &rawproduce.Request{TransactionalID: w.transactionalID, Acks: -1, Timeout: int32(w.config.timeout.Milliseconds())}
				byLeader[p.Leader.ID] = req
			}
			addPartition(req, topic.Name, p.ID, batches[0].raw)
		}
	}
	if len(byLeader) == 0 {
		return nil, kafkago.LeaderNotAvailable
	}
	requests := make([]*rawproduce.Request, 0, len(byLeader))
	for _, r := range byLeader {
		requests = append(requests, r)
	}
	return requests, nil
}

func topicsOf(e *encoded) []string {
	var topics []string
	seen := map[string]bool{}
	for tp := range e.queue {
		if !seen[tp.topic] {
			topics, seen[tp.topic] = append(topics, tp.topic), true
		}
	}
	return topics
}

func addPartition(req *rawproduce.Request, topic string, partition int, raw []byte) {
	prefix := binary.BigEndian.AppendUint32(nil, uint32(len(raw))) // kafka-go writes the set as it is
	p := rawproduce.RequestPartition{Partition: int32(partition),
		RecordSet: protocol.RawRecordSet{Reader: io.MultiReader(bytes.NewReader(prefix), bytes.NewReader(raw))}}
	for i := range req.Topics {
		if req.Topics[i].Topic == topic {
			req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
			return
		}
	}
	req.Topics = append(req.Topics, rawproduce.RequestTopic{Topic: topic, Partitions: []rawproduce.RequestPartition{p}})
}

// forgetting are the answers to an idempotent producer that the broker does not
// know any more.
var forgetting = []kafkago.Error{
	kafkago.OutOfOrderSequenceNumber, kafkago.UnknownProducerId, kafkago.InvalidProducerEpoch, kafkago.InvalidProducerIDMapping,
}

// take reads an answer: what is there, also from an earlier try, leaves the
// queue. forgotten tells that the broker does not know the producer any more,
// which happens when its records expire, or its log was lost with a leader.
func (w *writer) take(e *encoded, res *produce.Response) (forgotten bool, err error) {
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			tp := topicPartition{t.Topic, p.Partition}
			switch code := kafkago.Error(p.ErrorCode); {
			case code == 0, code == kafkago.DuplicateSequenceNumber:
				e.acknowledge(tp)
			case !w.producer.transactional && slices.Contains(forgetting, code):
				forgotten = true
			default:
				err = errors.Join(err, fmt.Errorf("%s: %w", tp, code))
			}
		}
	}
	return forgotten, err
}

func (e *encoded) acknowledge(tp topicPartition) {
	if len(e.queue[tp]) <= 1 {
		delete(e.queue, tp)
		return
	}
	e.queue[tp] = e.queue[tp][1:]
}

// renumber starts a new sequence.
func (w *writer) renumber(ctx context.Context, e *encoded) error {
	w.log.Warn("the broker does not know the producer any more: records may be written twice", "transform", w.name)
	if err := w.begin(ctx); err != nil {
		return err
	}
	for _, batches := range e.queue {
		for i := range batches {
			batches[i].raw = bytes.Clone(batches[i].raw) // a request that was given up may still read the old
		}
	}
	w.number(e)
	return nil
}
