package connectorstest

import (
	"context"
	"testing"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// Outbox sends numbered entries to shard 0 of a sink as the runner does: again
// after a fault, with a new writer, and without those that are there.
type Outbox struct {
	T     testing.TB
	Sink  connectors.Sink
	Epoch int64
	// Entry is what the entry of a number holds, the same at each attempt (I13).
	Entry func(n int64) [][]byte
	// Writer is the one in use; nil: the next attempt opens one.
	Writer connectors.Writer
	// Faults counts the errors that were tried again.
	Faults int
}

// Send sends the entry until it is there, or what the sink says is final.
func (o *Outbox) Send(ctx context.Context, n int64) error {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		err := o.Attempt(ctx, n, o.Entry(n))
		if err == nil || beam.CodeOf(err) != beam.Unavailable || time.Now().After(deadline) {
			return err
		}
		o.Faults++
		time.Sleep(20 * time.Millisecond)
	}
}

// Attempt sends an entry once.
func (o *Outbox) Attempt(ctx context.Context, n int64, elements [][]byte) error {
	if o.Writer == nil {
		w, last, err := o.Sink.Open(ctx, 0, o.Epoch)
		if err != nil {
			return err
		}
		o.Writer = w
		if n <= last {
			return nil
		}
	}
	err := o.Writer.Write(ctx, n, elements)
	if err != nil {
		o.Drop()
	}
	return err
}

// Drop closes the writer, if there is one: the next attempt opens another.
func (o *Outbox) Drop() {
	if o.Writer != nil {
		_ = o.Writer.Close()
	}
	o.Writer = nil
}
