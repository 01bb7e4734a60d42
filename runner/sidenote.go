package runner

import (
	"encoding/binary"

	"github.com/tidwall/btree"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
)

// What is added to a side input is written with the commit that adds it, a row
// for each window, or several; what is more than a few kilobytes was written to
// blocks before, and the row names them. Rows and blocks go when their window is
// forgotten.

// sidePaged ends the keys of rows that name blocks.
const sidePaged = 'p'

func sideNoteKey(stage, side int, window string) []byte {
	return appendOrdered(appendStage(noteSide, stage, side), window)
}

// recordSide writes a delta.
func (l *journal) recordSide(b *store.Batch, seq engine.CommitSeq, d sideDelta) {
	d.delta.Notes(func(n state.SideNote) {
		l.sides++
		key := binary.BigEndian.AppendUint64(sideNoteKey(d.stage, d.side, n.Window), uint64(seq))
		key = binary.BigEndian.AppendUint32(key, l.sides)
		if n.Paged {
			key = append(key, sidePaged)
			l.keepSide(sideKey{d.stage, d.side}, n)
		}
		b.Note(string(key), n.Data)
	})
}

// keepSide notes which blocks a row names.
func (l *journal) keepSide(k sideKey, n state.SideNote) {
	all := l.sideBlocks[k]
	if all == nil {
		all = btree.NewMap[string, []engine.BlockID](16)
		l.sideBlocks[k] = all
	}
	known, _ := all.Get(n.Window)
	all.Set(n.Window, appendBlockIDs(known, n.Blocks))
}

// eachSideBlock calls f with the blocks that side inputs are in.
func (l *journal) eachSideBlock(f func(engine.BlockID)) {
	for _, all := range l.sideBlocks {
		all.Scan(func(_ string, ids []engine.BlockID) bool {
			for _, id := range ids {
				f(id)
			}
			return true
		})
	}
}

// forgetSide removes the rows of the windows that are encoded below bound, and
// their blocks, with the next commit. No bundle reads them any more.
func (l *journal) forgetSide(stage, side int, bound string) {
	prefix := appendStage(noteSide, stage, side)
	l.forgotten = append(l.forgotten, noteRange{string(prefix), string(appendEscaped(prefix, bound))})
	all := l.sideBlocks[sideKey{stage, side}]
	for all != nil {
		window, ids, ok := all.Min()
		if !ok || window >= bound {
			return
		}
		all.Delete(window)
		l.released = append(l.released, ids...)
	}
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

// sideNoteOf reads a row, by its key after the side input.
func sideNoteOf(key string, row []byte) (state.SideNote, bool) {
	window, rest, ok := cutOrdered(key)
	return state.SideNote{Window: window, Paged: len(rest) == 13 && rest[12] == sidePaged, Data: row}, ok
}

func (l *journal) recoverSide(stage, side int, s *state.SideInput) error {
	from := string(appendStage(noteSide, stage, side))
	to := string(appendStage(noteSide, stage, side+1))
	return l.disk.Notes(from, to, func(key string, row []byte) error {
		n, ok := sideNoteOf(key[len(from):], row)
		if !ok {
			return badNote("a side input")
		}
		if err := s.Load(&n); err != nil {
			return &beam.Error{Code: beam.BadData, What: "the job's state on disk does not parse", Cause: err}
		}
		if n.Paged {
			l.keepSide(sideKey{stage, side}, n)
		}
		return nil
	})
}
