package engine

import (
	"time"

	"fresnel/internal/beam"
)

// Snapshot is the state of a job for people to look at.
type Snapshot struct {
	State State
	Err   error
	// Commits counts commits, Durable those that are known to be durable.
	Commits, Durable CommitSeq
	// HeldBytes is the size of all blocks that wait or are being worked on.
	HeldBytes int64
	Stages    []StageSnapshot
	Pools     []PoolSnapshot
}

// StageSnapshot is one stage of a Snapshot.
type StageSnapshot struct {
	Name  string
	Input beam.EventTime
	// Outputs are the output watermarks.
	Outputs []beam.EventTime
	// Hold is the least hold of the shards' state, or a source's watermark.
	Hold beam.EventTime
	// Blocks, Elements and Bytes are what waits in queues.
	Blocks, Elements, Bytes int
	// Apart are blocks that wait for a side input or for the clock.
	Apart int
	// Running counts bundles in flight, Retrying those that failed and wait.
	Running, Retrying int
	// Entries counts outbox entries that are being written.
	Entries int
	// Reading counts the shards of a source that have not ended.
	Reading int
	// Bundles counts what has committed (for a sink, entries), ElementsIn and
	// BytesIn what those have consumed, Failures attempts that failed or were lost.
	Bundles, Failures   int
	ElementsIn, BytesIn int
	// PerBundle and PerElement are the measured costs.
	PerBundle, PerElement time.Duration
}

// PoolSnapshot is one pool of a Snapshot.
type PoolSnapshot struct {
	Name    string
	Workers []WorkerSnapshot
}

// WorkerSnapshot is one worker of a pool.
type WorkerSnapshot struct {
	Worker, Running int
	// Busy is the share of the last tenth of a second with a bundle in flight.
	Busy float64
}

// Snapshot describes the job as it stands after the last step.
func (e *Engine) Snapshot() Snapshot {
	s := Snapshot{State: e.state, Err: e.err, Commits: e.seq, Durable: e.durable, HeldBytes: e.held}
	for _, st := range e.stages {
		s.Stages = append(s.Stages, st.snapshot())
	}
	for _, b := range e.later {
		s.Stages[b.stage.index].Retrying++
	}
	for _, p := range e.pools {
		s.Pools = append(s.Pools, p.snapshot(e.now))
	}
	return s
}

func (st *stage) snapshot() StageSnapshot {
	s := StageSnapshot{
		Name: st.Name, Input: st.input, Outputs: append([]beam.EventTime(nil), st.output...),
		Hold: st.holdOf(0), Blocks: st.queued.blocks, Elements: st.queued.elements,
		Bytes: st.queued.bytes, Apart: st.apart.blocks, Running: st.running, Retrying: len(st.again),
		Bundles: st.bundles, Failures: st.failures, ElementsIn: st.consumed.elements, BytesIn: st.consumed.bytes,
		PerBundle: time.Duration(st.cost.fixed), PerElement: time.Duration(st.cost.element),
	}
	for o := range st.holds {
		s.Hold = min(s.Hold, st.holdOf(o))
	}
	for i := range st.shards {
		if st.shards[i].outbox != nil {
			s.Entries++
		}
		if st.reads() && !st.shards[i].done {
			s.Reading++
		}
	}
	return s
}

func (p *pool) snapshot(now instant) PoolSnapshot {
	s := PoolSnapshot{Name: p.Name}
	for _, w := range p.workers {
		if w != nil {
			w.pass(now)
			s.Workers = append(s.Workers, WorkerSnapshot{Worker: w.id, Running: len(w.running), Busy: w.busy})
		}
	}
	return s
}
