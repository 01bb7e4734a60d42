package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// reader reads one partition. While a fetched record set is decoded, the next
// fetch is already on its way; there are at most two sets in memory, however
// slowly they are taken:
//
//	fetch ──answers──▶ decoder ──Read──▶ elements
//	  ▲                   │ next offset
//	  └───────────────────┘
//
// It is used by one goroutine; the fetch runs in another, which ends with the
// reader's context.
type reader struct {
	source *source
	tp     topicPartition
	ctx    context.Context
	cancel context.CancelFunc

	answers  chan fetched // of the fetch that is under way
	fetching bool
	set      rawSet // what the decoder reads
	decoder  batchDecoder
	mark     watermark
	// end is the offset after the last record that may be read, when it was
	// last seen; idleSince is when it was reached, zero while it is not.
	end       int64
	idleSince time.Time
	// recordSize is a moving average, for the backlog in bytes.
	recordSize float64
	limit      int64 // records that may still be returned; negative: no limit
}

type fetched struct {
	partition *fetchedPartition
	err       error
	asked     int64
	at        time.Time
}

func newReader(s *source, tp topicPartition, offset int64) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{source: s, tp: tp, ctx: ctx, cancel: cancel, answers: make(chan fetched, 1),
		mark: newWatermark(s.read.Policy), end: -1, limit: -1}
	r.decoder.reset(nil, offset, nil)
	return r
}

