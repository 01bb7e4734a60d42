package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
	"fresnel/translate"
)

// carryBatch is how much is written at once.
const carryBatch = 4 << 20

// takeOver writes into the job's own store what of another job's state goes on in
// it, but for the engine's image, which takeOverEngine adds. Only then the note is
// there that tells that all is: what a crash left behind before is thrown away.
func (j *job) takeOver() error {
	if j.sub.From == nil || j.runner.readOnly {
		return nil
	}
	done, err := j.tookOver()
	if done {
		j.tellTook()
	}
	if err != nil || done {
		return err
	}
	j.carry, err = j.runner.openCarry(j.ctx, j.sub, j.plan)
	return err
}

// tookOver tells whether that was done before, and removes what was begun.
func (j *job) tookOver() (done bool, err error) {
	dir := filepath.Join(j.sub.Dir, "store")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, unwritable(dir, err)
	}
	disk, err := store.OpenDisk(dir, store.DiskOptions{FS: j.runner.fs, Cells: state.CellOf, Log: j.runner.cfg.Log, Begun: j.sub.Begun})
	if err != nil {
		return false, j.unopened(dir, err)
	}
	err = disk.Notes(noteFrom, noteFrom+"\xff", func(string, []byte) error { done = true; return nil })
	disk.Close()
	if err != nil || done {
		return done, err
	}
	if j.runner.fs != nil {
		return false, j.runner.fs.RemoveAll(dir)
	}
	return false, os.RemoveAll(dir)
}

// carryWriter writes in batches.
type carryWriter struct {
	*carry
	job   *job
	batch store.Batch
	size  int
	err   error
}

func (w *carryWriter) note(key string, value []byte) {
	w.batch.Note(key, value)
	w.count(len(key) + len(value))
}

func (w *carryWriter) count(n int) {
	if w.size += n; w.size >= carryBatch {
		w.flush()
	}
}

func (w *carryWriter) flush() {
	if w.err == nil {
		w.err = w.job.store.Apply(&w.batch)
	}
	w.batch, w.size = store.Batch{}, 0
}

// writeCarried writes all that is not the engine's.
func (j *job) writeCarried() error {
	if j.carry == nil {
		return nil
	}
	w := &carryWriter{carry: j.carry, job: j}
	sum := sha256.Sum256([]byte(j.plan.String()))
	row := binary.AppendUvarint(appendField(nil, sum[:]), uint64(w.old.lanes))
	w.note(notePlan, binary.AppendUvarint(row, uint64(w.old.keyShards)))
	for _, from := range slices.Sorted(maps.Keys(w.stages)) {
		w.stage(from, w.stages[from])
	}
	for key := range w.states {
		w.userState(key[0], key[1])
	}
	for from, to := range w.sides {
		w.side(from, to)
	}
	w.gates()
	w.flush()
	return w.err
}

func (w *carryWriter) stage(from, to int) {
	switch x := w.old.stages[from].executor.(type) {
	case *sourceExecutor:
		for i, sp := range x.splits {
			w.note(sourceKey(to, i), appendSplit(nil, sp.split, sp.position))
		}
	case *groupExecutor:
		for i, sh := range x.shards {
			state, err := sh.AppendState(binary.AppendUvarint(nil, 0))
			w.err = firstError(w.err, err)
			w.note(string(groupKey(to, i, kindSnapshot)), state)
		}
	case *sinkExecutor:
		w.note(ownerKey(to), appendField(nil, w.old.sinkOwner(from)))
	}
}

func (w *carryWriter) userState(from, to int) {
	moving := state.Moving{From: from, To: to, Cell: func(t beam.TransformID, name string, timers bool) (beam.TransformID, bool) {
		id, ok := w.cells[stateCell{t, name, timers}]
		return id, ok
	}}
	err := moving.Move(w.old.store.Entries(), func(key string, value []byte) error {
		w.batch.Put(key, value)
		w.count(len(key) + len(value))
		return w.err
	})
	w.err = firstError(w.err, firstError(err, w.old.journal.disk.Err()))
}

func (w *carryWriter) side(from, to sideKey) {
	prefix := string(appendStage(noteSide, from.stage, from.input))
	there := string(appendStage(noteSide, to.stage, to.input))
	err := w.old.journal.disk.Notes(prefix, string(appendStage(noteSide, from.stage, from.input+1)), func(key string, row []byte) error {
		n, ok := sideNoteOf(key[len(prefix):], slices.Clone(row))
		if !ok {
			return badNote("a side input")
		}
		moved, err := n.Moved(func(id uint64) uint64 { return uint64(w.block(engine.BlockID(id))) })
		w.note(there+key[len(prefix):], moved)
		return firstError(w.err, err)
	})
	w.err = firstError(w.err, err)
}

