// Package sequence is Beam's GenerateSequence: whole numbers, one after another,
// at once or at a rate. It has no server behind it.
//
//	connector.go  what GenerateSequence becomes, and what it may be given
//	source.go     where a sequence begins, stands and ends
//	reader.go     a position → the numbers that are due
package sequence

import (
	"context"
	"encoding/json"
	"fmt"

	"fresnel/connectors"
	"fresnel/connectors/expansion"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

const (
	// ReadURN is the URN of the native transform.
	ReadURN = "fresnel:transform:generate_sequence:v1"
	// externalURN is that of Beam's Java SDK (GenerateSequence.External).
	externalURN = "beam:external:java:generate_sequence:v1"
)

// spec is the payload of the native transform.
type spec struct {
	Start int64 `json:"start"`
	// Stop is the first number that is not part of it; nil: it has no end.
	Stop *int64 `json:"stop,omitempty"`
	// Rate is how many numbers there are in each Period milliseconds; 0: all that
	// are taken.
	Rate   int64 `json:"rate,omitempty"`
	Period int64 `json:"period,omitempty"`
	// MaxTime ends it after so many milliseconds, if it is set.
	MaxTime *int64 `json:"maxTime,omitempty"`
}

// defaultPeriod is in milliseconds. Beam's Python client can give a rate without
// one, and Java's expansion then fails.
const defaultPeriod = 1000

func (s *spec) bounded() bool { return s.Stop != nil || s.MaxTime != nil }

// timed tells whether numbers have the event time at which they are made. Those
// of a plain range have none, as in Java.
func (s *spec) timed() bool { return s.Stop == nil || s.Rate > 0 || s.MaxTime != nil }

func (s *spec) check() error {
	for _, c := range []struct {
		bad         bool
		where, what string
	}{
		{s.Start < 0, "start", fmt.Sprintf("%d is less than 0", s.Start)},
		{s.Stop != nil && *s.Stop < s.Start, "stop", "it is less than start"},
		{s.Rate < 0, "elements_per_period", fmt.Sprintf("%d is less than 0", s.Rate)},
		{s.Rate > 0 && s.Period <= 0, "period", fmt.Sprintf("%d is no time", s.Period)},
		{s.MaxTime != nil && *s.MaxTime < 0, "max_read_time", "it is less than 0"},
	} {
		if c.bad {
			return &beam.Error{Code: beam.InvalidPipeline, Where: c.where, What: c.what}
		}
	}
	return nil
}

// Connector implements connectors.Connector and expansion.Expander.
type Connector struct{}

// New returns the connector.
func New() *Connector { return &Connector{} }

// URNs implements connectors.Connector.
func (c *Connector) URNs() []string { return []string{ReadURN} }

// Reads implements connectors.Connector.
func (c *Connector) Reads(string) bool { return true }

// Source implements connectors.Connector.
func (c *Connector) Source(t connectors.Transform) (connectors.Source, error) {
	s := &source{name: t.Name}
	if err := json.Unmarshal(t.Payload, &s.spec); err != nil {
		return nil, &beam.Error{Code: beam.InvalidPipeline, Where: t.Name, What: "the payload of the transform cannot be decoded", Cause: err}
	}
	if err := s.spec.check(); err != nil {
		return nil, connectors.At(err, t.Name)
	}
	return s, nil
}

// Sink implements connectors.Connector.
func (c *Connector) Sink(t connectors.Transform) (connectors.Sink, error) {
	return nil, &beam.Error{Code: beam.Internal, Where: t.Name, What: "a sequence cannot be written to"}
}

// Transforms implements expansion.Expander.
func (c *Connector) Transforms() []expansion.Transform {
	return []expansion.Transform{{URN: externalURN, Expand: expand}}
}

func expand(_ context.Context, r *expansion.Request) (*expansion.Expansion, error) {
	s := &spec{Period: defaultPeriod}
	s.Start, _ = r.Config.Int("start")
	if stop, ok := r.Config.Int("stop"); ok {
		s.Stop = &stop
	}
	if limit, ok := r.Config.Int("max_read_time"); ok {
		s.MaxTime = &limit
	}
	s.Rate, _ = r.Config.Int("elements_per_period")
	if period, ok := r.Config.Int("period"); ok {
		s.Period = period
	}
	if err := r.Config.Err(); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return &expansion.Expansion{URN: ReadURN, Payload: payload, Bounded: s.bounded(),
		Outputs: []expansion.Output{{Tag: "output", Coder: coder.VarInt}}}, nil
}
