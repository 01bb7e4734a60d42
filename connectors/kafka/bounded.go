package kafka

import (
	"context"
	"strings"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// A bounded read (max_num_records, max_read_time) is one split over all
// partitions: the bound is one for all of them, and so its state must be in
// one position, or a read that goes on after a failure would return more.

// boundedSplit makes the split; its id lists the partitions in the order of
// the position's offsets.
func (s *source) boundedSplit(all []topicPartition, offsets map[topicPartition]int64) connectors.Split {
	ids := make([]string, len(all))
	at := position{0, 0}
	if s.read.MaxSeconds > 0 {
		at[1] = time.Now().Add(time.Duration(s.read.MaxSeconds) * time.Second).UnixMilli()
	}
	for i, tp := range all {
		ids[i] = tp.String()
		at = append(at, offsets[tp])
	}
	return connectors.Split{ID: strings.Join(ids, ","), Start: at.encode()}
}

func parseBounded(split connectors.Split, at []byte) ([]topicPartition, position, error) {
	var all []topicPartition
	for id := range strings.SplitSeq(split.ID, ",") {
		tp, err := parsePartition(id)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, tp)
	}
	p, err := decodePosition(at, 2+len(all))
	return all, p, err
}

func boundedOffsets(split connectors.Split, at []byte) (map[topicPartition]int64, error) {
	all, p, err := parseBounded(split, at)
	if err != nil {
		return nil, err
	}
	offsets := make(map[topicPartition]int64, len(all))
	for i, tp := range all {
		offsets[tp] = p[2+i]
	}
	return offsets, nil
}

// boundedReader reads all partitions in turn until the bound is reached.
type boundedReader struct {
	parts []*reader
	at    position
	max   int64 // records, 0 for no bound
	turn  int
}

func (s *source) openBounded(split connectors.Split, at []byte) (connectors.Reader, error) {
	all, p, err := parseBounded(split, at)
	if err != nil {
		return nil, err
	}
	b := &boundedReader{at: p, max: s.read.MaxRecords}
	for i, tp := range all {
		b.parts = append(b.parts, newReader(s, tp, p[2+i]))
	}
	return b, nil
}

// turnWait is how long one partition is waited for before the next one's turn.
const turnWait = 20 * time.Millisecond

// Read implements connectors.Reader.
func (b *boundedReader) Read(ctx context.Context, maxBytes int, maxWait time.Duration) (connectors.Batch, error) {
	deadline := time.Now().Add(maxWait)
	for {
		if b.done() {
			return b.finish(connectors.Batch{Done: true, Watermark: beam.MaxEventTime}), nil
		}
		i := b.turn
		b.turn = (b.turn + 1) % len(b.parts)
		batch, err := b.readPart(ctx, i, maxBytes, min(turnWait, max(time.Until(deadline), 0)))
		if err != nil || batch.Count > 0 || ctx.Err() != nil || !time.Now().Before(deadline) {
			return batch, err
		}
	}
}

func (b *boundedReader) done() bool {
	return b.max > 0 && b.at[0] >= b.max || b.at[1] > 0 && time.Now().UnixMilli() >= b.at[1]
}

// readPart reads from one partition; the watermark is the least of all.
func (b *boundedReader) readPart(ctx context.Context, i, maxBytes int, wait time.Duration) (connectors.Batch, error) {
	part := b.parts[i]
	if b.max > 0 {
		part.limit = b.max - b.at[0]
	}
	batch, err := part.Read(ctx, maxBytes, wait)
	if err != nil {
		return batch, err
	}
	b.at[0] += int64(batch.Count)
	b.at[2+i] = part.decoder.offset
	batch.Watermark = beam.MaxEventTime
	batch.BacklogRecords, batch.BacklogBytes = 0, 0
	for _, p := range b.parts {
		rest := p.finish(connectors.Batch{})
		batch.Watermark = min(batch.Watermark, rest.Watermark)
		batch.BacklogRecords += max(rest.BacklogRecords, 0)
		batch.BacklogBytes += max(rest.BacklogBytes, 0)
	}
	return b.finish(batch), nil
}

func (b *boundedReader) finish(batch connectors.Batch) connectors.Batch {
	batch.Position = b.at.encode()
	return batch
}

// Close implements connectors.Reader.
func (b *boundedReader) Close() error {
	for _, p := range b.parts {
		_ = p.Close()
	}
	return nil
}
