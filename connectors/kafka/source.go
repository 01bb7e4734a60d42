package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// readSpec is the payload of a native read.
type readSpec struct {
	Consumer map[string]string `json:"consumer"` // as the user gave it: it may hold passwords
	Topics   []string          `json:"topics"`
	Format   format            `json:"format"`
	Policy   policy            `json:"policy"`
	// StartTime is the event time from which on records are read, in
	// milliseconds, if it is set.
	StartTime *int64 `json:"startTime,omitempty"`
	// MaxRecords and MaxSeconds bound the read; 0: they do not.
	MaxRecords int64 `json:"maxRecords,omitempty"`
	MaxSeconds int64 `json:"maxSeconds,omitempty"`
	// Commit lets the group's offsets follow (commit_offset_in_finalize).
	Commit bool `json:"commit,omitempty"`
	// PollSeconds is how often partitions are looked for that were added to the
	// topics; 0: the default (dynamic_read_poll_interval_seconds).
	PollSeconds int64 `json:"pollSeconds,omitempty"`
}

func (s *readSpec) bounded() bool { return s.MaxRecords > 0 || s.MaxSeconds > 0 }

// source implements connectors.Source.
type source struct {
	name      string
	log       *slog.Logger
	read      readSpec
	consumer  *consumer
	transport *kafkago.Transport
	client    *kafkago.Client
	addr      net.Addr
	// discoverEvery is how often a split looks for new partitions.
	discoverEvery time.Duration
}

// discoverEvery is as often as the transport asks for metadata anyway.
const discoverEvery = 5 * time.Second

func newSource(t connectors.Transform, log *slog.Logger) (*source, error) {
	s := &source{name: t.Name, log: log, discoverEvery: discoverEvery}
	if err := json.Unmarshal(t.Payload, &s.read); err != nil {
		return nil, badPayload(t.Name)
	}
	if err := s.read.check(); err != nil {
		return nil, err
	}
	slices.Sort(s.read.Topics)
	s.read.Topics = slices.Compact(s.read.Topics)
	if s.read.PollSeconds > 0 {
		s.discoverEvery = time.Duration(min(s.read.PollSeconds, 1<<30)) * time.Second
	}
	var err error
	if s.consumer, err = parseConsumer(s.read.Consumer); err != nil {
		return nil, err
	}
	if len(s.consumer.ignored) > 0 {
		log.Warn("consumer settings without effect", "transform", t.Name, "settings", s.consumer.ignored)
	}
	s.addr = kafkago.TCP(s.consumer.servers...)
	s.transport = s.consumer.transport(s.read.Topics)
	s.client = &kafkago.Client{Addr: s.addr, Transport: s.transport, Timeout: s.consumer.timeout}
	return s, nil
}

func badPayload(name string) error {
	// The cause would quote the payload, which may hold a password.
	return &beam.Error{Code: beam.InvalidPipeline, Where: name, What: "the payload of the transform cannot be decoded",
		Cure: "expand the pipeline with the expansion service of this version of Fresnel"}
}

func (s *readSpec) check() error {
	invalid := func(what string) error {
		return &beam.Error{Code: beam.InvalidPipeline, What: what}
	}
	switch {
	case len(s.Topics) == 0:
		return invalid("no topics to read are given")
	case slices.Contains(s.Topics, ""):
		return invalid("the name of a topic is empty")
	case s.Policy != processingTime && s.Policy != createTime && s.Policy != appendTime:
		return invalid(fmt.Sprintf("unknown timestamp policy %q", s.Policy))
	case s.Commit && s.Consumer["group.id"] == "":
		return &beam.Error{Code: beam.InvalidPipeline, Where: "commit_offset_in_finalize", What: "group.id is not set",
			Cure: "set group.id in consumer_config"}
	}
	return nil
}

// Bounded implements connectors.Source.
func (s *source) Bounded() bool { return s.read.bounded() }

