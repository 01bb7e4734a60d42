package runner

import (
	"testing"

	"fresnel/fnapi"
	"fresnel/runner/state"
)

// TestWhatHalfOfTheKeysAskForIsReadAhead of the next bundle, and what fewer ask for
// no longer is.
func TestWhatHalfOfTheKeysAskForIsReadAhead(t *testing.T) {
	t.Parallel()
	a := &ahead{bags: []*aheadBag{{Name: state.Name{Transform: "t", Name: "read"}}, {Name: state.Name{Transform: "t", Name: "written"}}}}
	for _, c := range []struct {
		keys, asked int
		read        bool
	}{
		{4, 1, false}, {4, 2, true}, {0, 0, true}, {4, 1, false}, {3, 3, true},
	} {
		r := &reads{keys: c.keys}
		for range c.asked {
			r.asked(fnapi.StateKey{Transform: "t", Name: "read"})
		}
		a.learn(r)
		if got := a.bags[0].worth.Load(); got != c.read {
			t.Errorf("%d of %d keys asked for it: it is read ahead: %v, want %v", c.asked, c.keys, got, c.read)
		}
		if a.bags[1].worth.Load() {
			t.Error("what no key asked for is read ahead")
		}
	}
	var none *ahead
	none.learn(&reads{keys: 1}) // of a bundle whose state is in memory
}
