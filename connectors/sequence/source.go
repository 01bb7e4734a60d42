package sequence

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// source implements connectors.Source, with one split.
type source struct {
	name string
	spec spec
}

// position is where a sequence stands: the number that comes next, and when the
// first was due, in Unix milliseconds. A job that goes on after a stop makes up
// for what was due meanwhile.
type position struct {
	next, began int64
}

// positionSize is the size of an encoded position: both numbers, big-endian.
const positionSize = 16

func (p position) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, positionSize), uint64(p.next))
	return binary.BigEndian.AppendUint64(b, uint64(p.began))
}

func decodePosition(b []byte) (position, error) {
	if len(b) != positionSize {
		return position{}, &beam.Error{Code: beam.Internal, What: fmt.Sprintf("%d bytes are no position of a sequence", len(b))}
	}
	p := position{next: int64(binary.BigEndian.Uint64(b)), began: int64(binary.BigEndian.Uint64(b[8:]))}
	if p.next < 0 || p.began < 0 || p.began > math.MaxInt64/2 {
		return position{}, &beam.Error{Code: beam.Internal, What: fmt.Sprintf("%x is no position of a sequence", b)}
	}
	return p, nil
}

// Bounded implements connectors.Source.
func (s *source) Bounded() bool { return s.spec.bounded() }

// Splits implements connectors.Source.
func (s *source) Splits(context.Context) ([]connectors.Split, error) {
	at := position{next: s.spec.Start, began: time.Now().UnixMilli()}
	return []connectors.Split{{ID: "numbers", Start: at.encode()}}, nil
}

// Open implements connectors.Source.
func (s *source) Open(_ context.Context, _ connectors.Split, at []byte) (connectors.Reader, error) {
	p, err := decodePosition(at)
	if err != nil {
		return nil, connectors.At(err, s.name)
	}
	return &reader{spec: &s.spec, at: p}, nil
}

// Committed implements connectors.Source: nobody outside follows a sequence.
func (s *source) Committed(context.Context, connectors.Split, []byte) error { return nil }

// Close implements connectors.Source.
func (s *source) Close() error { return nil }

// DescribePosition implements connectors.Describer.
func (s *source) DescribePosition(at []byte) string {
	p, err := decodePosition(at)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("at number %d", p.next)
}
