// Package engine decides what runs when. It is the deterministic core of the
// runner: events go in (a bundle is done, a worker was lost, the clock ticked),
// decisions come out (bundles to start, commits to apply, outbox entries to
// write). It does no I/O, reads no clock, starts no goroutine and holds no
// element: what it knows of a block is where it is, how large it is and the
// time that it holds the watermark at, in about 100 bytes. The same events give
// the same decisions. Nothing that an event says makes it panic (I7).
//
//	             Step(Event) → Ready
//
//	 outputs of a commit
//	        │ arrive
//	        ▼
//	┌── gates, clock ──┐      ┌── shard queue ──┐   form    ┌─ bundle ─┐  start
//	│ side input ready?│ ───▶ │ b7 b8 b9 ...    │ ────────▶ │ b7 b8    │ ──────▶ worker
//	│ not before?      │      │ (first in,      │           │ + timers │
//	└──────────────────┘      │  first out)     │ ◀──────── │          │ failed: the
//	                          └─────────────────┘  residual └────┬─────┘ same again
//	                                                             │ done
//	 watermarks ◀── holds ◀── commit, in the order of the input ◀┘
//
// # Order
//
// A stage has shards. A shard has a queue of blocks, and the order of the
// bundles that have taken from it. Bundles of one shard commit in that order
// (I13), so that of two bundles in flight the second waits for the first,
// and for all its retries. An exclusive shard, one that owns state, is in one
// bundle at a time (I4). A failed bundle stays the same bundle: it keeps its
// blocks and its place. What a split cuts off a bundle takes the place behind
// it: in the queue, if nothing later is in flight, otherwise as a bundle that is
// formed already.
//
// A bundle may combine shards, in each of which it has its place. All orders are
// extended at once, so no two bundles can wait for each other.
//
// # Watermarks
//
// The input watermark of a stage is the least of its producers' output
// watermarks and the holds of its blocks, from their arrival to the commit that
// consumes them. An output watermark is the least of the input watermark and the
// holds of the shards' state; of a source, what its shards tell. A commit lets
// the blocks of its bundle go, and adds its outputs to the consumers and its
// holds to the stage, before any watermark is computed; so at no time is there
// an element, or a promise of one, that no watermark is held by (I5). Each
// minimum is kept in a tree or a heap, and a change propagates, in topological
// order, to where it makes a difference.
//
// Two things do not hold: what comes by a feedback edge (its stage holds the
// watermark by its state while accumulators are away), and a late block, since no
// watermark moves back.
//
// # Bundles
//
// A stage with work is given to a worker with a free slot: the one farthest
// downstream first, so that what is under way is finished before more is begun,
// but none more than a few bundles late. How much goes in one bundle:
//
//   - the stage's fair share: what is pending over the slots of the pool;
//   - but at least what is worth the fixed cost of a bundle, so that little work
//     is done in one bundle with many shards;
//   - at most what should take Options.TargetBundle. Fixed and marginal cost are
//     measured by a regression that forgets, and the first bundles are small;
//   - at most what should put out Options.MaxBundleOutput. A running bundle that
//     puts out more is cut short (yield.go).
//
// A small bundle, one that is not worth its fixed cost, starts at once on an idle
// worker that is busy for less than Options.BusyLimit; above that it waits a
// little for more to come (see crowding). At a thousand elements a second, one
// at a time, a Python worker is so kept at three quarters, in bundles of five.
//
// A worker takes as many bundles at once as it has slots, and more of a stage
// whose code is found to wait rather than to compute (width.go). In a bounded job,
// a bundle that is seen to keep its worker busy is the only one (pairing.go).
//
// In a bounded job, a stage that owns state lets the worker finish what is
// upstream first, so that the elements of a key come together (gather.go).
//
// A bundle that has put out all, and only has not responded, takes no slot, and
// consumers may start on its outputs: they commit after it and fall with it
// (early.go).
//
// Exclusive shards have a home, the worker that knows their state. They move when
// workers come and go, or when work waits at a worker without a free slot while
// another has one.
//
// Stages whose bundles linger (sources, unbounded restrictions) leave the last
// slot of a worker to others.
//
// # Image
//
// With Options.Durable each commit says what it changes of the job's image: rows
// that the runner writes in the commit's batch and gives to Restore after a crash
// (I2, I10). All that is worth keeping changes in commits only, so that each prefix
// of them is a consistent image; a drain is a commit for that reason. The image
// has
//
//   - the pending blocks of each shard, in flight or not, with what they wait for;
//   - the entries that sinks have formed, and the blocks of those that are out;
//   - the times of stateful shards, and how far those of sources have come;
//   - the gates that are known; the last commit; whether the job drains.
//
// What ran is not in it: its blocks are queued again at their old place. That
// place is a block's rank (rank.go), the number of its arrival; a split puts what
// it has made between that block and the next. Watermarks are not in it either:
// they come out of the rest as they were. Where something late would draw them
// back, the floor that they had reached is written down with it. What changes
// between commits (a gate that is declared early, or has passed) is part of the
// next one, and harmless if that is lost. Costs that were measured, attempts and
// homes start anew. docs/format.md has the rows.
//
// # Reading
//
// spec.go and events.go are the contract. Then engine.go, stage.go, progress.go
// (watermarks), arrival.go and ready.go (from a commit to a lane), schedule.go and
// bundle.go (from a lane to a worker), commit.go; early.go, retry.go, split.go,
// sink.go, source.go, gate.go and home.go are corners of their own. image.go, row.go,
// rank.go and restore.go are the image. testdata has a dialogue for each rule,
// sim_test.go runs random plans, with crashes, against a model, and mutation.go
// lists what it must notice.
package engine
