package runner

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
	"fresnel/translate"

	"github.com/tidwall/btree"
)

// journal makes a job outlive its process. Each commit writes what it changes
// into one batch of the store (I1, I2): the user state of its bundle, the rows of
// the engine's image, the positions of sources, what groupings and side inputs
// took in. What must not be seen before it is lasting, outbox entries,
// finalizations, acknowledged positions, waits for the disk (I3): one sync serves
// all that wait.
//
//	commit ──▶ batch ──▶ log ─ ─ sync ─ ─▶ entries go out
//	                      │
//	         crash ───────┴──▶ recovered: as of the last commit in the log
//
// A job in memory has none. It belongs to the job's loop.
type journal struct {
	job  *job
	disk *store.Disk
	// held are the effects that wait for commits to be durable, in their order.
	held []heldEffect
	// syncing tells that a sync is under way, kick starts one; soon that one will
	// begin before long, durable up to where the last one went.
	syncing, soon bool
	durable       engine.CommitSeq
	kick          chan engine.CommitSeq
	// retained are the blocks that groupings would read again.
	retained map[engine.BlockID]*retained
	// sides counts what was written of deltas, sideBlocks are the blocks that hold
	// the rest, forgotten are notes to be removed and released blocks to be freed.
	sides      uint32
	sideBlocks map[sideKey]*btree.Map[string, []engine.BlockID]
	forgotten  []noteRange
	released   []engine.BlockID
	// unwritten are the outbox entries that the job began with.
	unwritten []engine.Entry
}

// heldEffect is what may happen once a commit is durable.
type heldEffect struct {
	after engine.CommitSeq
	do    func()
}

// retained counts the groupings' logs that a block is in; consumed tells that
// the engine needs it no more.
type retained struct {
	logs     int
	consumed bool
}

// openJournal opens the job's store on disk.
func (j *job) openJournal() error {
	l := &journal{job: j, kick: make(chan engine.CommitSeq, 1), retained: map[engine.BlockID]*retained{},
		sideBlocks: map[sideKey]*btree.Map[string, []engine.BlockID]{}}
	dir := filepath.Join(j.sub.Dir, "store")
	if !j.runner.readOnly {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return unwritable(dir, err)
		}
	}
	full := &fullDisk{job: j, dir: dir}
	disk, err := store.OpenDisk(dir, store.DiskOptions{FS: j.runner.fs, Cells: state.CellOf, Log: j.runner.cfg.Log, Full: full.wait, Room: full.room, ReadOnly: j.runner.readOnly, Budget: j.memory.budget, Begun: j.sub.Begun})
	if err != nil {
		return j.unopened(dir, err)
	}
	l.disk, j.store, j.journal = disk, disk, l
	j.memory.shelve(disk)
	j.spawn(l.syncLoop)
	return nil
}

// unopened is the error for a store that does not open.
func (j *job) unopened(dir string, err error) error {
	if j.runner.readOnly || store.Damaged(err) {
		return &beam.Error{Code: beam.BadData, What: "the job's state in " + dir + " cannot be read", Cause: err,
			Cure: "if it is damaged, put a copy of it in its place, or cancel the job and start it anew"}
	}
	return unwritable(dir, err)
}

// noteBegun has it noted, once, that the job has a store: from then on one that is
// not there is damage, and none that is yet to be made. The store is on the disk
// before.
func (j *job) noteBegun() error {
	if j.journal == nil || j.runner.readOnly || j.sub.Begun || j.sub.Began == nil {
		return nil
	}
	err := j.journal.disk.Sync()
	for _, dir := range []string{j.sub.Dir, filepath.Dir(j.sub.Dir)} {
		err = firstError(err, syncDir(dir))
	}
	if err = firstError(err, j.sub.Began()); err != nil {
		return unwritable(j.sub.Dir, err)
	}
	return nil
}

// syncDir brings the names in a directory to the disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func unwritable(dir string, err error) error {
	return &beam.Error{Code: beam.Internal, What: "the job's state cannot be kept in " + dir, Cause: err,
		Cure: "mend the disk or the rights, or keep the job in memory with --durability=memory"}
}

// fullDisk is what writers do when the disk is full: the first tells the user, and
// all wait for room.
type fullDisk struct {
	job  *job
	dir  string
	told bool
}

// wait returns when there may be room; false if the job no longer wants any. The
// store calls it and room in turn.
func (f *fullDisk) wait() bool {
	if !f.told {
		f.told = true
		f.job.warn("the disk is full: the job waits until there is room in " + f.dir)
	}
	for sleep(f.job.ctx, time.Second) {
		if room(f.dir) {
			return true
		}
	}
	return false
}

func (f *fullDisk) room() {
	f.told = false
	f.job.inform("there is room on the disk again: the job goes on")
}

// enoughRoom is how much of the disk must be free to go on after it was full.
const enoughRoom = 64 << 20

func room(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) != nil || fs.Bavail*uint64(fs.Bsize) >= enoughRoom
}

// syncLoop syncs when asked to. It runs beside the loop.
func (l *journal) syncLoop() {
	for {
		select {
		case seq := <-l.kick:
			if err := l.disk.Sync(); err != nil {
				l.job.send(report{event: engine.Event{Fail: internal("the store", err)}})
				return
			}
			l.job.send(report{event: engine.Event{Durable: &seq}})
		case <-l.job.ctx.Done():
			return
		}
	}
}

