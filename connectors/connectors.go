// Package connectors is the contract between the engine's runner and the
// outside world: a Source is read in splits from positions, a Sink is written
// in numbered entries. Connectors know their broker or database and nothing of
// the engine; the runner gives them the guarantees (positions are committed
// together with what was read, entries are formed once and sent in order until
// they are acknowledged: DESIGN.md section 10).
//
//	broker ──Reader.Read──▶ Batch{elements, position, watermark} ──▶ commit
//	commit ──▶ entry n ──▶ Writer.Write(n, elements) ──▶ database
//
// Every error that a connector returns is, or wraps, a *beam.Error: code
// beam.Unavailable is retried by the runner with backoff and shown to the user
// as a warning; every other code ends the job with that error.
package connectors

import (
	"context"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// A Transform is what the translator finds in a pipeline for a connector: a
// primitive with the connector's own URN and payload, as the expansion service
// put it there.
type Transform struct {
	URN     string
	Payload []byte
	// Name is the user's full transform name, for errors and logs.
	Name string
	// Job names the job as a sink's progress records it: stable over restarts.
	Job string
	// Input is the coder of the elements that a sink is given, as the plan has
	// it; nil for a source.
	Input *coder.Windowed
	// Durable tells that the outbox survives a crash: entry n, once formed, keeps
	// its number and its bytes, and numbers go on from 1 without a gap as long as
	// the job lives, whichever process sends them. After a crash another process
	// opens the shards, under a higher epoch, and sends again what it does not
	// know to be there. A sink then keeps its progress where it writes, in the
	// transaction of the entry. Without it a job ends with its process, and a
	// sink may count on meeting each entry in one process only.
	Durable bool
}

// Connector makes sources or sinks of the transforms whose URNs it answers to.
// A connector that only reads returns an error from Sink, and vice versa.
type Connector interface {
	// URNs lists the native transforms that this connector runs.
	URNs() []string
	// Reads tells the sources among these URNs from the sinks. Whether a source
	// is bounded, its output collection says, and Source.Bounded.
	Reads(urn string) bool
	// Source returns the source of a read transform. It checks the
	// configuration only; the first contact with a server is Source.Splits.
	Source(t Transform) (Source, error)
	// Sink returns the sink of a write transform, in the same way.
	Sink(t Transform) (Sink, error)
}

// Split is one part of a source that is read in order by one reader. It is
// opaque to the runner, and is kept in its commits.
type Split struct {
	// ID is stable over the life of the job; for people and metrics.
	ID string
	// Start is the position of the first record, fixed once (xlang.md
	// section 2): a job that is started again goes on from its own commits.
	Start []byte
}

// Source is something that can be read. Methods are safe for concurrent use.
type Source interface {
	// Bounded sources end by themselves; the watermark then goes to infinity.
	Bounded() bool
	// Splits contacts the server and fixes splits and start positions.
	Splits(ctx context.Context) ([]Split, error)
	// Open returns a reader of the split that goes on at position.
	Open(ctx context.Context, s Split, position []byte) (Reader, error)
	// Committed tells that everything before position of split s is durably
	// committed (I3), so that a consumer group's offset may follow. It is
	// called rarely, and errors are only logged.
	Committed(ctx context.Context, s Split, position []byte) error
	// Close releases connections.
	Close() error
}

// Continuer is a Source that can tell whether a position, of a source of the same
// kind that was configured otherwise, is one that it can go on from.
type Continuer interface {
	// Continues returns an error that says, as a clause, why it is not. The position
	// is that of a source which was made from the payload.
	Continues(payload, position []byte) error
}

// Describer is a Source whose positions can be told to people.
type Describer interface {
	// DescribePosition is for any bytes.
	DescribePosition(position []byte) string
}

// Reader reads one split. It is used by one goroutine at a time.
type Reader interface {
	// Read returns the next batch: as soon as there is at least one record, or
	// after maxWait with an empty batch that carries position and watermark, and
	// with at most about maxBytes of records. It returns early, with what it has,
	// when ctx ends.
	Read(ctx context.Context, maxBytes int, maxWait time.Duration) (Batch, error)
	Close() error
}

// Batch is what one Read returned.
type Batch struct {
	// Elements are whole windowed elements (windowed_value with the global
	// window and the transform's output coder), one after another.
	Elements []byte
	// Count is the number of elements.
	Count int
	// MinTimestamp is the least event time of the elements.
	MinTimestamp beam.EventTime
	// Position is where the next Read goes on.
	Position []byte
	// Watermark promises that no later element of this split is before it.
	Watermark beam.EventTime
	// Backlog is what is known to wait behind Position, in bytes and records;
	// -1 where it is not known.
	BacklogBytes, BacklogRecords int64
	// Done ends the split: the reader is closed, its watermark is infinity.
	Done bool
}

// Sink is something that can be written. Methods are safe for concurrent use.
type Sink interface {
	// Shards is how many shards may be written at the same time with the order
	// within each kept; fixed for the job's life.
	Shards() int
	// MaxEntry bounds an entry: rows, and bytes of their encodings.
	MaxEntry() (rows, bytes int)
	// Open takes ownership of a shard under the owner's epoch: a writer of an
	// older epoch is fenced from then on. It returns the number of the last
	// entry that is there already, 0 if none, NoProgress if the sink does not
	// know: because the outbox is not durable, or the user wants it so.
	Open(ctx context.Context, shard int, epoch int64) (w Writer, last int64, err error)
	// Close releases connections.
	Close() error
}

// Prober is a Sink that can say before there is anything to write whether it
// could be written.
type Prober interface {
	// Probe contacts the server, and changes nothing there.
	Probe(ctx context.Context) error
}

// NoProgress is what Sink.Open returns for a sink that keeps no progress: the
// entry whose outcome is unknown is written again.
const NoProgress = -1

// Writer writes the entries of one shard, one after another.
type Writer interface {
	// Write makes entry n visible in one transaction, with its progress where
	// the sink can keep it: once it returned nil, the entry is there. An entry
	// whose outcome is unknown is sent again by the runner with the same n and
	// the same bytes. elements are whole windowed elements in the coder of the
	// sink's input.
	Write(ctx context.Context, n int64, elements [][]byte) error
	Close() error
}
