package runner

import (
	"log/slog"
	"sync/atomic"

	"fresnel/runner/state"
	"fresnel/runner/store"
	"fresnel/runner/window"
)

// dataShare is the part of the memory limit that the data of jobs may take: the
// rest is for bundles on their way, messages, and what the collector has not
// collected.
const dataShare = 0.3

// ProgramMemory is about what the program itself takes of a memory limit, in bytes: the
// collector does not count it. Of a small limit it is half at most.
const ProgramMemory = 48 << 20

// sideShare is the part of that which side inputs may take: they stay for as long
// as the job does, and blocks need room to flow.
const sideShare = 0.5

// memory is a job's part of the server's budget, and where what does not fit in
// it goes (I9). It is what blocks, user state and timers hold in memory, groupings
// and side inputs.
type memory struct {
	budget *store.Budget // nil: there is no limit
	spill  *store.Spill
	temp   *store.Temp
	sides  *store.Shelf
	warned atomic.Bool
}

func newBudget(limit int64) *store.Budget {
	if limit <= 0 {
		return nil
	}
	return store.NewBudget(int64(dataShare * float64(limit-min(ProgramMemory, limit/2))))
}

// newMemory returns that of a job; full is what writers do when the disk is.
func newMemory(b *store.Budget, dir string, log *slog.Logger, full *fullDisk) *memory {
	m := &memory{budget: b, spill: store.NewSpill(dir)}
	m.temp = store.NewTemp(store.TempOptions{Dir: dir, Budget: b, Cells: state.CellOf, Log: log, Full: full.wait, Room: full.room})
	m.shelve(nil)
	return m
}

// shelve makes the shelf of side inputs: that of a durable job has its store.
func (m *memory) shelve(d *store.Disk) {
	m.sides = store.NewShelf(m.budget.Part(sideShare), m.spill, d)
}

// statefulBundle is how many elements a bundle of a stage with state has at most:
// what each of them writes is in memory until the bundle commits. 0 is no limit.
func (m *memory) statefulBundle() int {
	if m.budget == nil {
		return 0
	}
	return int(max(m.budget.Share()/elementWrites, leastStateful))
}

const (
	// elementWrites is about what an element that sets a timer writes, in bytes.
	elementWrites = 1 << 10
	// leastStateful is a bundle that is worth its fixed cost.
	leastStateful = 1000
)

// close gives back all that the job held, when it has ended.
func (m *memory) close() {
	m.sides.Close()
	m.spill.Close()
	m.temp.Close()
}

func (m *memory) newStore() *store.Memory { return store.NewSpilling(m.budget, m.spill, m.temp) }

// hold counts what a shard of a grouping holds now, and held before, and has it
// give some up if all together is too much.
func (m *memory) hold(sh *window.Shard, held *int64) {
	m.count(sh, held)
	if m.budget.Over() {
		sh.Relieve()
		m.count(sh, held)
	}
}

func (m *memory) count(sh *window.Shard, held *int64) {
	now := sh.Bytes()
	m.budget.Add(now - *held)
	*held = now
}

// trouble is why data stays in memory that should not, told once.
func (m *memory) trouble() error {
	err := firstError(m.spill.Err(), m.temp.Err())
	if err == nil || m.warned.Swap(true) {
		return nil
	}
	return err
}
