package main

import "testing"

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "512MB": 512e6, "512 MiB": 512 << 20, "1.5g": 3 << 29, "1000": 1000, "2KB": 2000, "7b": 7,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MB", "-1", "1e300GB", "NaN", "lots", "Inf"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// TestTheProgramItselfIsInTheLimit (I9).
func TestTheProgramItselfIsInTheLimit(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]int64{10 << 20: 5 << 20, 200 << 20: 48 << 20, 480 << 20: 80 << 20, 640 << 20: 96 << 20, 8 << 30: 1 << 30} {
		if got := slackOf(limit); got != want {
			t.Errorf("%d bytes of %d are left, want %d", got, limit, want)
		}
	}
}
