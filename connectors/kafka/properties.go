package kafka

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"fresnel/internal/beam"
)

// properties are a Java client's configuration, as users write it in
// consumer_config and producer_config. The getters keep the first thing that
// is wrong. Values are never put in messages: any may be a secret.
type properties struct {
	values map[string]string
	asked  map[string]bool
	err    error
}

func newProperties(values map[string]string) *properties {
	return &properties{values: values, asked: map[string]bool{}}
}

func (p *properties) text(key, absent string) string {
	p.asked[key] = true
	if v := strings.TrimSpace(p.values[key]); v != "" {
		return v
	}
	return absent
}

// choice returns one of the allowed values; the first is the default.
func (p *properties) choice(key string, allowed ...string) string {
	v := p.text(key, allowed[0])
	for _, a := range allowed {
		if strings.EqualFold(v, a) {
			return a
		}
	}
	p.fail(beam.Unsupported, key, fmt.Sprintf("the value is not one of %s", strings.Join(allowed, ", ")), "")
	return allowed[0]
}

func (p *properties) number(key string, absent int64) int64 {
	v := p.text(key, "")
	if v == "" {
		return absent
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		p.fail(beam.InvalidPipeline, key, "the value is not a whole number", "")
	}
	return n
}

// size is a number of bytes that fits the protocol's fields.
func (p *properties) size(key string, absent int64) int {
	return int(min(max(p.number(key, absent), 1), 1<<30))
}

// millis is a time in milliseconds.
func (p *properties) millis(key string, absent int64) time.Duration {
	return time.Duration(min(max(p.number(key, absent), 0), 1<<40)) * time.Millisecond
}

func (p *properties) flag(key string, absent bool) bool {
	return p.choice(key, strconv.FormatBool(absent), "true", "false") == "true"
}

func (p *properties) fail(code beam.Code, key, what, cure string) {
	if p.err == nil {
		p.err = &beam.Error{Code: code, Where: key, What: what, Cure: cure}
	}
}

// harmless are settings of the Java clients whose effect a user of Fresnel
// does not miss: how that client polls, buffers, retries and rebalances.
var harmless = []string{
	"key.deserializer", "value.deserializer", "key.serializer", "value.serializer",
	"max.poll.records", "max.poll.interval.ms", "session.timeout.ms", "heartbeat.interval.ms",
	"receive.buffer.bytes", "send.buffer.bytes", "reconnect.backoff.ms", "reconnect.backoff.max.ms",
	"retry.backoff.ms", "retry.backoff.max.ms", "default.api.timeout.ms", "auto.commit.interval.ms",
	"metadata.max.age.ms", "connections.max.idle.ms", "check.crcs", "partition.assignment.strategy",
	"group.instance.id", "group.protocol", "client.dns.lookup", "socket.connection.setup.timeout.ms",
	"socket.connection.setup.timeout.max.ms", "enable.metrics.push", "exclude.internal.topics",
	"linger.ms", "batch.size", "buffer.memory", "retries", "delivery.timeout.ms", "max.block.ms",
	"max.in.flight.requests.per.connection", "enable.idempotence", "metadata.max.idle.ms",
	"partitioner.adaptive.partitioning.enable", "partitioner.availability.timeout.ms",
}

// unknown lists the settings that nobody asked for and that may have mattered.
func (p *properties) unknown() []string {
	var left []string
	for key := range maps.Keys(p.values) {
		if !p.asked[key] && !slices.Contains(harmless, key) {
			left = append(left, key)
		}
	}
	slices.Sort(left)
	return left
}

// consumer is what a consumer configuration means to us.
type consumer struct {
	connection
	group string
	// reset is auto.offset.reset: where a split starts that has no commit.
	reset string
	// autoCommit lets the group's offsets follow what is durably committed.
	autoCommit    bool
	createTopics  bool
	isolation     kafkago.IsolationLevel
	fetchMinBytes int
	fetchMaxBytes int
	fetchMaxWait  time.Duration
	rack          string
	// ignored are settings without effect that the user is told of.
	ignored []string
}

func parseConsumer(config map[string]string) (*consumer, error) {
	p := newProperties(config)
	c := &consumer{
		connection:    parseConnection(p),
		group:         p.text("group.id", ""),
		reset:         p.choice("auto.offset.reset", "latest", "earliest", "none"),
		autoCommit:    p.flag("enable.auto.commit", false),
		createTopics:  p.flag("allow.auto.create.topics", true),
		fetchMinBytes: p.size("fetch.min.bytes", 1),
		fetchMaxBytes: min(p.size("max.partition.fetch.bytes", 1<<20), p.size("fetch.max.bytes", 50<<20)),
		fetchMaxWait:  p.millis("fetch.max.wait.ms", 500),
		rack:          p.text("client.rack", ""),
	}
	if p.choice("isolation.level", "read_uncommitted", "read_committed") == "read_committed" {
		c.isolation = kafkago.ReadCommitted
	}
	c.ignored = p.unknown()
	return c, p.err
}
