package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"fresnel/internal/beam"
)

// startOffsets fixes where each partition is read from: start_read_time, else
// what the group has committed, else auto.offset.reset.
func (s *source) startOffsets(ctx context.Context, all []topicPartition) (map[topicPartition]int64, error) {
	if s.read.StartTime != nil {
		return s.offsetsAtTime(ctx, all, *s.read.StartTime)
	}
	offsets, err := s.committed(ctx, all)
	if err != nil {
		return nil, err
	}
	var left []topicPartition
	for _, tp := range all {
		if _, ok := offsets[tp]; !ok {
			left = append(left, tp)
		}
	}
	if len(left) == 0 {
		return offsets, nil
	}
	at := kafkago.LastOffset
	switch s.consumer.reset {
	case "none":
		return nil, &beam.Error{Code: beam.Rejected, Where: s.name,
			What: fmt.Sprintf("the group %q has no offset for %s, and auto.offset.reset is none", s.consumer.group, left[0]),
			Cure: "commit one, or set auto.offset.reset to earliest or latest"}
	case "earliest":
		at = kafkago.FirstOffset
	}
	rest, err := s.listOffsets(ctx, left, at)
	if err != nil {
		return nil, err
	}
	maps.Copy(offsets, rest)
	return offsets, nil
}

// offsetsAtTime returns the first offset at or after a time; every partition
// must have one, as with Java's KafkaIO.
func (s *source) offsetsAtTime(ctx context.Context, all []topicPartition, millis int64) (map[topicPartition]int64, error) {
	offsets, err := s.listOffsets(ctx, all, millis)
	if err != nil {
		return nil, err
	}
	for _, tp := range all {
		if offset, ok := offsets[tp]; !ok || offset < 0 {
			return nil, &beam.Error{Code: beam.Rejected, Where: s.name,
				What: fmt.Sprintf("%s has no record at or after start_read_time (%s)", tp, time.UnixMilli(millis).UTC().Format(time.RFC3339)),
				Cure: "choose an earlier time"}
		}
	}
	return offsets, nil
}

// committed returns the offsets that the group has committed.
func (s *source) committed(ctx context.Context, all []topicPartition) (map[topicPartition]int64, error) {
	offsets := map[topicPartition]int64{}
	if s.consumer.group == "" {
		return offsets, nil
	}
	req := &offsetFetchRequest{GroupID: s.consumer.group, RequireStable: true}
	for _, t := range byTopic(all) {
		req.Topics = append(req.Topics, offsetFetchTopic{Name: t.Name, Partitions: t.Partitions})
	}
	res, err := ask[*offsetFetchResponse](ctx, link{s.transport, s.addr, s.consumer.timeout}, req)
	if err == nil {
		err = offsetsError(res)
	}
	if err != nil {
		return nil, s.explain(err, "find the offsets of group "+s.consumer.group)
	}
	for _, topic := range res.Topics {
		for _, p := range topic.Partitions {
			if p.Offset >= 0 {
				offsets[topicPartition{topic.Name, p.Partition}] = p.Offset
			}
		}
	}
	return offsets, nil
}

// offsetError explains why the offsets of a partition are not known. That it has no
// leader kafka-go answers as an unknown error.
func (s *source) offsetError(ctx context.Context, tp topicPartition, err error) error {
	if errors.Is(err, kafkago.Unknown) && s.isLeaderless(ctx, tp) {
		err = kafkago.LeaderNotAvailable
	}
	return s.explain(err, "find the offset to start from in "+tp.String())
}

// isLeaderless tells whether the cluster says that a partition has no leader.
func (s *source) isLeaderless(ctx context.Context, tp topicPartition) bool {
	meta, err := s.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{tp.topic}})
	if err != nil {
		return false
	}
	for _, t := range meta.Topics {
		for _, p := range t.Partitions {
			if t.Name == tp.topic && p.ID == int(tp.partition) && leaderless(p.Error) {
				return true
			}
		}
	}
	return false
}

// listOffsets returns the offsets at a time in milliseconds, or at one of
// kafka-go's FirstOffset and LastOffset.
func (s *source) listOffsets(ctx context.Context, all []topicPartition, at int64) (map[topicPartition]int64, error) {
	req := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}, IsolationLevel: s.consumer.isolation}
	for _, tp := range all {
		req.Topics[tp.topic] = append(req.Topics[tp.topic], kafkago.OffsetRequest{Partition: int(tp.partition), Timestamp: at})
	}
	res, err := s.client.ListOffsets(ctx, req)
	if err != nil {
		return nil, s.explain(err, "find the offsets to start from")
	}
	offsets := map[topicPartition]int64{}
	for topic, partitions := range res.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return nil, s.offsetError(ctx, topicPartition{topic, int32(p.Partition)}, p.Error)
			}
			if offset, ok := offsetOf(p, at); ok {
				offsets[topicPartition{topic, int32(p.Partition)}] = offset
			}
		}
	}
	return offsets, nil
}

func offsetOf(p kafkago.PartitionOffsets, at int64) (offset int64, ok bool) {
	switch at {
	case kafkago.FirstOffset:
		return p.FirstOffset, p.FirstOffset >= 0
	case kafkago.LastOffset:
		return p.LastOffset, p.LastOffset >= 0
	}
	for offset := range p.Offsets {
		return offset, offset >= 0
	}
	return 0, false
}

func (s *source) firstOffset(ctx context.Context, tp topicPartition) (int64, error) {
	offsets, err := s.listOffsets(ctx, []topicPartition{tp}, kafkago.FirstOffset)
	if err != nil {
		return 0, err
	}
	offset, ok := offsets[tp]
	if !ok {
		return 0, errors.New("the broker did not tell the first offset")
	}
	return offset, nil
}

// autoCreate asks for a topic in the way that lets the broker create it, as
// Java's clients do. Whether it did, the next description tells.
func autoCreate(ctx context.Context, t *kafkago.Transport, addr net.Addr, topic string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = t.RoundTrip(ctx, addr, &metadata.Request{TopicNames: []string{topic}, AllowAutoTopicCreation: true})
}
