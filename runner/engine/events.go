package engine

import (
	"time"

	"fresnel/internal/beam"
)

// Event is what has happened outside. Exactly one of the pointers is set, or
// none for a tick of the clock; Now is always set and never runs backwards
// (a clock that jumps back is held still).
type Event struct {
	Now time.Time

	WorkerUp      *WorkerUp
	WorkerLeaving *WorkerLeaving
	WorkerLost    *WorkerLost
	BundleEmitted *BundleEmitted
	BundleDone    *BundleDone
	BundleFailed  *BundleFailed
	SplitDone     *SplitDone
	WorkerLoads   *WorkerLoads
	OutputFull    *OutputFull
	EntryWritten  *EntryWritten
	// Durable tells that all commits up to the number are durable.
	Durable *CommitSeq
	// Fail ends the job with an error from outside of any bundle.
	Fail error
	// Drain ends the input: shards of sources and scripts are done, at once or when
	// the bundle that they run has committed, and their watermark goes to infinity.
	// Splittable stages are checkpointed, and given bundles with Drain set; delayed
	// residuals no longer wait, nor processing-time timers of stages whose input has
	// ended. When all is worked off the job is Drained.
	Drain bool
	// Halt has sources, and splittable stages without an end, start nothing more,
	// and no timer ring; once what is under way is worked off, but for what waits for
	// a side input or a time, the job is Halted. Nothing of it is in the image: a
	// restored job goes on. A job that drains is not halted.
	Halt bool
	// Cancel ends the job as it stands.
	Cancel bool
}

// WorkerUp adds a worker to a pool.
type WorkerUp struct{ Pool, Worker int }

// WorkerLeaving has a worker get no more bundles: it will be lost soon, and
// should have none then. Its shards go to others.
type WorkerLeaving struct{ Pool, Worker int }

// WorkerLost removes a worker: its bundles are tried again elsewhere; the
// runner need not report them failed.
type WorkerLost struct {
	Pool, Worker int
	Err          error
}

// BundleEmitted may report that a running bundle will put out nothing more, though it
// is not over: its worker does hardly anything for it from now on.
type BundleEmitted struct {
	Bundle BundleID
	// Outputs are those that its Outcome will have. Bundles may be started on their
	// blocks from now on.
	Outputs []Output
}

// BundleDone reports a bundle that ended well.
type BundleDone struct {
	Bundle  BundleID
	Outcome Outcome
}

// BundleFailed reports a bundle that did not. The code of Err decides:
// beam.UserCode is retried Options.UserRetries times, beam.Unavailable
// Options.LostRetries times, all else fails the job.
type BundleFailed struct {
	Bundle BundleID
	Err    error
}

// SplitDone answers a SplitRequest, before the end of the bundle. With Accepted,
// the bundle's input becomes Primary, and Residual is put in the queue: in
// front, in the place of what it was cut from (behind what is queued, if it was
// a checkpoint, by CheckpointAfter or OutputFull; what is cut from a running element
// should then come last, so that the others have their turn). For a shard that
// is not named nothing changes: a bundle of several shards names each that the
// split has touched, or a retry would run what was given away once more.
type SplitDone struct {
	Bundle   BundleID
	Accepted bool
	Primary  []ShardBlocks
	Residual []ShardBlocks
}

// OutputFull tells that a running bundle has put out more than
// Options.MaxBundleOutput, or that much again.
type OutputFull struct{ Bundle BundleID }

// ShardBlocks are blocks of one shard, in order.
type ShardBlocks struct {
	Shard  int
	Blocks []InputBlock
}

// InputBlock is a block and the main input it came by.
type InputBlock struct {
	Input int
	Block Block
}

// EntryWritten acknowledges an outbox entry.
type EntryWritten struct {
	Stage, Shard int
	N            int64
}

// Outcome is everything that one finished bundle changed (I1). What is not
// metadata stays with the runner, under the bundle's id, until the commit.
type Outcome struct {
	// Outputs are the blocks emitted, in the order of emission, each with the edge
	// and the shard of the consumer that it goes to.
	Outputs []Output
	// Shards are the new times of the bundle's shards; a shard that is not named
	// keeps its own.
	Shards []ShardTimes
	// Residuals go back in the queue of their shard (self-checkpoints).
	Residuals []ShardBlocks
	// Sources is the progress of source and script shards.
	Sources []SourceProgress
	// NewGates are gates that blocks in Outputs or Residuals name for the first
	// time; they count from the report on, whether it commits or not, and may be
	// told again. Opened are those for which a pane is in Outputs.
	NewGates []Gate
	Opened   []GateID
	// Finalize: the harness asked to be told once the commit is durable.
	Finalize bool
	// Elapsed is how long the bundle ran.
	Elapsed time.Duration
}

// Output is a block for one shard of one edge's consumer. On a Side edge Shard
// is 0 and the block is not queued.
type Output struct {
	Edge  int
	Shard int
	Block Block
}

// ShardTimes is what the engine knows of a stateful shard's inside.
type ShardTimes struct {
	Shard int
	// NextEvent is the least event time at which a timer or trigger of the shard is
	// due, beam.MaxEventTime+1 if there is none.
	NextEvent beam.EventTime
	// NextProcessing is the same in processing time, zero if there is none.
	NextProcessing time.Time
	// Hold is the least output-watermark hold of the shard, MaxEventTime if none.
	Hold beam.EventTime
}

