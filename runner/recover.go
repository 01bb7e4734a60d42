package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/store"
)

// A durable job that was cut off is built as at first, from the same pipeline,
// but each part begins with what it had at the last commit in the log (I10):
//
//	plan       must be the one that the state is of
//	sources    splits and positions
//	gates      their numbers
//	groupings  snapshots, and what they took in since
//	sides      what was added
//	metrics    what was counted
//	engine     pending blocks, times, outbox entries
//	rests      what of hot keys is not in these blocks
//
// Then blocks that nobody refers to are removed: bundles wrote them that were
// never committed.

// owner is the job's epoch as sinks know it: one of a durable job grows with each
// server that runs it.
func (j *job) owner() int64 {
	if j.journal != nil {
		return j.sub.Epoch
	}
	return j.epoch
}

// begin opens the job's journal, if it has one, and sees to it that what is in it
// is this plan's.
func (j *job) begin() error {
	j.lanes, j.keyShards = j.runner.cfg.Lanes, j.runner.cfg.KeyShards
	if j.sub.Dir == "" {
		return nil // decided when the job was submitted, whatever a later server's default is
	}
	if err := j.takeOver(); err != nil {
		return err
	}
	if err := j.openJournal(); err != nil {
		return err
	}
	if err := j.writeCarried(); err != nil {
		return err
	}
	if err := j.journal.recoverOwners(); err != nil {
		return err
	}
	if err := j.metrics.recover(j.journal.disk); err != nil {
		return err
	}
	if err := j.gates.recover(j.journal.disk); err != nil {
		return err
	}
	return j.journal.checkPlan()
}

// checkPlan compares the plan with the one that the state is of, and takes over
// its numbers of shards.
func (l *journal) checkPlan() error {
	j := l.job
	sum := sha256.Sum256([]byte(j.plan.String()))
	found := false
	err := l.disk.Notes(notePlan, notePlan+"\xff", func(_ string, row []byte) error {
		f := fields{b: row}
		same := string(f.bytes()) == string(sum[:])
		j.lanes, j.keyShards = int(f.uint()), int(f.uint())
		found = true
		if f.bad || !same || j.lanes < 1 || j.keyShards < 1 {
			return &beam.Error{Code: beam.Rejected, What: "the job's state on disk is that of another plan",
				Cure: "it was begun by another version of Fresnel: go on with that one, or cancel the job and start it anew"}
		}
		return nil
	})
	if err != nil || found || j.runner.readOnly {
		return err
	}
	var b store.Batch
	row := appendField(nil, sum[:])
	row = binary.AppendUvarint(row, uint64(j.lanes))
	b.Note(notePlan, binary.AppendUvarint(row, uint64(j.keyShards)))
	return l.disk.Apply(&b)
}

// makeEngine makes the engine, of a durable job from its image.
func (j *job) makeEngine(spec engine.Spec) (err error) {
	if j.journal == nil {
		j.engine, err = engine.New(spec)
		return err
	}
	if err := j.journal.takeOverEngine(spec); err != nil {
		return err
	}
	return j.journal.restore(spec)
}

func (l *journal) restore(spec engine.Spec) error {
	j := l.job
	var failed error
	eng, restored, err := engine.Restore(spec, l.engineRows(&failed))
	if err == nil && failed != nil {
		err = failed
	}
	if err != nil {
		return err
	}
	j.engine, j.applied, l.unwritten = eng, restored.Commits, restored.Entries
	if restored.Commits > 0 {
		j.runner.cfg.Log.Info("a job goes on", "job", j.sub.ID, "commit", restored.Commits, "blocks", len(restored.Blocks))
	}
	return l.keep(restored.Blocks)
}

// engineRows are the rows of the engine's image, in their order.
func (l *journal) engineRows(failed *error) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		*failed = l.disk.Notes(noteEngine, noteEngine+"\xff", func(key string, row []byte) error {
			if !yield(key[len(noteEngine):], row) {
				return errStop
			}
			return nil
		})
	}
}

// keep removes the blocks that neither the engine nor a grouping refers to.
func (l *journal) keep(pending []engine.BlockID) error {
	known := make(map[engine.BlockID]bool, len(pending))
	for _, id := range pending {
		known[id] = true
	}
	if err := l.recoverMarks(known); err != nil {
		return err
	}
	if err := l.recoverRests(known); err != nil {
		return err
	}
	for _, st := range l.job.stages {
		g, ok := st.executor.(*groupExecutor)
		if !ok {
			continue
		}
		for _, log := range g.logs {
			for _, id := range log.blocks {
				l.retain(id)
			}
		}
	}
	l.eachSideBlock(func(id engine.BlockID) { known[id] = true })
	for id, r := range l.retained {
		r.consumed = !known[id]
	}
	if l.job.runner.readOnly {
		return nil
	}
	if err := l.disk.KeepBlocks(func(id uint64) bool {
		return known[engine.BlockID(id)] || l.retained[engine.BlockID(id)] != nil
	}); err != nil {
		return fmt.Errorf("removing blocks that nobody refers to: %w", err)
	}
	return nil
}

// errStop ends a walk over notes.
var errStop = errors.New("stop")
