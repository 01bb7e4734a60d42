package fnapi

import (
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		`fresnel boot`:          {"fresnel", "boot"},
		` a  b	c `:              {"a", "b", "c"},
		`'a b' "c 'd'" e"f"g`:   {"a b", "c 'd'", "efg"},
		`x ''`:                  {"x", ""},
		`'open`:                 {"open"},
		`$(rm -rf /); x && y |`: {"$(rm", "-rf", "/);", "x", "&&", "y", "|"},
	} {
		if got := words(command); !slices.Equal(got, want) {
			t.Errorf("words(%q) = %q, want %q", command, got, want)
		}
	}
}