// NoEvent is NextEvent of a shard without event-time timers.
const NoEvent = beam.MaxEventTime + 1

// SourceProgress is what a bundle of a source or script shard tells.
type SourceProgress struct {
	Shard int
	// Output is the stage output the watermark is for; -1 for all.
	Output int
	// Watermark of the shard's output from here on; it never moves back.
	Watermark beam.EventTime
	// Done ends the shard.
	Done bool
	// NotBefore delays the shard's next bundle. With it a script lets a virtual clock
	// run: what is due on the way comes first.
	NotBefore time.Time
}

// Restored tells the runner what a restored job has to go on with.
type Restored struct {
	// Commits is the last commit of the image. Counting goes on from it, and it is
	// durable.
	Commits CommitSeq
	// Blocks are all blocks that the image refers to, in ascending order: others
	// can be removed.
	Blocks []BlockID
	// Gates are those that blocks name, and those that are known though no block
	// names them yet, in ascending order: what they stand for must not change.
	Gates []GateID
	// Entries were formed and not acknowledged. They are given again, unchanged, in
	// the first Ready.
	Entries []Entry
	// Draining is set where the drain had begun.
	Draining bool
}

// Ready is what the runner has to do after a Step, in this order: apply the
// commits, then the rest.
type Ready struct {
	// Commits are to be applied in order, each atomically.
	Commits []Commit
	// Start lists bundles to start.
	Start []Bundle
	// Splits asks for splits of running bundles.
	Splits []SplitRequest
	// Loads are pools whose workers' CPU times are wanted, at once.
	Loads []int
	// Abandon lists bundles whose results will be ignored.
	Abandon []BundleID
	// Entries are outbox entries to write once commit Entry.After is durable; one
	// at a time for a sink's shard.
	Entries []Entry
	// Finalize lists bundles whose harness is told once commit After is durable.
	Finalize []Finalization
	// Retrying tells of failed bundles that will be tried again, for messages.
	Retrying []Retry
	// Wake is when a tick is due at the latest; zero if only events matter.
	Wake time.Time
	// Quiet: nothing runs, nothing is due now, no entry is out and no commit is
	// waited for: only Wake, or news from outside, can go on with the job. A runner
	// with a virtual clock moves it to Wake then.
	Quiet bool
	// State of the job after the step; Err with Failed.
	State State
	Err   error
}

// Commit makes a bundle's outcome take effect.
type Commit struct {
	Seq CommitSeq
	// Bundle whose outcome (kept by the runner) is applied; 0 for commits of
	// splits and of sinks.
	Bundle BundleID
	Stage  int
	// Consumed are the blocks whose last reader has committed (I8). Blocks on Side
	// edges are not counted: the runner takes them over with the commit.
	Consumed []BlockID
	// Entry, Freed: an outbox entry formed, or acknowledged and forgotten.
	Entry *Entry
	Freed *EntryWritten
	// Split is the accepted split that the commit makes lasting.
	Split *SplitDone
	// Drain is set on the commit of a drain, which only Options.Durable has: it
	// changes nothing but the image.
	Drain bool
	// Image is what the commit changes of the job's image, to be applied in order;
	// only with Options.Durable.
	Image []Change
}

// Change sets a row of a job's image, or deletes it where Value is nil. Rows are
// opaque to the runner, which puts them into the commit's atomic batch.
type Change struct {
	Key   string
	Value []byte
}

// Bundle is one unit of work.
type Bundle struct {
	ID      BundleID
	Stage   int
	Worker  int
	Attempt int // from 0
	Work    []ShardWork
	// Watermark is the stage's input watermark when the bundle was formed.
	Watermark beam.EventTime
	// Now is the processing time when the bundle was formed.
	Now time.Time
	// Drain tells a source or splittable stage to end.
	Drain bool
}

// ShardWork is a bundle's part of one shard: first the blocks, then the timers
// that are due. It is shared with the engine and must not be changed. Of a
// block, what it has waited for (Gates, NotBefore) is not told again.
type ShardWork struct {
	Shard  int
	Blocks []InputBlock
	// EventDue and ProcessingDue tell to fire timers due at or before Watermark and
	// Now, or at any time where a drain has brought Watermark to its end; the executor
	// takes them from the shard's state.
	EventDue, ProcessingDue bool
}

// SplitRequest asks for a split of a running bundle: keep about Fraction of
// the rest.
type SplitRequest struct {
	Bundle   BundleID
	Fraction float64
}

// Entry is an outbox entry: its content never changes again.
type Entry struct {
	Stage, Shard int
	N            int64 // from 1
	Blocks       []BlockID
	After        CommitSeq
}

// Finalization tells a harness that what its bundle read is durable.
type Finalization struct {
	Bundle BundleID
	After  CommitSeq
}

// Retry is a failed bundle that will be tried again.
type Retry struct {
	Stage   int
	Attempt int
	Err     error
	At      time.Time
}

// State is the job's state.
type State uint8

// The states. Drained is a Done that was asked for; a job that is Halted has more
// to do.
const (
	Running State = iota
	Draining
	Halting
	Done
	Drained
	Halted
	Cancelled
	Failed
)
