package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestBlocksThatMemoryHasNoRoomForAreOnDisk(t *testing.T) {
	t.Parallel()
	budget, spill := NewBudget(1<<20), NewSpill(t.TempDir())
	defer spill.Close()
	m := NewSpilling(budget, spill, nil)
	want := map[uint64][]byte{}
	for i := range 200 {
		data := bytes.Repeat([]byte{byte(i)}, 64<<10+i)
		want[m.AddBlock(data)] = data
	}
	if most := int64(1<<20 + 66<<10); budget.Used() > most {
		t.Errorf("%d bytes are in memory, the budget is 1 MiB", budget.Used())
	}
	sum := int64(0)
	for id, data := range want {
		sum += int64(len(data))
		if !bytes.Equal(m.Block(id), data) {
			t.Errorf("block %d is not what it was", id)
		}
	}
	if m.BlockBytes() != sum {
		t.Errorf("the blocks have %d bytes, not %d", m.BlockBytes(), sum)
	}
	var b Batch
	for id := range want {
		b.Free(id)
	}
	if err := m.Apply(&b); err != nil {
		t.Fatal(err)
	}
	if budget.Used() != 0 || m.BlockBytes() != 0 {
		t.Errorf("%d bytes in memory and %d in all are left of blocks that were freed", budget.Used(), m.BlockBytes())
	}
}

func TestAStoreThatClosesGivesItsBudgetBack(t *testing.T) {
	t.Parallel()
	budget, spill := NewBudget(8<<10), NewSpill(t.TempDir())
	m := NewSpilling(budget, spill, nil)
	for range 4 {
		m.AddBlock(make([]byte, 5<<10))
	}
	m.Close()
	m.AddBlock(make([]byte, 5<<10))
	spill.Close()
	m.AddBlock(make([]byte, 5<<10))
	if budget.Used() != 0 {
		t.Errorf("%d bytes are held", budget.Used())
	}
}

func TestABlockThatCannotBeReadFailsTheCommit(t *testing.T) {
	t.Parallel()
	spill := NewSpill(t.TempDir())
	m := NewSpilling(NewBudget(-1), spill, nil)
	id := m.AddBlock(make([]byte, 5<<10))
	spill.Close()
	if data := m.Block(id); data != nil {
		t.Errorf("%d bytes were read", len(data))
	}
	if err := m.Apply(&Batch{}); err == nil {
		t.Error("a commit went well after its input could not be read")
	}
}

func TestWithoutADiskBlocksStayInMemory(t *testing.T) {
	t.Parallel()
	spill := NewSpill(filepath.Join(t.TempDir(), "missing"))
	m := NewSpilling(NewBudget(-1), spill, nil)
	id := m.AddBlock(make([]byte, 5<<10))
	if len(m.Block(id)) != 5<<10 || spill.Err() == nil {
		t.Errorf("the block has %d bytes; the spill's error is %v", len(m.Block(id)), spill.Err())
	}
}

func TestSpilledFilesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := NewSpill(dir)
	data := make([]byte, 8<<20)
	var extents []Extent
	for range 20 { // more than two files
		e, err := s.Write(data)
		if err != nil {
			t.Fatal(err)
		}
		extents = append(extents, e)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("there are %v, %v", names, err)
	}
	for _, e := range extents {
		s.Free(e)
	}
	if len(s.all) != 1 {
		t.Errorf("%d files are open, of which only the last may be written", len(s.all))
	}
	s.Close()
	if len(s.all) != 0 {
		t.Errorf("%d files are open", len(s.all))
	}
}

func TestASpillIsForMany(t *testing.T) {
	t.Parallel()
	s := NewSpill(t.TempDir())
	defer s.Close()
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 50 {
				data := fmt.Appendf(nil, "%d of %d%*s", i, w, rng.IntN(1<<20), "")
				e, err := s.Write(data)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Read(e, make([]byte, rng.IntN(1<<20))); err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d bytes of %d, %v", len(got), len(data), err)
				}
				s.Free(e)
			}
		})
	}
	all.Wait()
}
