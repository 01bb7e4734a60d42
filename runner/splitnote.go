package runner

import (
	"fresnel/connectors"
	"fresnel/runner/store"
)

// The splits of a durable job's source are fixed when it starts: they are on disk
// before the first read, and each commit of one moves its position.

// positioned is a split and where its next read goes on.
type positioned struct {
	connectors.Split
	position []byte
}

// positionNote is the row of a split after a read.
type positionNote struct {
	shard int
	row   []byte
}

func appendSplit(dst []byte, s connectors.Split, position []byte) []byte {
	dst = appendField(dst, s.ID)
	dst = appendField(dst, s.Start)
	return appendField(dst, position)
}

// readSplits asks the source for its splits, or the store if they were fixed
// before.
func (j *job) readSplits(st *stage, src connectors.Source) ([]positioned, error) {
	if j.journal != nil {
		if known, err := j.journal.recoverSplits(st.index); err != nil || len(known) > 0 || j.runner.readOnly {
			return known, err
		}
	}
	splits, err := j.splits(src, st.plan.Connector.Transform)
	if err != nil {
		return nil, err
	}
	var all []positioned
	for _, s := range splits {
		all = append(all, positioned{s, s.Start})
	}
	if j.journal != nil {
		err = j.journal.fixSplits(st.index, all)
	}
	return all, err
}

func (l *journal) recoverSplits(stage int) ([]positioned, error) {
	var all []positioned
	from := string(appendStage(noteSource, stage, 0))
	to := string(appendStage(noteSource, stage+1, 0))
	err := l.disk.Notes(from, to, func(_ string, row []byte) error {
		f := fields{b: append([]byte(nil), row...)}
		p := positioned{connectors.Split{ID: string(f.bytes()), Start: f.bytes()}, f.bytes()}
		if f.bad {
			return badNote("a split")
		}
		all = append(all, p)
		return nil
	})
	return all, err
}

// fixSplits writes the splits: all of them or, after a crash, none.
func (l *journal) fixSplits(stage int, all []positioned) error {
	var b store.Batch
	for i, p := range all {
		b.Note(sourceKey(stage, i), appendSplit(nil, p.Split, p.position))
	}
	if err := l.disk.Apply(&b); err != nil {
		return internal("the store", err)
	}
	return nil
}
