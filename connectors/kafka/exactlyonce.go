package kafka

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/internal/beam"
)

// exactlyOnce implements connectors.Writer for an outbox that survives crashes:
// an entry is one transaction, and the entry's number is in it, as an offset
// that the shard's own group commits. So the group's offset says which entries
// are there, and only that says it: whatever fails, the writer starts again from
// there.
//
//	group = transactional id   fresnel.<job>.<hash of the sink's name>.<shard>
//	offset of partition 0      n, the last entry that is there
//	its metadata               the epoch of the shard's owner
//
// Two things fence older owners. The broker accepts one producer of a
// transactional id, the one that came last, and when it accepts a new one the
// old one's transaction is over: so what the group's offset says is final for
// whoever reads it after that. And the owner's epoch says who of two that come
// again and again is right. docs/decisions has the whole argument.
type exactlyOnce struct {
	writer
	txn   *transactions
	epoch int64

	mu sync.Mutex // entries and refresh
	// ready: the producer is ours and last is what the group says. After any
	// error it is not.
	ready   bool
	last    int64
	refresh *time.Timer
}

// progress is what a group's offset says.
type progress struct {
	topic string // that it is committed for, "" if there is none
	n     int64
	epoch int64
}

// The metadata of the offset: a version and the owner's epoch.
const progressMetadata = "fresnel 1 epoch %d"

// refreshEvery is how often an idle shard commits its progress again: brokers
// forget what was not committed for a week (offsets.retention.minutes).
const refreshEvery = 12 * time.Hour

// transactionalID names a shard of a sink. The prefix is the user's, for
// permissions: it may be longer than the rest.
func transactionalID(prefix, job, sink string, shard int) string {
	sum := sha256.Sum256([]byte(sink))
	return fmt.Sprintf("%s.%s.%s.%d", prefix, job, hex.EncodeToString(sum[:8]), shard)
}

func newExactlyOnce(s *sink, shard int, epoch int64) *exactlyOnce {
	id := transactionalID(s.config.idPrefix, s.job, s.name, shard)
	return &exactlyOnce{
		writer: writer{sink: s, shard: shard, sequence: &sequence{next: map[topicPartition]int32{}}, transactionalID: id},
		epoch:  epoch,
		txn: &transactions{link: link{s.transport, s.addr, s.config.timeout}, limit: s.config.transactionTimeout,
			id: id, leaders: map[kafkago.CoordinatorKeyType]int32{}},
	}
}

// begin takes the shard and finds its progress.
func (w *exactlyOnce) begin(ctx context.Context) error {
	if w.input.topic != "" {
		if _, err := w.partitions(ctx, w.input.topic); err != nil {
			return err
		}
	}
	// An older owner must not take the transactional id from the newer. What is
	// still open is ours, or its owner is fenced by the next step.
	if _, err := w.progress(ctx, false); err != nil {
		return err
	}
	if err := w.txn.start(ctx); err != nil {
		return w.unsure(ctx, err, "take the transactional id "+w.txn.id)
	}
	p, err := w.progress(ctx, true)
	if err != nil {
		return err
	}
	w.producer = w.txn.producer
	clear(w.next)
	if p.topic == "" {
		p.topic = w.input.topic
	}
	if p.epoch < w.epoch && p.topic != "" {
		if err := w.claim(ctx, p); err != nil {
			return err
		}
	}
	w.last, w.ready = p.n, true
	w.refreshLater(p.topic)
	return nil
}

