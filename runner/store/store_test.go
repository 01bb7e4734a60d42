package store

import (
	"fmt"
	"sync"
	"testing"
)

func entries(r Reader, from, to string) string {
	var s string
	r.Ascend(from, to, func(k string, v []byte) bool {
		s += fmt.Sprintf("%s=%s ", k, v)
		return true
	})
	return s
}

func apply(t *testing.T, s Store, change func(b *Batch)) {
	t.Helper()
	var b Batch
	change(&b)
	if err := s.Apply(&b); err != nil {
		t.Fatal(err)
	}
}

func TestLaterChangesOfABatchWin(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	apply(t, m, func(b *Batch) {
		b.Put("a", []byte("1"))
		b.Put("a", []byte("2"))
		b.Put("b", []byte("1"))
		b.Delete("b")
		b.Delete("c")
		b.Put("c", []byte("3"))
	})
	if got := entries(m.Entries(), "", "z"); got != "a=2 c=3 " {
		t.Errorf("entries %q", got)
	}
}

// TestBlocksAreCountedUntilTheyAreFreed (I8).
func TestBlocksAreCountedUntilTheyAreFreed(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	a, b := m.AddBlock([]byte("four")), m.AddBlock([]byte("sixsix"))
	if a == 0 || b == 0 || a == b {
		t.Errorf("ids %d and %d", a, b)
	}
	if m.BlockBytes() != 10 || string(m.Block(b)) != "sixsix" {
		t.Errorf("%d bytes, block %q", m.BlockBytes(), m.Block(b))
	}
	apply(t, m, func(batch *Batch) { batch.Free(a); batch.Free(a); batch.Free(999) })
	if m.BlockBytes() != 6 || m.Block(a) != nil {
		t.Errorf("%d bytes after one of two was freed, block %q", m.BlockBytes(), m.Block(a))
	}
	m.Close()
	if m.BlockBytes() != 0 || m.Block(b) != nil {
		t.Errorf("%d bytes after Close", m.BlockBytes())
	}
	if c := m.AddBlock([]byte("late")); m.BlockBytes() != 0 || m.Block(c) != nil {
		t.Errorf("%d bytes of a block that came after Close", m.BlockBytes())
	}
}

func TestBlocksOfManyWritersAreAllCounted(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 500 {
				id := m.AddBlock(make([]byte, 7))
				var b Batch
				b.Free(id)
				_ = m.Apply(&b) // never fails in memory
			}
		})
	}
	writers.Wait()
	if m.BlockBytes() != 0 {
		t.Errorf("%d bytes are left", m.BlockBytes())
	}
}
