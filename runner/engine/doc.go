// Package engine decides what runs when. It is the deterministic core of the
// runner: events go in (a bundle is done, a worker was lost, the clock ticked),
// decisions come out (bundles to start, commits to apply, outbox entries to
// write). It does no I/O, reads no clock, starts no goroutine and holds no
// element: what it knows of a block is where it is, how large it is and the
// time that it holds the watermark at.
//
//	             Step(Event) → Ready
//
//	 outputs of a commit
//	        │ arrive
//	        ▼
//	┌── gates, clock ──┐      ┌── shard queue ──┐   form    ┌─ bundle ─┐  start
//	│ side input ready?│ ───▶ │ b7 b8 b9 ...    │ ────────▶ │ b7 b8    │ ──────▶ worker
//	│ not before?      │      │ (first in,      │           │ + timers │
//	└──────────────────┘      │  first out)     │ ◀──────── │          │ failed: same
//	                          └─────────────────┘  residual └────┬─────┘ content again
//	                                                             │ done
//	 watermarks ◀── holds ◀── commit, in the order of the input ◀┘
//
// A stage has shards. A shard has a queue of blocks, and the order of the
// bundles that have taken from it: they commit in that order (I13). An
// exclusive shard, one that owns state, is in one bundle at a time (I4).
//
// Watermarks propagate along the graph when something has changed, and only
// from there: every minimum (over producers, shards, pending blocks) is kept in
// a tree or a heap.
//
// Read engine.go first, then stage.go, progress.go, arrival.go, ready.go,
// schedule.go, bundle.go and commit.go; the rest are corners of their own:
// retry.go, split.go, sink.go, source.go, gate.go.
package engine