// progress reads the group's offset; an older owner learns from it that it is.
func (w *exactlyOnce) progress(ctx context.Context, stable bool) (progress, error) {
	topics, err := w.txn.offsets(ctx, stable)
	if err != nil {
		return progress{}, w.explainTxn(err, "read the progress of group "+w.txn.id)
	}
	var p progress
	for _, topic := range topics {
		for _, o := range topic.Partitions {
			if o.Offset < 0 {
				continue
			}
			var epoch int64
			if _, err := fmt.Sscanf(o.Metadata, progressMetadata, &epoch); err != nil {
				return p, &beam.Error{Code: beam.Rejected, Where: w.name,
					What: fmt.Sprintf("the offset of group %s at Kafka %s was not committed by Fresnel", w.txn.id, strings.Join(w.config.servers, ",")),
					Cure: "leave the group to Fresnel; start the job anew, from where its results are"}
			}
			p.epoch = max(p.epoch, epoch)
			if p.topic == "" || o.Offset > p.n {
				p.topic, p.n = topic.Name, o.Offset
			}
		}
	}
	if p.epoch > w.epoch {
		return p, w.superseded(p.epoch)
	}
	return p, nil
}

func (w *exactlyOnce) superseded(epoch int64) error {
	return &beam.Error{Code: beam.Rejected, Where: w.name,
		What: fmt.Sprintf("shard %d of %s belongs to a newer owner (epoch %d, ours is %d)", w.shard, w.txn.id, epoch, w.epoch),
		Cure: "the job runs elsewhere: stop one of the two"}
}

// claim commits the progress as it is, under our epoch.
func (w *exactlyOnce) claim(ctx context.Context, p progress) error {
	doing := "keep progress in group " + w.txn.id
	if err := w.txn.open(ctx, nil); err != nil {
		return w.unsure(ctx, err, doing)
	}
	if err := w.txn.commitOffset(ctx, p.topic, p.n, w.metadata()); err != nil {
		return w.unsure(ctx, err, doing)
	}
	return w.unsure(ctx, w.txn.end(ctx, true), doing)
}

func (w *exactlyOnce) metadata() string { return fmt.Sprintf(progressMetadata, w.epoch) }

