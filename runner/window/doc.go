// Package window has Beam's windowing model: window functions, triggers, panes,
// and the grouping by key and window (GroupByKey) that they govern.
//
// It is pure: no I/O, no goroutine, no clock. Watermarks and processing time
// are arguments, blocks of encoded elements go in, blocks go out, and nothing
// is decoded on the way but headers and the boundary between key and value.
//
//	WindowingStrategy ──ParseStrategy──▶ Strategy ──NewGrouping──▶ Grouping ──NewShard──▶ Shard
//
//	  block of KV<k, v> ──Add────────▶ ┌──────────────────────────┐
//	  watermark, now ────Advance─────▶ │ append way: buckets      │──▶ Output.Panes:   KV<k, iterable<v>>
//	  KV<k, acc> ────AddCompacted────▶ │ incremental way: cells   │──▶ Output.Compact: KV<k, iterable<acc>>
//	                                   └──────────────────────────┘
//	                                     │ NextEventTime, NextProcessingTime, Hold, Bytes
//	                                     ▼ what the engine keeps of a shard
//
// # Two ways
//
// Where each key and window has one pane, at the end of the window, nothing
// needs to be known of a key before that: the append way keeps the blocks as
// they came, by window, and groups a window once, by hash, when it closes. All
// else is incremental: a cell for each key and window has its values, its
// trigger's state and its pane's number.
//
// # Time
//
// A watermark is past the end of a window when it is above the window's last
// instant, its maximum timestamp. Event-time triggers fire then; a window dies
// when the watermark is above its garbage time, the end plus the allowed
// lateness. Elements of a dead window are dropped and counted.
//
// The event time of Add is fixed before its elements are: all that the
// watermark makes due fires first. Each element is then judged by itself, so
// that where a block begins or ends changes nothing (I12): an element count
// of 3 fires with exactly three elements. Processing time moves in Advance
// only; its triggers promise no more.
//
// Elements behind the watermark never hold the output watermark. They take
// the timestamp that the on-time elements of their pane have, or the end of
// the window, so that they are not later than they were.
//
// # Where the SDKs differ
//
// The proto's comments and Java's model decide. A sub-trigger that finishes
// ends its AfterEach step; the early and late sub-triggers of AfterEndOfWindow
// repeat; a finished trigger drops what comes later; a session that joins
// fired ones starts its panes anew unless its window is one of theirs.
//
// # Reading order
//
// fn.go, strategy.go and parse.go; trigger.go, machine.go and delay.go; cell.go,
// pane.go and hold.go; then grouping.go, shard.go, and the two ways:
// append.go with hash.go, incremental.go with merge.go and compact.go.
package window