// gates keep their numbers.
func (w *carryWriter) gates() {
	g := newGates()
	w.err = firstError(w.err, g.recover(w.old.journal.disk))
	move := func(k sideKey, gate engine.Gate, raw string) {
		to, ok := w.sides[k]
		if !ok {
			return
		}
		gate.Stage, gate.SideInput = to.stage, to.input
		g.note(gate, raw)
	}
	for k, gate := range g.whole {
		move(k, gate, "")
	}
	for k, all := range g.byWindow {
		all.Scan(func(raw string, gate engine.Gate) bool { move(k, gate, raw); return true })
	}
	for _, n := range g.changes() {
		w.note(n.key, n.value)
	}
}

// takeOverEngine writes the engine's image and the blocks that wait, and lets the
// old job go.
func (l *journal) takeOverEngine(spec engine.Spec) error {
	j := l.job
	c := j.carry
	if c == nil {
		return nil
	}
	w := &carryWriter{carry: c, job: j}
	t := engine.Transplant{From: c.old.spec, To: spec, Stages: c.stages, Sides: map[[2]int][2]int{},
		Reached: c.old.engine.Snapshot().Stages, Place: w.place}
	for from, to := range c.sides {
		t.Sides[[2]int{from.stage, from.input}] = [2]int{to.stage, to.input}
	}
	var failed error
	rows, err := t.Rows(c.old.journal.engineRows(&failed))
	if err = firstError(firstError(w.err, failed), err); err != nil {
		return err
	}
	for key, row := range rows {
		w.note(noteEngine+key, row)
	}
	w.flush()
	w.note(noteFrom, appendField(nil, string(c.old.sub.ID)))
	w.flush()
	if w.err = firstError(w.err, l.disk.Sync()); w.err != nil {
		return internal("the store", w.err)
	}
	c.tell(j)
	c.close()
	j.carry = nil
	j.tellTook()
	return nil
}

// tellTook tells that the old job's state is not needed any more.
func (j *job) tellTook() {
	if j.sub.Took != nil {
		j.sub.Took()
	}
}

// place is where a block goes on.
func (w *carryWriter) place(stage, input int, id engine.BlockID) []engine.Place {
	var all []engine.Place
	for _, to := range w.blocks[inputKey{stage, input}] {
		all = append(all, engine.Place{Stage: to.stage, Input: to.input, Block: w.block(id)})
	}
	return all
}

// block copies a block, once, and returns its new number.
func (w *carryWriter) block(id engine.BlockID) engine.BlockID {
	if w.ids[id] == 0 {
		data := w.old.store.Block(uint64(id))
		if data == nil {
			w.err = firstError(w.err, badNote(fmt.Sprintf("block %d is not there", id)))
		}
		there := w.job.store.AddBlock(data)
		w.batch.Release(there) // it is read from the disk, as after a crash
		w.count(len(data))
		w.ids[id] = engine.BlockID(there)
		w.rests(id, engine.BlockID(there))
	}
	return w.ids[id]
}

// rests copies what a block's hot keys have beside it.
func (w *carryWriter) rests(from, to engine.BlockID) {
	var all []*rest
	for _, r := range w.old.rests.of(from) {
		moved := &rest{token: r.token}
		for _, page := range r.pages {
			moved.pages = append(moved.pages, w.block(page))
		}
		all = append(all, moved)
	}
	if len(all) > 0 {
		w.note(restKey(to), appendRests(nil, all))
	}
}

// tell says what the job begins with.
func (c *carry) tell(j *job) {
	j.inform("the job goes on from the state of job " + string(c.old.sub.ID))
	for _, d := range c.differences {
		j.warn("not taken over, as it was allowed: " + d.String())
	}
}

// ownerKey is the note of the job that a sink's entries are numbered for.
func ownerKey(stage int) string { return string(appendStage(noteOwner, stage, 0)) }

// sinkOwner is the job by whose name a sink keeps its progress: the first of those
// that went on from one another with it.
func (j *job) sinkOwner(stage int) string {
	if owner := j.owners[stage]; owner != "" {
		return owner
	}
	return string(j.sub.ID)
}

func (l *journal) recoverOwners() error {
	l.job.owners = map[int]string{}
	return l.disk.Notes(noteOwner, noteOwner+"\xff", func(key string, row []byte) error {
		f := fields{b: row}
		if len(key) != len(noteOwner)+4 {
			return badNote("the owner of a sink")
		}
		l.job.owners[int(binary.BigEndian.Uint16([]byte(key[len(noteOwner):])))] = string(f.bytes())
		if f.bad {
			return badNote("the owner of a sink")
		}
		return nil
	})
}

// carries tells that a plan can begin with what another job left.
func carries(plan *translate.Plan) error {
	for _, s := range plan.Stages {
		if s.Kind == translate.TestStream {
			return &beam.Error{Code: beam.Unsupported, Where: s.Name, What: "a pipeline with a TestStream cannot take over the state of a job",
				Cure: "its time is a script's: leave --restore_from out"}
		}
	}
	return nil
}
