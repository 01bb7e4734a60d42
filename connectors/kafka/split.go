package kafka

import (
	"context"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// splitReader reads the partitions of a split, in turn, as they have records.
// There is one partition in a split when the job begins, but topics grow and
// the number of splits does not: a partition that is added while the job runs
// belongs to the split that its number says (position.go), and is read from its
// beginning. A bounded read (max_num_records, max_read_time) is one split over
// all partitions: its bound is one for all of them, and so its state must be in
// one position, or a read that goes on after a failure would return more.
//
//	partitionReader ─┐
//	partitionReader ─┼─answers─▶ splitReader ──Read──▶ elements, position, least watermark
//	partitionReader ─┘
//
// It is used by one goroutine; fetches run in others, which end with the
// reader's context.
type splitReader struct {
	source *source
	at     position
	ctx    context.Context
	cancel context.CancelFunc
	parts  []*partitionReader
	turn   int
	// promised is the watermark that was reported last: a partition that is
	// found does not move it back.
	promised beam.EventTime
	answers  chan fetched
	// looking for new partitions: under way, when it began, what it found.
	looking bool
	looked  time.Time
	found   chan map[string]int32
}

// answerRoom is how many answers may wait for the reader: fetches beyond it
// wait with theirs.
const answerRoom = 16

func newSplitReader(s *source, at position) *splitReader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &splitReader{source: s, at: at, ctx: ctx, cancel: cancel, promised: beam.MinEventTime,
		answers: make(chan fetched, answerRoom), found: make(chan map[string]int32, 1)}
	r.assign()
	return r
}

// assign makes a reader for each partition of the position that has none; they
// are in the position's order.
func (r *splitReader) assign() {
	have := make(map[topicPartition]*partitionReader, len(r.parts))
	for _, p := range r.parts {
		have[p.tp] = p
	}
	r.parts = r.parts[:0:0]
	for tp, offset := range r.at.offsets() {
		p := have[tp]
		if p == nil {
			p = newPartitionReader(r, tp, offset)
		}
		r.parts = append(r.parts, p)
	}
}

// Read implements connectors.Reader.
func (r *splitReader) Read(ctx context.Context, maxBytes int, maxWait time.Duration) (connectors.Batch, error) {
	r.discover()
	var timeout <-chan time.Time
	for {
		if r.over() {
			return r.finish(connectors.Batch{Done: true}), nil
		}
		b, err := r.decode(maxBytes)
		if b.Count > 0 || err != nil {
			return b, err
		}
		for _, p := range r.parts {
			p.startFetch(p.decoder.offset)
		}
		if timeout == nil {
			timer := time.NewTimer(maxWait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case answer := <-r.answers:
			if err := answer.part.take(answer); err != nil {
				return connectors.Batch{}, answer.part.explain(err)
			}
		case <-timeout:
			return r.finish(connectors.Batch{}), nil
		case <-ctx.Done():
			return r.finish(connectors.Batch{}), nil
		}
	}
}

// over tells that the bound of a bounded read is reached.
func (r *splitReader) over() bool {
	most := r.source.read.MaxRecords
	return most > 0 && r.at.returned >= most || r.at.end > 0 && time.Now().UnixMilli() >= r.at.end
}

// decode takes what the partitions have, beginning with another one each time.
// When it returns nothing, no decoder holds anything, and answers may be taken.
func (r *splitReader) decode(maxBytes int) (connectors.Batch, error) {
	b := connectors.Batch{MinTimestamp: beam.MaxEventTime}
	limit := int64(-1)
	if most := r.source.read.MaxRecords; most > 0 {
		limit = most - r.at.returned
	}
	for range r.parts {
		p := r.parts[r.turn%len(r.parts)]
		r.turn = (r.turn + 1) % len(r.parts)
		if err := p.decode(&b, maxBytes, limit); err != nil {
			return connectors.Batch{}, err
		}
		if len(b.Elements) >= maxBytes || limit >= 0 && int64(b.Count) >= limit {
			break
		}
	}
	if b.Count == 0 {
		return b, nil
	}
	if r.source.Bounded() {
		r.at.returned += int64(b.Count)
	}
	return r.finish(b), nil
}

// finish completes a batch with where the reader stands; the watermark is the
// least of all partitions.
func (r *splitReader) finish(b connectors.Batch) connectors.Batch {
	next := beam.MaxEventTime
	b.BacklogRecords, b.BacklogBytes = -1, -1
	for _, p := range r.parts {
		next = min(next, p.watermark())
		if records, bytes, ok := p.backlog(); ok {
			b.BacklogRecords = max(b.BacklogRecords, 0) + records
			b.BacklogBytes = max(b.BacklogBytes, 0) + bytes
		}
	}
	if b.Done {
		next = beam.MaxEventTime
	}
	r.promised = max(r.promised, next)
	b.Watermark = r.promised
	i := 0
	for topic := range r.at.topics {
		for n := range r.at.topics[topic].offsets {
			r.at.topics[topic].offsets[n] = r.parts[i].decoder.offset
			i++
		}
	}
	b.Position = r.at.encode()
	return b
}

// discover takes in the partitions that were added, and looks for more now and
// then.
func (r *splitReader) discover() {
	select {
	case counts := <-r.found:
		r.looking = false
		r.grow(counts)
	default:
	}
	if r.looking || time.Since(r.looked) < r.source.discoverEvery {
		return
	}
	r.looking, r.looked = true, time.Now()
	go func() {
		counts, err := r.source.partitionCounts(r.ctx)
		if err != nil {
			counts = nil // the fetches say what is wrong
		}
		r.found <- counts
	}()
}

func (r *splitReader) grow(counts map[string]int32) {
	added := 0
	for topic, count := range counts {
		added += r.at.grow(topic, count)
	}
	if added == 0 {
		return
	}
	r.assign()
	r.source.log.Info("partitions were added to a topic: they are read from their beginning", "transform", r.source.name, "partitions", added)
}

// Close implements connectors.Reader: it ends the fetches that are under way.
func (r *splitReader) Close() error {
	r.cancel()
	return nil
}
