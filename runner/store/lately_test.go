package store

import "testing"

// TestATableThatIsNotAskedForTakesNoMemory: a small job has a table of state like
// any other; its marks were 4 MB, and a collection of garbage for each two jobs.
func TestATableThatIsNotAskedForTakesNoMemory(t *testing.T) {
	b := NewBudget(1 << 30)
	got := testing.Benchmark(func(tb *testing.B) {
		tb.ReportAllocs()
		for range tb.N {
			newTable(nil, nil, b, true)
		}
	})
	if bytes := got.AllocedBytesPerOp(); bytes > 16<<10 {
		t.Errorf("an empty table takes %d bytes", bytes)
	}
}
