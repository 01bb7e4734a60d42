package kafka

import (
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// partitionReader reads one partition of a split. While a fetched record set is
// decoded, the next fetch is already on its way; there are at most two sets in
// memory, however slowly they are taken:
//
//	fetch ──answers──▶ decoder ──decode──▶ elements
//	  ▲                   │ next offset
//	  └───────────────────┘
type partitionReader struct {
	source *source
	split  *splitReader
	tp     topicPartition

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
}

type fetched struct {
	part      *partitionReader
	partition *fetchedPartition
	err       error
	asked     int64
	at        time.Time
}

func newPartitionReader(r *splitReader, tp topicPartition, offset int64) *partitionReader {
	p := &partitionReader{source: r.source, split: r, tp: tp, mark: newWatermark(r.source.read.Policy), end: -1}
	p.decoder.reset(nil, offset, nil)
	return p
}

// startFetch sends the next fetch unless one is under way.
func (r *partitionReader) startFetch(offset int64) {
	if r.fetching {
		return
	}
	r.fetching = true
	go func() {
		p, err := r.source.fetch(r.split.ctx, r.tp, offset)
		select {
		case r.split.answers <- fetched{r, p, err, offset, time.Now()}:
		case <-r.split.ctx.Done():
		}
	}()
}

// take gives an answer to the decoder and sends the next fetch.
func (r *partitionReader) take(f fetched) error {
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
func (r *partitionReader) failed(code kafkago.Error, p *fetchedPartition) error {
	if code != kafkago.OffsetOutOfRange {
		return code
	}
	offset := r.decoder.offset
	if offset < p.LogStartOffset || p.LogStartOffset < 0 {
		first, err := r.source.firstOffset(r.split.ctx, r.tp)
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
func (r *partitionReader) explain(err error) error {
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

// decode appends records to a batch, as many as fit; limit bounds the batch's
// count, unless it is negative.
func (r *partitionReader) decode(b *connectors.Batch, maxBytes int, limit int64) error {
	if r.decoder.rest() == 0 {
		return nil
	}
	now := eventNow()
	size := min(r.decoder.rest()+elementOverhead*r.decoder.pending(), maxBytes-len(b.Elements)+maxBytes/8+1024)
	b.Elements = slices.Grow(b.Elements, size)
	header := coder.AppendHeader(nil, now, 1, nil, beam.NoFiring)
	rest, before := r.decoder.rest(), b.Count
	var rec record
	for len(b.Elements) < maxBytes && int64(b.Count) != limit {
		more, err := r.decoder.next(&rec)
		if err != nil {
			return r.explain(err)
		}
		if !more {
			break
		}
		if r.mark.policy == appendTime && !rec.appended {
			return r.notAppended()
		}
		ts := r.mark.stamp(&rec, now)
		b.MinTimestamp = min(b.MinTimestamp, ts)
		b.Elements = append(coder.AppendTimestamp(b.Elements, ts), header[8:]...)
		out, err := r.source.read.Format.append(b.Elements, &rec, r.tp)
		if err != nil {
			r.decoder.offset = rec.offset
			return r.explain(fmt.Errorf("%w: %w", errRecord, err))
		}
		b.Elements = out
		b.Count++
	}
	r.average(rest-r.decoder.rest(), b.Count-before)
	return nil
}

func (r *partitionReader) notAppended() error {
	return &beam.Error{Code: beam.Rejected, Where: r.source.name,
		What: fmt.Sprintf("timestamp_policy is LogAppendTime, but the records of %s carry the producer's time", r.tp.topic),
		Cure: "set message.timestamp.type=LogAppendTime on the topic, or read with CreateTime"}
}

// average follows the size of records.
func (r *partitionReader) average(bytes, count int) {
	switch {
	case count == 0:
	case r.recordSize == 0:
		r.recordSize = float64(bytes) / float64(count)
	default:
		r.recordSize += 0.2 * (float64(bytes)/float64(count) - r.recordSize)
	}
}

// backlog is what waits behind the reader's offset, if it is known.
func (r *partitionReader) backlog() (records, bytes int64, known bool) {
	if r.end < 0 {
		return 0, 0, false
	}
	records = max(r.end-r.decoder.offset, 0)
	return records, int64(float64(records) * r.recordSize), true
}

// watermark is what the partition promises now.
func (r *partitionReader) watermark() beam.EventTime {
	idle := r.idleSince
	if records, _, _ := r.backlog(); records > 0 || r.decoder.rest() > 0 {
		idle = time.Time{}
	}
	return r.mark.promise(eventNow(), idle)
}
