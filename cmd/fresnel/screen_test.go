package main

import "testing"

func TestLinesAreFoldedByANarrowerTerminal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lengths []int
		columns int
		want    int
	}{{nil, 80, 0}, {[]int{0, 79, 80}, 80, 3}, {[]int{0, 40, 41, 81}, 40, 7}} {
		if got := folded(c.lengths, c.columns); got != c.want {
			t.Errorf("%v on %d columns: %d, want %d", c.lengths, c.columns, got, c.want)
		}
	}
}