// Close implements connectors.Source.
func (s *source) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Splits implements connectors.Source: one split for each partition that there
// is now, or a single one for a bounded read.
func (s *source) Splits(ctx context.Context) ([]connectors.Split, error) {
	if err := resolve(ctx, s.consumer.servers, s.name); err != nil {
		return nil, err
	}
	partitions, err := s.partitions(ctx)
	if err != nil {
		return nil, err
	}
	offsets, err := s.startOffsets(ctx, partitions)
	if err != nil {
		return nil, err
	}
	if s.Bounded() {
		at := startPosition(partitions, offsets, 0, 1)
		if s.read.MaxSeconds > 0 {
			at.end = time.Now().Add(time.Duration(s.read.MaxSeconds) * time.Second).UnixMilli()
		}
		return []connectors.Split{{ID: strings.Join(s.read.Topics, ","), Start: at.encode()}}, nil
	}
	splits := make([]connectors.Split, len(partitions))
	for i, tp := range partitions {
		at := startPosition(partitions, offsets, i, len(partitions))
		splits[i] = connectors.Split{ID: tp.String(), Start: at.encode()}
	}
	return splits, nil
}

// startPosition is where a split begins. The partitions are in the order of
// topics and numbers, without a gap.
func startPosition(partitions []topicPartition, offsets map[topicPartition]int64, split, splits int) *position {
	at := &position{split: int64(split), splits: int64(splits)}
	for i, tp := range partitions {
		if tp.partition == 0 {
			at.topics = append(at.topics, topicPosition{name: tp.topic, first: int64(i % splits)})
		}
		t := &at.topics[len(at.topics)-1]
		t.known++
		if (t.first+int64(tp.partition))%at.splits == at.split {
			t.offsets = append(t.offsets, offsets[tp])
		}
	}
	return at
}

// Open implements connectors.Source.
func (s *source) Open(_ context.Context, _ connectors.Split, at []byte) (connectors.Reader, error) {
	p, err := decodePosition(at)
	if err != nil {
		return nil, err
	}
	return newSplitReader(s, p), nil
}

// DescribePosition implements connectors.Describer.
func (s *source) DescribePosition(at []byte) string {
	p, err := decodePosition(at)
	if err != nil {
		return err.Error()
	}
	var all []string
	for tp, offset := range p.offsets() {
		all = append(all, fmt.Sprintf("%s offset %d", tp, offset))
	}
	return strings.Join(all, ", ")
}

// Continues implements connectors.Continuer: all may change but the topics, whose
// offsets the position has, and their cluster: a broker that was named is named
// still.
func (s *source) Continues(payload, at []byte) error {
	var was readSpec
	if err := json.Unmarshal(payload, &was); err != nil {
		return badPayload(s.name)
	}
	p, err := decodePosition(at)
	if err != nil {
		return err
	}
	const servers = "bootstrap.servers"
	before := strings.Split(was.Consumer[servers], ",")
	if !slices.ContainsFunc(strings.Split(s.read.Consumer[servers], ","), func(b string) bool { return slices.Contains(before, b) }) {
		return errors.New("none of its " + servers + " is one of those before, so that it may be another cluster")
	}
	if p.returned > 0 || p.end > 0 || s.read.bounded() {
		return errors.New("the bounds of the read may have changed")
	}
	for _, t := range p.topics {
		if !slices.Contains(s.read.Topics, t.name) {
			return fmt.Errorf("the topic %s is not read any more", t.name)
		}
	}
	for _, topic := range s.read.Topics {
		if !slices.ContainsFunc(p.topics, func(t topicPosition) bool { return t.name == topic }) {
			return fmt.Errorf("the topic %s is read now, and was not before", topic)
		}
	}
	return nil
}

// Committed implements connectors.Source: a simple consumer's commit, outside
// any group generation.
func (s *source) Committed(ctx context.Context, _ connectors.Split, at []byte) error {
	if s.consumer.group == "" || !s.read.Commit && !s.consumer.autoCommit {
		return nil
	}
	p, err := decodePosition(at)
	if err != nil {
		return err
	}
	topics := map[string][]kafkago.OffsetCommit{}
	for tp, offset := range p.offsets() {
		topics[tp.topic] = append(topics[tp.topic], kafkago.OffsetCommit{Partition: int(tp.partition), Offset: offset})
	}
	res, err := s.client.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{GroupID: s.consumer.group, GenerationID: -1, Topics: topics})
	if err == nil {
		for _, partitions := range res.Topics {
			for _, p := range partitions {
				err = errors.Join(err, p.Error)
			}
		}
	}
	return s.explain(err, "commit offsets of group "+s.consumer.group)
}

func (s *source) explain(err error, doing string) error {
	return explain(err, s.name, doing, s.consumer.servers)
}

