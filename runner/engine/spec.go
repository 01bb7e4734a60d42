package engine

import (
	"time"

	"fresnel/internal/beam"
)

// Spec is what an Engine is made of: the plan's graph reduced to what
// scheduling needs. Stages and edges are named by their index.
type Spec struct {
	Stages []StageSpec
	Edges  []EdgeSpec
	// Pools are sets of workers; a stage's bundles run on workers of its pool.
	Pools   []PoolSpec
	Options Options
}

// StageSpec is a stage as the engine sees it.
type StageSpec struct {
	// Name is for messages about stuck jobs and for scripts.
	Name string
	Role Role
	// Pool indexes Spec.Pools; not used by sinks.
	Pool int
	// Shards is the number of the stage's shards, fixed for the job's life.
	Shards int
	// Exclusive stages own state: a shard of theirs is in at most one bundle at a
	// time (I4), and sticks to a worker. Other stages may run bundles of one shard
	// at once, their commits applied in the order of their input (I13).
	Exclusive bool
	// StableInput stages get only blocks whose commit is durable.
	StableInput bool
	// SideInputs is the number of side inputs, for gates.
	SideInputs int
	// Outputs is the number of outputs that edges may start from.
	Outputs int
	// CheckpointAfter, if not 0, has a running bundle split with fraction 0 when it
	// has run that long, or is full before (unbounded splittable DoFns).
	CheckpointAfter time.Duration
	// Splittable stages may have their running bundles split when a slot idles (not
	// those with CheckpointAfter).
	Splittable bool
	// Restrictions: its elements are restrictions, of which one may be as much work as
	// a million others.
	Restrictions bool
	// MaxElements, if not 0, caps a bundle of the stage further than
	// Options.MaxBundleElements does: what it changes is in memory until it commits.
	MaxElements int
	// MaxEntryRows and MaxEntryBytes bound an outbox entry of a sink.
	MaxEntryRows, MaxEntryBytes int
}

// Role tells the engine how a stage gets its work.
type Role uint8

// The roles.
const (
	// Process stages run bundles of pending blocks and due timers: harness, group,
	// rewindow.
	Process Role = iota
	// Source stages run one bundle for each shard (split) again and again, without
	// input, until the shard is done. An Impulse is a source of one shard.
	Source
	// Sink stages run no bundles: pending blocks move into outbox entries.
	Sink
	// Script stages (TestStream) run a bundle only when nothing else can happen.
	Script
)

// EdgeKind says what an edge feeds.
type EdgeKind uint8

// The kinds of edges.
const (
	// Main feeds a main input and its watermark.
	Main EdgeKind = iota
	// Side feeds a side input: no pending blocks, only watermark and gates.
	Side
	// Feedback feeds a main input without holding its watermark.
	Feedback
)

// EdgeSpec connects an output to an input.
type EdgeSpec struct {
	From, Output int
	To           int
	// Input is the main input's or side input's number at To.
	Input int
	Kind  EdgeKind
	// Keep is set for edges on which a block stays in its shard: shard s arrives in
	// shard s mod Shards of To. Bundles of From combine shards only where all its
	// Keep edges take them to one shard. Other edges are dealt by the executor.
	Keep bool
}

// PoolSpec is a set of workers.
type PoolSpec struct {
	Name string
	// Native pools have Slots slots of the runner itself from the start, worker 0.
	Native bool
	// Slots is how many bundles a worker takes at once; of code that waits it takes
	// more (width.go).
	Slots int
	// PerBundle is the first guess of a bundle's fixed cost on a worker, before it
	// is measured: 50 us for a native pool, 2 ms for others by default.
	PerBundle time.Duration
	// Measurable: Ready.Loads is answered.
	Measurable bool
}

// Options are the job's.
type Options struct {
	// Streaming jobs prefer latency; others prefer bundles near TargetBundle.
	Streaming bool
	// TargetBundle is the bundle time to aim at (a few hundred ms in batch), 300 ms
	// by default.
	TargetBundle time.Duration
	// MaxBundleBytes and MaxBundleElements cap a bundle whatever was measured; 0 is
	// no cap. A single block may be larger.
	MaxBundleBytes, MaxBundleElements int
	// MaxBundleOutput is how many bytes a bundle should put out at most; 0 is no
	// limit. One of a stage that cannot be split, or of one element, may make more.
	MaxBundleOutput int
	// SplitAfter is how long a bundle must have run to be split, 50 ms by default.
	SplitAfter time.Duration
	// BusyLimit is the share of a worker's time (0..1) above which small bundles
	// wait for more input, the longer the farther it is above; 0.7 by default.
	BusyLimit float64
	// UserRetries is how often a bundle whose user code failed is tried again; a
	// negative number is without end.
	UserRetries int
	// LostRetries is how often a bundle whose worker was lost, or could not reach
	// what it needs, is tried again; a negative number is without end.
	LostRetries int
	// Backoff is the wait before the first retry of a failed bundle; it doubles, up
	// to a minute. After the loss of a worker there is none.
	Backoff time.Duration
	// MaxPendingBytes is the size of all pending blocks above which sources rest
	// (I9).
	MaxPendingBytes int64
	// Durable has commits carry what they change of the job's image, from which
	// Restore makes an engine that goes on.
	Durable bool

	// fine is how many bits of a rank are for pieces; tests have fewer.
	fine int
}

// Identifiers. Stages, shards, edges and pools are indexes.
type (
	// BundleID counts bundles from 1, after each restoration from the next multiple
	// of 2^40 on.
	BundleID uint64
	// BlockID is given by the runner's block store.
	BlockID uint64
	// GateID is given by the runner; a gate is a side input and one of its windows.
	GateID uint64
	// CommitSeq counts commits from 1 (I2).
	CommitSeq uint64
)

// Block is the metadata of an immutable run of encoded elements.
type Block struct {
	ID    BlockID
	Count int
	Bytes int
	// MinTime is the least of the watermarks that its elements hold: of their
	// timestamps, and of the last instants of their windows.
	MinTime beam.EventTime
	// Gates are what the block waits for: all of them must be open. Those that are
	// known to be open are named too: blocks that share a gate stay in order.
	Gates []GateID
	// NotBefore delays a residual that asked for it.
	NotBefore time.Time
	// Hold is what the block holds its stage's watermarks at. Of a residual it is the
	// output watermark that it promises; a primary of a split has that of what it
	// was cut from; for blocks in Outputs the engine sets it, to MinTime, or on
	// feedback edges to MaxEventTime.
	Hold beam.EventTime
}

// Gate is one side input's window that elements may wait for.
type Gate struct {
	ID GateID
	// Stage and SideInput tell which side input.
	Stage, SideInput int
	// End is the window's maximum timestamp: the gate opens when the side input's
	// watermark has passed it, or when an Outcome says that a pane has arrived.
	End beam.EventTime
}