// Write implements connectors.Writer.
func (w *exactlyOnce) Write(ctx context.Context, n int64, elements [][]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ready {
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	switch {
	case n <= w.last:
		return nil
	case n != w.last+1:
		return w.missing(n)
	}
	e, err := w.encode(ctx, n, elements)
	if err != nil {
		return err // nothing was sent
	}
	w.ready = false
	topic := w.progressTopic(e)
	if err := w.transact(ctx, e, topic); err != nil {
		return err
	}
	w.last, w.ready = n, true
	w.refreshLater(topic)
	return nil
}

// missing stops where entries before n should be there, and the progress does
// not say so.
func (w *exactlyOnce) missing(n int64) error {
	return &beam.Error{Code: beam.Rejected, Where: w.name,
		What: fmt.Sprintf("the progress of group %s at Kafka %s says entry %d, but entry %d was written",
			w.txn.id, strings.Join(w.config.servers, ","), w.last, n-1),
		Cure: "the group's offsets were lost, expired (offsets.retention.minutes) or were changed, or the topic was made anew: " +
			"start the job anew, from where its results are"}
}

// transact writes an entry and its number in one transaction.
func (w *exactlyOnce) transact(ctx context.Context, e *encoded, topic string) error {
	doing := "write to " + w.target()
	err := w.txn.open(ctx, partitionsOf(e))
	if err == nil {
		err = w.fill(ctx, e, topic)
	}
	if err != nil {
		w.abort(ctx, err)
		return w.unsure(ctx, err, doing)
	}
	return w.unsure(ctx, w.txn.end(ctx, true), doing)
}

func (w *exactlyOnce) target() string {
	if w.input.topic == "" {
		return "the topics of the rows"
	}
	return w.input.topic
}

// progressTopic is where the progress of an entry is committed: at the topic of
// the transform or, where only rows name topics, the first of the entry's.
func (w *exactlyOnce) progressTopic(e *encoded) string {
	if w.input.topic != "" {
		return w.input.topic
	}
	topics := topicsOf(e)
	slices.Sort(topics)
	return strings.Join(topics[:min(len(topics), 1)], "")
}

func partitionsOf(e *encoded) []topicPartition {
	return slices.SortedFunc(maps.Keys(e.queue), func(a, b topicPartition) int {
		if c := strings.Compare(a.topic, b.topic); c != 0 {
			return c
		}
		return int(a.partition) - int(b.partition)
	})
}

// fill sends what is in the transaction: the records, and beside them the
// progress.
func (w *exactlyOnce) fill(ctx context.Context, e *encoded, topic string) error {
	progress := make(chan error, 1)
	n := e.n
	go func() { progress <- w.txn.commitOffset(ctx, topic, n, w.metadata()) }()
	err := w.sendAll(ctx, e)
	return errors.Join(err, <-progress)
}

// passing are answers to Produce that the same batch can be sent again for: its
// sequence number keeps it from being there twice.
var passing = []kafkago.Error{
	kafkago.NotEnoughReplicas, kafkago.NotEnoughReplicasAfterAppend, kafkago.ConcurrentTransactions, kafkago.NotLeaderForPartition,
	kafkago.LeaderNotAvailable,
}

func (w *exactlyOnce) sendAll(ctx context.Context, e *encoded) error {
	pause := firstPause
	for len(e.queue) > 0 {
		err := w.send(ctx, e)
		if err == nil {
			continue
		}
		if !isOneOf(err, passing) || pause > time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
	return nil
}

// abort ends a transaction that failed, so that readers need not wait until the
// broker does. If it does not work, the next start or the broker's clock will.
func (w *exactlyOnce) abort(ctx context.Context, cause error) {
	var code kafkago.Error
	if isOneOf(cause, fencing) || !errors.As(cause, &code) && ctx.Err() == nil {
		return // not ours, or the connection is lost
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = w.txn.end(ctx, false) // see above
}

// ownerPatience is how long a new owner may take to say who it is.
const ownerPatience = 3 * time.Second

// unsure explains an error after which the transaction's outcome is unknown. A
// producer that the broker has fenced looks whether a newer owner took over:
// then the job is at its end here. If there is none, the broker gave up a
// transaction that took too long, and the next try goes on.
func (w *exactlyOnce) unsure(ctx context.Context, err error, doing string) error {
	if !isOneOf(err, fencing) {
		return w.explainTxn(err, doing)
	}
	for deadline := time.Now().Add(ownerPatience); time.Now().Before(deadline) && ctx.Err() == nil; {
		if _, newer := w.progress(ctx, false); beam.CodeOf(newer) == beam.Rejected {
			return newer
		}
		select {
		case <-ctx.Done():
		case <-time.After(longPause):
		}
	}
	return w.failed(err, doing)
}

// explainTxn says which rights a transaction needs.
func (w *exactlyOnce) explainTxn(err error, doing string) error {
	err = w.failed(err, doing)
	var e *beam.Error
	if errors.As(err, &e) && isOneOf(err, []kafkago.Error{kafkago.TransactionalIDAuthorizationFailed, kafkago.GroupAuthorizationFailed,
		kafkago.TopicAuthorizationFailed}) {
		explained := *e
		explained.Cure = fmt.Sprintf("grant the user WRITE and DESCRIBE on transactional ids, and READ on groups, that begin with %q, and READ, "+
			"WRITE and DESCRIBE on the topic; or set %s=%s in the producer's configuration", w.config.idPrefix+".", guaranteeKey, atLeastOnce)
		return &explained
	}
	return err
}

// refreshLater keeps the progress of an idle shard from being forgotten.
func (w *exactlyOnce) refreshLater(topic string) {
	if topic == "" {
		return
	}
	if w.refresh != nil {
		w.refresh.Stop()
	}
	w.refresh = time.AfterFunc(w.refreshEvery, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.ready {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), w.config.timeout)
		defer cancel()
		if err := w.claim(ctx, progress{topic: topic, n: w.last}); err != nil {
			w.ready = false // the next entry finds out
			w.log.Warn("the progress of an idle sink could not be committed again", "transform", w.name, "error", err)
			return
		}
		w.refreshLater(topic)
	})
}

// Close implements connectors.Writer.
func (w *exactlyOnce) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = false
	if w.refresh != nil {
		w.refresh.Stop()
	}
	return nil
}
