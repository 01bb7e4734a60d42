package runner

import (
	"sync/atomic"

	"fresnel/runner/store"
	"fresnel/runner/window"
)

// dataShare is the part of the memory limit that the data of jobs may take: the
// rest is for bundles on their way, messages, and what the collector has not
// collected.
const dataShare = 0.3

// sideShare is the part of that which side inputs may take: they stay for as long
// as the job does, and blocks need room to flow.
const sideShare = 0.5

// memory is a job's part of the server's budget, and where what does not fit in
// it goes (I9). It is what blocks of a job in memory hold, a durable job's being on
// disk anyway, and groupings and side inputs of either.
type memory struct {
	budget *store.Budget // nil: there is no limit
	spill  *store.Spill
	sides  *store.Shelf
	warned atomic.Bool
}

func newBudget(limit int64) *store.Budget {
	if limit <= 0 {
		return nil
	}
	return store.NewBudget(int64(dataShare * float64(limit)))
}

func newMemory(b *store.Budget, dir string) *memory {
	m := &memory{budget: b, spill: store.NewSpill(dir)}
	m.shelve(nil)
	return m
}

// shelve makes the shelf of side inputs: that of a durable job has its store.
func (m *memory) shelve(d *store.Disk) {
	m.sides = store.NewShelf(m.budget.Part(sideShare), m.spill, d)
}

// close gives back all that the job held, when it has ended.
func (m *memory) close() {
	m.sides.Close()
	m.spill.Close()
}

func (m *memory) newStore() *store.Memory { return store.NewSpilling(m.budget, m.spill) }

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
	err := m.spill.Err()
	if err == nil || m.warned.Swap(true) {
		return nil
	}
	return err
}
