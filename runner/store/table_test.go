package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crowdedDisk is a store whose budget is used up by little.
func crowdedDisk(t *testing.T, fs vfs.FS, limit int64) *Disk {
	t.Helper()
	d, err := OpenDisk("store", DiskOptions{FS: fs, Budget: NewBudget(limit), Cells: twoLetters})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// twoLetters are the cells of tests.
func twoLetters(key []byte) int {
	if len(key) < 2 {
		return 0
	}
	return 2
}

// shelf is one owner's part of a store, and what must be in it.
type shelf struct {
	t      *testing.T
	d      Store
	r      *rand.Rand
	prefix string
	want   map[string]string
}

func (s *shelf) key() string { return fmt.Sprintf("%s%03d", s.prefix, s.r.IntN(400)) }

func (s *shelf) apply() {
	var b Batch
	for range s.r.IntN(20) {
		if k := s.key(); s.r.IntN(3) == 0 {
			b.Delete(k)
			delete(s.want, k)
		} else {
			v := fmt.Sprint(s.r.IntN(1000))
			b.Put(k, []byte(v))
			s.want[k] = v
		}
	}
	if err := s.d.Apply(&b); err != nil {
		s.t.Error(err)
	}
}

func (s *shelf) get() {
	k := s.key()
	got, ok := s.d.Entries().Get(k)
	if want, there := s.want[k]; string(got) != want || ok != there {
		s.t.Errorf("%s is %q %t, not %q %t", k, got, ok, want, there)
	}
}

// walk compares the first entries of a range.
func (s *shelf) walk() {
	from, to, most := s.key(), s.key(), 1+s.r.IntN(300)
	var want []string
	for k, v := range s.want {
		if from <= k && k < to {
			want = append(want, k+"="+v)
		}
	}
	slices.Sort(want)
	want = want[:min(most, len(want))]
	var got []string
	s.d.Entries().Ascend(from, to, func(k string, v []byte) bool {
		got = append(got, k+"="+string(v))
		return len(got) < most
	})
	if !slices.Equal(got, want) {
		s.t.Errorf("from %s to %s, %d entries at most: %v\nwant %v", from, to, most, got, want)
	}
}

func (s *shelf) act() {
	switch s.r.IntN(4) {
	case 0:
		s.get()
	case 1:
		s.apply()
	default:
		s.walk()
	}
}

// TestEntriesAreTheSameWhereverTheyLive (I10): with room for all of them, for few
// or for none in memory, and after the store was opened again.
func TestEntriesAreTheSameWhereverTheyLive(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		limit := []int64{1 << 30, 20_000, -1}[seed%3]
		fs := vfs.NewCrashableMem()
		s := &shelf{t: t, d: crowdedDisk(t, fs, limit), r: rand.New(rand.NewPCG(seed, 2)), want: map[string]string{}}
		for range 4 {
			for range 200 {
				s.act()
			}
			d := s.d.(*Disk)
			checkTable(t, d.table)
			sync1(t, d)
			fs = crash(fs, nil, 0)
			s.d = crowdedDisk(t, fs, limit)
		}
	}
}

// crowdedMemory is the store of a job that ends with its process, with little room.
func crowdedMemory(t *testing.T, limit int64) *Memory {
	t.Helper()
	b := NewBudget(limit)
	temp := NewTemp(TempOptions{Dir: t.TempDir(), Budget: b, Cells: twoLetters})
	m := NewSpilling(b, NewSpill(t.TempDir()), temp)
	t.Cleanup(func() {
		m.Close()
		temp.Close()
		if used := b.Used(); used != 0 {
			t.Errorf("%d bytes are left", used)
		}
	})
	return m
}

// TestEntriesThatDoNotFitAreTheSame (I10): of a job that ends with its process, with
// room for all of them, for few or for none in memory.
func TestEntriesThatDoNotFitAreTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		limit := []int64{1 << 30, 20_000, -1}[seed%3]
		m := crowdedMemory(t, limit)
		s := &shelf{t: t, d: m, r: rand.New(rand.NewPCG(seed, 5)), want: map[string]string{}}
		for range 8 {
			for range 100 {
				s.act()
			}
			checkTable(t, m.table)
			checkAway(t, m.table)
		}
		if spilled := m.table.temp.begun.Load(); spilled != (limit < 1<<30) {
			t.Errorf("limit %d: there are files: %t", limit, spilled)
		}
	}
}

// checkAway: temporary files have, outside of gaps, older values of what is in
// memory and nothing else.
func checkAway(t *testing.T, tb *table) {
	t.Helper()
	if !tb.temp.begun.Load() {
		return
	}
	rows, _, err := tb.disk("", lastKey, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		e, near := tb.near.Get(r.key)
		switch {
		case tb.far.has(r.key):
		case !near || !e.there:
			t.Errorf("%q is in a file, and nothing knows of it", r.key)
		case e.clean && string(e.value) != string(r.value):
			t.Errorf("%q is %q in a file, and %q in memory, which counts as the same", r.key, r.value, e.value)
		}
	}
}

