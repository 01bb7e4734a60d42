package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// writeSpec is the payload of a native write.
type writeSpec struct {
	Producer map[string]string `json:"producer"` // as the user gave it: it may hold passwords
	Topic    string            `json:"topic"`
	Key      serde             `json:"key"`
	Value    serde             `json:"value"`
	// Headers: the elements are rows with headers, else KVs.
	Headers bool `json:"headers,omitempty"`
	// Rows: the elements are rows, of which the value is made: RAW takes their
	// one field of bytes, JSON the whole row.
	Rows string `json:"rows,omitempty"`
}

// producerConfig is what a producer configuration means to us. Whatever acks
// says, every write is acknowledged by all replicas in sync.
type producerConfig struct {
	connection
	compression compress.Compression
	// maxRequest bounds a batch before compression, as Java's producer does.
	maxRequest  int
	idempotence bool
	// guarantee is exactlyOnceWord or atLeastOnce: what a sink with a durable
	// outbox does.
	guarantee string
	// idPrefix begins the transactional ids and groups of a sink; after
	// transactionTimeout the broker aborts a transaction.
	idPrefix           string
	transactionTimeout time.Duration
	ignored            []string
}

// guaranteeKey is a setting of our own in a producer's configuration, which
// Java's clients ignore. Transactions cost an entry some ten milliseconds, and
// readers see it when it is committed; at-least-once has idempotent writes, and
// after a crash the last entries may be there twice.
const (
	guaranteeKey    = "fresnel.delivery.guarantee"
	exactlyOnceWord = "exactly-once"
	atLeastOnce     = "at-least-once"
)

func parseProducer(config map[string]string) (*producerConfig, error) {
	p := newProperties(config)
	c := &producerConfig{
		connection:  parseConnection(p),
		maxRequest:  p.size("max.request.size", 1<<20),
		idempotence: p.flag("enable.idempotence", true),
		guarantee:   p.choice(guaranteeKey, exactlyOnceWord, atLeastOnce),
		idPrefix:    p.text("transactional.id", "fresnel"),

		transactionTimeout: p.millis("transaction.timeout.ms", 60_000),
	}
	if !c.idempotence {
		c.guarantee = atLeastOnce
	}
	p.choice("acks", "all", "-1", "1", "0")
	switch p.choice("compression.type", "none", "gzip", "snappy", "lz4", "zstd") {
	case "gzip":
		c.compression = compress.Gzip
	case "snappy":
		c.compression = compress.Snappy
	case "lz4":
		c.compression = compress.Lz4
	case "zstd":
		c.compression = compress.Zstd
	}
	c.ignored = p.unknown()
	return c, p.err
}

// sink implements connectors.Sink.
type sink struct {
	name      string
	log       *slog.Logger
	config    *producerConfig
	input     *input
	transport *kafkago.Transport
	client    *kafkago.Client
	addr      net.Addr
	job       string
	durable   bool
	// refreshEvery is the constant, but in tests.
	refreshEvery time.Duration

	mu        sync.Mutex
	sequences map[int]*sequence // by shard
}

const (
	sinkShards    = 4
	maxEntryRows  = 20_000
	maxEntryBytes = 1 << 20
)

func newSink(t connectors.Transform, log *slog.Logger) (*sink, error) {
	var spec writeSpec
	if err := json.Unmarshal(t.Payload, &spec); err != nil {
		return nil, badPayload(t.Name)
	}
	if t.Input == nil {
		return nil, &beam.Error{Code: beam.Internal, What: "a sink without the coder of its input"}
	}
	s := &sink{name: t.Name, log: log, job: t.Job, durable: t.Durable, refreshEvery: refreshEvery, sequences: map[int]*sequence{}}
	var err error
	if s.config, err = parseProducer(spec.Producer); err != nil {
		return nil, err
	}
	if s.input, err = newInput(t.Input.Value(), &spec); err != nil {
		return nil, err
	}
	s.input.windowed = t.Input
	if len(s.config.ignored) > 0 {
		log.Warn("producer settings without effect", "transform", t.Name, "settings", s.config.ignored)
	}
	s.addr = kafkago.TCP(s.config.servers...)
	var topics []string
	if !spec.Headers { // rows may name others
		topics = []string{spec.Topic}
	}
	s.transport = s.config.transport(topics)
	s.client = &kafkago.Client{Addr: s.addr, Transport: s.transport, Timeout: s.config.timeout}
	return s, nil
}

// Shards implements connectors.Sink.
func (s *sink) Shards() int { return sinkShards }

// MaxEntry implements connectors.Sink.
func (s *sink) MaxEntry() (rows, bytes int) { return maxEntryRows, maxEntryBytes }

// Open implements connectors.Sink. Without transactions there is no progress
// to find: after a crash the last entries may be written twice.
func (s *sink) Open(ctx context.Context, shard int, epoch int64) (connectors.Writer, int64, error) {
	if s.durable && s.config.guarantee == exactlyOnceWord {
		w := newExactlyOnce(s, shard, epoch)
		if err := w.begin(ctx); err != nil {
			return nil, 0, err
		}
		return w, w.last, nil
	}
	w := newWriter(s, shard)
	if w.started {
		return w, connectors.NoProgress, nil
	}
	return w, connectors.NoProgress, w.begin(ctx)
}

// Probe implements connectors.Prober. That the topic is not there is no fault
// yet: it, or the broker, may make it.
func (s *sink) Probe(ctx context.Context) error {
	if err := resolve(ctx, s.config.servers, s.name); err != nil {
		return err
	}
	_, err := s.client.Metadata(ctx, &kafkago.MetadataRequest{})
	return s.explain(err, "connect")
}

// Close implements connectors.Sink.
func (s *sink) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

func (s *sink) explain(err error, doing string) error {
	return explain(err, s.name, doing, s.config.servers)
}

func (s *sink) noTopic(topic string) error {
	return &beam.Error{Code: beam.Rejected, Where: s.name,
		What: fmt.Sprintf("the topic %s does not exist at Kafka %s", topic, strings.Join(s.config.servers, ",")),
		Cure: "create it, or correct the name"}
}