// fetch asks for the records of one partition from an offset on. It waits for
// fetch.max.wait.ms where there are none.
func (s *source) fetch(ctx context.Context, tp topicPartition, offset int64) (*fetchedPartition, error) {
	ctx, cancel := context.WithTimeout(ctx, s.consumer.fetchMaxWait+s.consumer.timeout)
	defer cancel()
	res, err := s.transport.RoundTrip(ctx, s.addr, &fetchRequest{
		ReplicaID:      -1,
		MaxWaitTime:    int32(s.consumer.fetchMaxWait.Milliseconds()),
		MinBytes:       int32(s.consumer.fetchMinBytes),
		MaxBytes:       int32(s.consumer.fetchMaxBytes),
		IsolationLevel: int8(s.consumer.isolation),
		SessionEpoch:   -1, // no fetch session
		RackID:         s.consumer.rack,
		Topics: []fetchTopic{{Topic: tp.topic, Partitions: []fetchPartition{{
			Partition:          tp.partition,
			CurrentLeaderEpoch: -1,
			FetchOffset:        offset,
			LogStartOffset:     -1,
			PartitionMaxBytes:  int32(s.consumer.fetchMaxBytes),
		}}}},
	})
	if err != nil {
		return nil, err
	}
	answer, ok := res.(*fetchResponse)
	switch {
	case !ok:
		return nil, fmt.Errorf("an answer of type %T", res)
	case answer.ErrorCode != 0:
		return nil, kafkago.Error(answer.ErrorCode)
	case len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1:
		return nil, errors.New("an answer without the partition")
	}
	return &answer.Topics[0].Partitions[0], nil
}

// topicGrace is how long a topic may be unknown before it is missing: brokers
// that create topics on demand take a moment.
const topicGrace = 5 * time.Second

// partitions returns all partitions of the topics, in a fixed order.
func (s *source) partitions(ctx context.Context) ([]topicPartition, error) {
	deadline := time.Now().Add(topicGrace)
	for {
		all, err := s.describe(ctx)
		unknown := errors.Is(err, kafkago.UnknownTopicOrPartition)
		if over := time.Now().After(deadline); over && unknown {
			return nil, s.missing(err)
		} else if over || !unknown && !errors.Is(err, kafkago.LeaderNotAvailable) {
			return all, s.explain(err, "find the partitions of "+strings.Join(s.read.Topics, ", "))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		s.transport.CloseIdleConnections() // it would answer from its cache
	}
}

// missingTopic names the topic that the broker does not know.
type missingTopic struct{ topic string }

func (e missingTopic) Error() string { return "the topic " + e.topic + " does not exist" }
func (e missingTopic) Unwrap() error { return kafkago.UnknownTopicOrPartition }

func (s *source) missing(err error) error {
	return &beam.Error{Code: beam.Rejected, Where: s.name,
		What: fmt.Sprintf("%v at Kafka %s", err, strings.Join(s.consumer.servers, ",")),
		Cure: "create it, or correct the name"}
}

// describe asks for the topics' partitions once.
func (s *source) describe(ctx context.Context) ([]topicPartition, error) {
	meta, err := s.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: s.read.Topics})
	if err != nil {
		s.transport.CloseIdleConnections() // so that the next try contacts the broker
		return nil, err
	}
	var all []topicPartition
	for _, t := range meta.Topics {
		switch {
		case errors.Is(t.Error, kafkago.UnknownTopicOrPartition):
			if s.consumer.createTopics {
				autoCreate(ctx, s.transport, s.addr, t.Name)
			}
			return nil, missingTopic{t.Name}
		case t.Error != nil:
			return nil, t.Error
		}
		for i := range t.Partitions { // their numbers have no gap
			all = append(all, topicPartition{t.Name, int32(i)})
		}
	}
	slices.SortFunc(all, func(a, b topicPartition) int {
		if c := strings.Compare(a.topic, b.topic); c != 0 {
			return c
		}
		return int(a.partition) - int(b.partition)
	})
	return all, nil
}

// partitionCounts returns how many partitions the topics have, as far as the
// cluster tells.
func (s *source) partitionCounts(ctx context.Context) (map[string]int32, error) {
	meta, err := s.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: s.read.Topics})
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int32, len(meta.Topics))
	for _, t := range meta.Topics {
		if t.Error == nil {
			counts[t.Name] = int32(len(t.Partitions))
		}
	}
	return counts, nil
}