// Read implements connectors.Reader.
func (r *reader) Read(ctx context.Context, maxBytes int, maxWait time.Duration) (connectors.Batch, error) {
	var timeout <-chan time.Time
	for {
		b, err := r.decode(maxBytes)
		if b.Count > 0 || err != nil {
			return b, err
		}
		r.startFetch(r.decoder.offset)
		if timeout == nil {
			timer := time.NewTimer(maxWait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case answer := <-r.answers:
			if err := r.take(answer); err != nil {
				return connectors.Batch{}, r.explain(err)
			}
		case <-timeout:
			return r.finish(connectors.Batch{}), nil
		case <-ctx.Done():
			return r.finish(connectors.Batch{}), nil
		}
	}
}

// Close ends the fetch that is under way.
func (r *reader) Close() error {
	r.cancel()
	return nil
}

// startFetch sends the next fetch unless one is under way.
func (r *reader) startFetch(offset int64) {
	if r.fetching {
		return
	}
	r.fetching = true
	go func() {
		p, err := r.source.fetch(r.ctx, r.tp, offset)
		r.answers <- fetched{p, err, offset, time.Now()}
	}()
}

// take gives an answer to the decoder and sends the next fetch.
func (r *reader) take(f fetched) error {
	r.fetching = false
	if f.err != nil {
		return f.err
	}
	p := f.partition
	r.end = p.HighWatermark
	if r.source.consumer.isolation == kafkago.ReadCommitted {
		r.end = p.LastStableOffset
	}
	r.idleSince = time.Time{}
	if r.end <= f.asked {
		r.idleSince = f.at
	}
	if p.ErrorCode != 0 {
		return r.failed(kafkago.Error(p.ErrorCode), p)
	}
	gone := make([]aborted, len(p.AbortedTransactions))
	for i, t := range p.AbortedTransactions {
		gone[i] = aborted{t.ProducerID, t.FirstOffset}
	}
	if r.source.consumer.isolation != kafkago.ReadCommitted {
		gone = nil
	}
	next, err := nextOffset(p.RecordSet.data, f.asked)
	if err != nil {
		return err
	}
	r.set.free()
	r.set = p.RecordSet
	r.decoder.reset(r.set.data, f.asked, gone)
	r.startFetch(next)
	return nil
}

// failed handles what the broker said of the partition.
func (r *reader) failed(code kafkago.Error, p *fetchedPartition) error {
	if code != kafkago.OffsetOutOfRange {
		return code
	}
	offset := r.decoder.offset
	if offset < p.LogStartOffset || p.LogStartOffset < 0 {
		first, err := r.source.firstOffset(r.ctx, r.tp)
		if err != nil {
			return err
		}
		if first > offset {
			r.source.log.Warn("records were deleted before they were read", "transform", r.source.name,
				"partition", r.tp.String(), "from", offset, "to", first)
			r.decoder.reset(nil, first, nil)
			return nil
		}
	}
	return &beam.Error{Code: beam.Unavailable, Where: r.source.name,
		What: fmt.Sprintf("offset %d of %s is behind the partition's end", offset, r.tp),
		Cure: "if the topic was deleted and made again, start the job anew; otherwise Fresnel tries again"}
}

// explain says where a bad batch is, and what a request failed with.
func (r *reader) explain(err error) error {
	cure := ""
	switch {
	case errors.Is(err, errOldFormat):
		return &beam.Error{Code: beam.Unsupported, Where: r.source.name, What: fmt.Sprintf("%s holds %v", r.tp, err),
			Cure: "copy them to a new topic"}
	case errors.Is(err, errChecksum), errors.Is(err, errMalformed):
		cure = "the broker's log is damaged here: restore the partition from a replica, or start the job behind that offset"
	case errors.Is(err, errRecord):
	default:
		return explain(err, r.source.name, "read "+r.tp.String(), r.source.consumer.servers)
	}
	return &beam.Error{Code: beam.BadData, Where: r.source.name, What: fmt.Sprintf("%s at offset %d", r.tp, r.decoder.offset),
		Cause: err, Cure: cure}
}

// errRecord is a record that the deserializers do not accept.
var errRecord = errors.New("the record cannot be deserialized")

// elementOverhead is by how much an element is larger than its record, at most.
const elementOverhead = 24

// decode takes records from the decoder, as many as fit.
func (r *reader) decode(maxBytes int) (connectors.Batch, error) {
	now := eventNow()
	b := connectors.Batch{MinTimestamp: beam.MaxEventTime}
	if r.decoder.rest() == 0 {
		return b, nil
	}
	size := min(r.decoder.rest()+elementOverhead*r.decoder.pending(), maxBytes+maxBytes/8+1024)
	b.Elements = make([]byte, 0, size)
	header := coder.AppendHeader(nil, now, 1, nil, beam.NoFiring)
	taken := r.decoder.rest()
	var rec record
	for len(b.Elements) < maxBytes && r.limit != 0 {
		more, err := r.decoder.next(&rec)
		if err != nil {
			return connectors.Batch{}, r.explain(err)
		}
		if !more {
			break
		}
		if r.mark.policy == appendTime && !rec.appended {
			return connectors.Batch{}, r.notAppended()
		}
		ts := r.mark.stamp(&rec, now)
		b.MinTimestamp = min(b.MinTimestamp, ts)
		b.Elements = append(coder.AppendTimestamp(b.Elements, ts), header[8:]...)
		out, err := r.source.read.Format.append(b.Elements, &rec, r.tp)
		if err != nil {
			r.decoder.offset = rec.offset
			return connectors.Batch{}, r.explain(fmt.Errorf("%w: %w", errRecord, err))
		}
		b.Elements = out
		b.Count++
		r.limit--
	}
	r.average(taken-r.decoder.rest(), b.Count)
	return r.finish(b), nil
}

func (r *reader) notAppended() error {
	return &beam.Error{Code: beam.Rejected, Where: r.source.name,
		What: fmt.Sprintf("timestamp_policy is LogAppendTime, but the records of %s carry the producer's time", r.tp.topic),
		Cure: "set message.timestamp.type=LogAppendTime on the topic, or read with CreateTime"}
}

// average follows the size of records.
func (r *reader) average(bytes, count int) {
	switch {
	case count == 0:
	case r.recordSize == 0:
		r.recordSize = float64(bytes) / float64(count)
	default:
		r.recordSize += 0.2 * (float64(bytes)/float64(count) - r.recordSize)
	}
}

// finish completes a batch with where the reader stands.
func (r *reader) finish(b connectors.Batch) connectors.Batch {
	b.Position = position{r.decoder.offset}.encode()
	b.BacklogRecords, b.BacklogBytes = -1, -1
	idle := r.idleSince
	if r.end >= 0 {
		b.BacklogRecords = max(r.end-r.decoder.offset, 0)
		b.BacklogBytes = int64(float64(b.BacklogRecords) * r.recordSize)
	}
	if b.BacklogRecords > 0 || r.decoder.rest() > 0 {
		idle = time.Time{}
	}
	b.Watermark = r.mark.promise(eventNow(), idle)
	return b
}
