package state

import (
	"strings"
	"testing"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// TestCellsAreWhatIsReadTogether: all entries of a cell, and all timers of a family,
// key and window, have its name in common, and no other entry has; a name that is cut
// short is none, and no name begins with another.
func TestCellsAreWhatIsReadTogether(t *testing.T) {
	t.Parallel()
	m := store.NewMemory()
	txn := store.NewTxn(m.Entries())
	s := NewShard(txn, 1, 2, 1)
	for _, user := range []string{"", "a", "ab", "b", strings.Repeat("long", 100)} {
		for _, window := range []string{"", "w"} {
			k := Key{Transform: "T", Name: "n", Window: []byte(window), User: []byte(user), Map: []byte("m")}
			s.AppendBag(k, []byte("v"))
			s.AppendBag(k, []byte("v"))
			s.AppendMultimap(k, []byte("v"))
			for _, tag := range []string{"", "x"} {
				s.SetTimer(Timer{TimerID: TimerID{Transform: "T", Family: "f", Tag: tag, Window: k.Window, User: k.User}, Fire: beam.EventTime(len(user)), Hold: 3})
			}
		}
	}
	s.Flush()
	cells := map[string]int{}
	txn.Ascend("", after(s.prefix), func(k string, _ []byte) bool {
		n := CellOf([]byte(k))
		if n == 0 {
			t.Errorf("%q has no cell", k)
		}
		for short := range n {
			if CellOf([]byte(k[:short])) != 0 {
				t.Errorf("%q, the beginning of %q, is a cell", k[:short], k)
			}
		}
		cells[k[:n]]++
		return true
	})
	counts := map[string]int{} // by kind
	for c, n := range cells {
		counts[c[4:5]]++
		if strings.Contains("BT", c[4:5]) && n != 2 {
			t.Errorf("%q has %d entries", c, n)
		}
	}
	if counts["B"] != 10 || counts["M"] != 10 || counts["T"] != 10 || counts["E"] != 1 || counts["H"] != 1 {
		t.Errorf("cells by kind: %v", counts)
	}
}