// sync asks for all commits up to now to be made durable, unless a sync is under
// way: then another follows it.
func (l *journal) sync() {
	if !l.syncing {
		l.syncing = true
		l.kick <- l.job.applied
	}
}

// syncAfter is how long a commit that nothing waits for may not be on the disk:
// what a crash of the machine, or of Fresnel, would have to be done again.
const syncAfter = time.Second

// syncSoon sees to it that the commits up to now are synced before long.
func (l *journal) syncSoon() {
	if l.soon || l.syncing {
		return
	}
	l.soon = true
	l.job.spawn(func() {
		if sleep(l.job.ctx, syncAfter) {
			l.job.send(report{sync: true})
		}
	})
}

// syncAnyway syncs what has not been since syncSoon.
func (l *journal) syncAnyway() {
	l.soon = false
	if l.job.applied > l.durable {
		l.sync()
	}
}

// synced lets go what has waited.
func (l *journal) synced(seq engine.CommitSeq) {
	l.syncing, l.durable = false, seq
	if l.job.applied > seq {
		l.syncSoon()
	}
	n := 0
	for n < len(l.held) && l.held[n].after <= seq {
		l.held[n].do()
		n++
	}
	l.held = append(l.held[:0:0], l.held[n:]...)
	if len(l.held) > 0 || l.job.stable && l.job.applied > seq {
		l.sync()
	}
}

// onceDurable has f called, in the loop, when a commit is durable. In memory
// every commit is, as far as it can be.
func (j *job) onceDurable(after engine.CommitSeq, f func()) {
	if j.journal == nil {
		f()
		return
	}
	j.journal.held = append(j.journal.held, heldEffect{after, f})
	j.journal.sync()
}

// record adds what a commit changes besides the entries of the store.
func (l *journal) record(b *store.Batch, c *engine.Commit, fx *effects) {
	for _, ch := range c.Image {
		setNote(b, noteEngine+ch.Key, ch.Value)
	}
	for _, g := range l.job.gates.changes() {
		setNote(b, g.key, g.value)
	}
	for _, r := range l.forgotten {
		b.UnnoteRange(r.from, r.to)
	}
	for _, id := range l.released {
		b.Free(uint64(id))
	}
	l.forgotten, l.released = l.forgotten[:0], l.released[:0]
	l.job.metrics.record(b)
	if fx == nil {
		return
	}
	for _, s := range fx.sides {
		l.recordSide(b, c.Seq, s)
	}
	for _, g := range fx.groups {
		l.recordGroup(b, g)
	}
	if p := fx.position; p != nil {
		b.Note(sourceKey(c.Stage, p.shard), p.row)
	}
}

// setNote sets or, without a value, removes a note.
func setNote(b *store.Batch, key string, value []byte) {
	if value == nil {
		b.Unnote(key)
		return
	}
	b.Note(key, value)
}

// release lets go of a block that the engine needs no more: a grouping that would
// read it again after a crash keeps it on disk.
func (j *job) release(b *store.Batch, stage int, id engine.BlockID) {
	if j.journal != nil {
		j.journal.unmark(b, stage, id)
		if r := j.journal.retained[id]; r != nil {
			r.consumed = true
			b.Release(uint64(id))
			return
		}
	}
	j.free(b, id)
}

// retain notes that a block is in a grouping's log.
func (l *journal) retain(id engine.BlockID) {
	r := l.retained[id]
	if r == nil {
		r = &retained{}
		l.retained[id] = r
	}
	r.logs++
}

// letGo notes that a block is in a grouping's log no more.
func (l *journal) letGo(b *store.Batch, id engine.BlockID) {
	r := l.retained[id]
	if r == nil {
		return
	}
	if r.logs--; r.logs > 0 {
		return
	}
	delete(l.retained, id)
	if r.consumed {
		b.Free(uint64(id))
	}
}

// settle makes the end of the job durable, and lets go what waits for it.
func (l *journal) settle() error {
	if err := l.disk.Sync(); err != nil {
		return internal("the store", err)
	}
	for _, h := range l.held {
		h.do()
	}
	l.held = nil
	return nil
}

// wantsDisk says where the state of a job lives: what the user asked for, or the
// server's default. By itself it is the disk for a job that is to run for ever, if
// its harnesses can be had again by a server that begins anew. A job with a
// TestStream never has it: its time is a script's.
func (r *Runner) wantsDisk(opts jobservice.Options, plan *translate.Plan) bool {
	for _, s := range plan.Stages {
		if s.Kind == translate.TestStream {
			return false
		}
	}
	return !r.wantsMemory(opts) && (plan.Streaming || r.durability(opts) == "disk")
}

// wantsMemory tells of a job whose state lives in memory whatever its plan is.
func (r *Runner) wantsMemory(opts jobservice.Options) bool {
	switch r.durability(opts) {
	case "memory":
		return true
	case "disk":
		return false
	}
	return opts.EnvironmentType() == "LOOPBACK"
}

func (r *Runner) durability(opts jobservice.Options) string {
	return opts.Str("durability", r.cfg.Durability)
}