// checkTable: gaps do not overlap, nothing in them is in memory, and what is in
// memory is counted and not much more than it may be.
func checkTable(t *testing.T, tb *table) {
	t.Helper()
	last, sum := "", int64(0)
	tb.far.ends.Scan(func(start, end string) bool {
		if start < last || end <= start {
			t.Errorf("the gap %q to %q comes after one that ends at %q", start, end, last)
		}
		last, sum = end, sum+gapCost
		return true
	})
	tb.near.Scan(func(k string, e *entry) bool {
		if tb.far.has(k) {
			t.Errorf("%q is in memory, and in a gap", k)
		}
		sum += cost(k, e.value)
		return true
	})
	if sum != tb.counted {
		t.Errorf("%d bytes are counted of %d", tb.counted, sum)
	}
	if b := tb.budget; b.Used() > max(b.limit, tb.least)+200_000 {
		t.Errorf("%d bytes are in memory, %d may be", b.Used(), b.limit)
	}
}

// TestManyOwnersShareATable: each sees its own entries as it left them, while
// others change theirs and the hand goes round.
func TestManyOwnersShareATable(t *testing.T) {
	t.Parallel()
	d := crowdedDisk(t, vfs.NewMem(), 30_000)
	shareTable(t, d, d.table)
	m := crowdedMemory(t, 30_000)
	shareTable(t, m, m.table)
	checkAway(t, m.table)
}

func shareTable(t *testing.T, d Store, tb *table) {
	var wg sync.WaitGroup
	for n := range uint64(6) {
		s := &shelf{t: t, d: d, r: rand.New(rand.NewPCG(n, 3)), prefix: fmt.Sprint(n, "/"), want: map[string]string{}}
		wg.Go(func() {
			for range 500 {
				s.act()
			}
		})
	}
	wg.Wait()
	checkTable(t, tb)
}

// TestAStrangerSpoilsNothing: who reads what another owner changes, as a bundle
// does that was given up, may read anything, but leaves nothing old in memory.
func TestAStrangerSpoilsNothing(t *testing.T) {
	t.Parallel()
	spoil(t, crowdedDisk(t, vfs.NewMem(), 20_000))
	spoil(t, crowdedMemory(t, 20_000))
}

func spoil(t *testing.T, d Store) {
	owner := &shelf{t: t, d: d, r: rand.New(rand.NewPCG(1, 4)), want: map[string]string{}}
	stop, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for r := rand.New(rand.NewPCG(2, 4)); ; {
			select {
			case <-stop:
				return
			default:
				d.Entries().Ascend(fmt.Sprintf("%03d", r.IntN(400)), "9", func(string, []byte) bool { return r.IntN(50) > 0 })
			}
		}
	}()
	for range 1000 {
		owner.act()
	}
	close(stop)
	<-gone
}

// TestTheFrontOfAQueueStaysNear: taking things from the front of a range does not
// walk over what was there before.
func TestTheFrontOfAQueueStaysNear(t *testing.T) {
	t.Parallel()
	d := crowdedDisk(t, vfs.NewMem(), 50_000)
	takeFromFront(t, d, d.table)
	m := crowdedMemory(t, 50_000)
	takeFromFront(t, m, m.table)
}

func takeFromFront(t *testing.T, d Store, tb *table) {
	reads := 0
	disk := tb.disk
	tb.disk = func(from, to string, some int) ([]row, string, error) {
		reads++
		if from == "q" && reads > 10 {
			t.Errorf("read %d of the disk begins at the front of the range", reads)
		}
		return disk(from, to, some)
	}
	const all = 6_000
	for i := range all {
		apply(t, d, func(b *Batch) { b.Put(fmt.Sprintf("q%08d", i), []byte("x")) })
	}
	for i := range all {
		first := ""
		d.Entries().Ascend("q", "r", func(k string, _ []byte) bool { first = k; return false })
		if want := fmt.Sprintf("q%08d", i); first != want {
			t.Fatalf("the first is %q, not %q", first, want)
		}
		apply(t, d, func(b *Batch) { b.Delete(first) })
	}
	if reads > all/loadRows*2 {
		t.Errorf("%d reads of the disk for %d entries in order", reads, all)
	}
}

// TestBlocksBeyondTheBudgetAreOnDiskOnly (I9).
func TestBlocksBeyondTheBudgetAreOnDiskOnly(t *testing.T) {
	t.Parallel()
	d := crowdedDisk(t, vfs.NewMem(), 100_000)
	var ids []uint64
	for i := range byte(100) {
		ids = append(ids, d.AddBlock(slices.Repeat([]byte{i}, 10_000)))
	}
	if got := d.budget.Used(); got > 120_000 {
		t.Errorf("%d bytes of blocks are in memory", got)
	}
	for i, id := range ids {
		if data := d.Block(id); len(data) != 10_000 || data[0] != byte(i) {
			t.Errorf("block %d has %d bytes", i, len(data))
		}
		apply(t, d, func(b *Batch) { b.Free(id) })
		if d.Block(id) != nil {
			t.Errorf("block %d is there after it was freed", i)
		}
	}
	if got := d.budget.Used(); got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}
