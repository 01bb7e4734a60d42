package store

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// count is the number of tables: the tree makes some in the background.
func (s *scratchFS) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tables)
}

// TestATemporaryStoreLeavesNoNames: whatever ends the process, nothing is left of
// its files.
func TestATemporaryStoreLeavesNoNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	temp := NewTemp(TempOptions{Dir: dir})
	defer temp.Close()
	value := make([]byte, 1000)
	for i := range 40_000 { // more than a memtable, so that there are tables
		if err := temp.Write(func(b *TempBatch) { b.Put(fmt.Sprint(i), fmt.Append(value[:900], i)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := temp.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := temp.fs.count(); n == 0 {
		t.Error("nothing is in files")
	}
	for i := range 40_000 {
		v, ok, err := temp.Get(fmt.Sprint(i))
		if want := fmt.Sprint(i); err != nil || !ok || string(v[900:]) != want {
			t.Fatalf("%d is %q, %t, %v", i, v, ok, err)
		}
	}
	if names := filesIn(t, dir); len(names) > 0 {
		t.Errorf("there are %v", names)
	}
	temp.Close()
	if n := temp.fs.count(); n > 0 {
		t.Errorf("%d files are open after the end", n)
	}
	if err := temp.Write(func(b *TempBatch) { b.Put("late", nil) }); !errors.Is(err, errClosed) {
		t.Errorf("writing after the end: %v", err)
	}
	if err := temp.Err(); err != nil {
		t.Errorf("the end is a fault: %v", err)
	}
}

func TestATemporaryStoreThatNobodyNeedsHasNoFiles(t *testing.T) {
	t.Parallel()
	temp := NewTemp(TempOptions{Dir: t.TempDir() + "/missing"})
	if _, ok, err := temp.Get("a"); ok || err != nil {
		t.Errorf("an empty one has something: %t, %v", ok, err)
	}
	temp.Close()
}

// TestWhereNothingCanBeWrittenEntriesStayInMemory (I9): nothing is dropped.
func TestWhereNothingCanBeWrittenEntriesStayInMemory(t *testing.T) {
	t.Parallel()
	b := NewBudget(-1)
	temp := NewTemp(TempOptions{Dir: t.TempDir() + "/missing"})
	m := NewSpilling(b, NewSpill(t.TempDir()), temp)
	defer m.Close()
	value := make([]byte, 10_000)
	for i := range 1_000 {
		apply(t, m, func(b *Batch) { b.Put(fmt.Sprintf("%06d", i), value) })
	}
	n := 0
	m.Entries().Ascend("", lastKey, func(string, []byte) bool { n++; return true })
	if n != 1_000 {
		t.Errorf("%d entries of 1000 are left", n)
	}
}
