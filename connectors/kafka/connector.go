// Package kafka reads topics and writes to them, over kafka-go's transport.
//
// A read is one split for each partition that there is when the job begins;
// those that are added later join them. Partitions are assigned, there is no
// group rebalance, and a consumer group, if one is named, only gives the first
// offset and is told the last. Record sets are decoded by a decoder of our own
// straight into windowed elements (batch.go says why). A write sends each
// entry's records in order, as an idempotent producer or, where the outbox is
// durable, in one transaction with its number.
//
//	expander.go    what ReadFromKafka and the others become
//	source.go      splits, start offsets, commits; position.go where they stand
//	split.go       a split → its partitions; reader.go reads a partition
//	batch.go       record batches → records; format.go records → elements
//	sink.go        entries → writer.go record batches → Produce
//	exactlyonce.go entries → transactions; transaction.go their requests
//	properties.go  the Java clients' settings; security.go TLS and SASL
//
// Fresnel trusts a broker as far as its own memory: whatever bytes it sends,
// they do not make Fresnel panic.
package kafka

import (
	"fmt"
	"log/slog"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// The URNs of the native transforms.
const (
	ReadURN  = "fresnel:transform:kafka_read:v1"
	WriteURN = "fresnel:transform:kafka_write:v1"
)

// Connector implements connectors.Connector and expansion.Expander.
type Connector struct {
	log *slog.Logger
}

// New returns the connector. It logs settings without effect and records that
// were lost to a topic's retention.
func New(log *slog.Logger) *Connector { return &Connector{log: log} }

// URNs implements connectors.Connector.
func (c *Connector) URNs() []string { return []string{ReadURN, WriteURN} }

// Reads implements connectors.Connector.
func (c *Connector) Reads(urn string) bool { return urn == ReadURN }

// Source implements connectors.Connector.
func (c *Connector) Source(t connectors.Transform) (connectors.Source, error) {
	if t.URN != ReadURN {
		return nil, wrongURN(t)
	}
	s, err := newSource(t, c.log)
	if err != nil {
		return nil, connectors.At(err, t.Name)
	}
	return s, nil
}

func wrongURN(t connectors.Transform) error {
	return &beam.Error{Code: beam.Internal, Where: t.Name, What: fmt.Sprintf("the Kafka connector does not run %q here", t.URN)}
}

// Sink implements connectors.Connector.
func (c *Connector) Sink(t connectors.Transform) (connectors.Sink, error) {
	if t.URN != WriteURN {
		return nil, wrongURN(t)
	}
	s, err := newSink(t, c.log)
	if err != nil {
		return nil, connectors.At(err, t.Name)
	}
	return s, nil
}
