package runner

import (
	"encoding/binary"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
)

// What is added to a side input is written with the commit that adds it, a row
// for each window; rows go when their window is forgotten.

func sideNoteKey(stage, side int, window string) []byte {
	return appendOrdered(appendStage(noteSide, stage, side), window)
}

// recordSide writes a delta. A side input of several producers gets several in
// one commit.
func (l *journal) recordSide(b *store.Batch, seq engine.CommitSeq, d sideDelta) {
	multimap := l.job.stages[d.stage].plan.Harness.SideInputs[d.side].Multimap
	l.sides++
	order := binary.BigEndian.AppendUint64(nil, uint64(seq))
	order = binary.BigEndian.AppendUint32(order, l.sides)
	d.delta.Notes(multimap, func(window string, note []byte) {
		b.Note(string(append(sideNoteKey(d.stage, d.side, window), order...)), note)
	})
}

// forgetSide removes the rows of the windows that are encoded below bound, with
// the next commit.
func (l *journal) forgetSide(stage, side int, bound string) {
	prefix := appendStage(noteSide, stage, side)
	l.forgotten = append(l.forgotten, noteRange{string(prefix), string(appendEscaped(prefix, bound))})
}

type noteRange struct{ from, to string }

// recoverSides reads what the side inputs of a stage held.
func (j *job) recoverSides(st *stage) error {
	if j.journal == nil {
		return nil
	}
	for i, s := range st.sides {
		if err := j.journal.recoverSide(st.index, i, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *journal) recoverSide(stage, side int, s *state.SideInput) error {
	from := string(appendStage(noteSide, stage, side))
	to := string(appendStage(noteSide, stage, side+1))
	return l.disk.Notes(from, to, func(key string, row []byte) error {
		window, _, ok := cutOrdered(key[len(from):])
		if !ok {
			return badNote("a side input")
		}
		if err := s.Load(window, append([]byte(nil), row...)); err != nil {
			return &beam.Error{Code: beam.BadData, What: "the job's state on disk does not parse", Cause: err}
		}
		return nil
	})
}
