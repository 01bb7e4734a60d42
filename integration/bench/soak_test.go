package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"fresnel/integration/cdn/rig"
)

// What the soak is when nobody says: long enough for what leaks to show.
const shortSoak = 10 * time.Second

// longSoak is the time from which on latency is compared too: in a short run it
// is what else the machine does.
const longSoak = 5 * time.Minute

// TestSoak keeps a stateful streaming job at full load, for FRESNEL_SOAK (10m):
// the runner's memory stays flat, and in a long run latency does.
func TestSoak(t *testing.T) {
	length := shortSoak
	if v := os.Getenv("FRESNEL_SOAK"); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	b, err := newBench(config{scale: length.Seconds() / 600, limit: 5*time.Minute + 2*length})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if b.bins[fresnel], err = rig.Build(t.Context(), b.temp); err != nil {
		t.Fatal(err)
	}
	f, err := b.measure(t.Context(), fresnel, workload{Name: "soak"})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(f.brief())
	wrong := []error{flat(f, "RSS of the runner, MB", 1.1, 10)}
	if length >= longSoak {
		wrong = append(wrong, flat(f, "p50, ms", 1.5, 0), flat(f, "p99, ms", 2, 0))
	}
	if err := errors.Join(wrong...); err != nil {
		t.Error(err)
	}
}

// flat compares the last periods of a soak with those before: the median of
// three may be factor times as much, and some more.
func flat(f figures, measure string, factor, more float64) error {
	var all []float64
	for n := 1; ; n++ {
		v, ok := f[fmt.Sprintf("period %02d, %s", n, measure)]
		if !ok {
			break
		}
		all = append(all, v)
	}
	n := len(all)
	if n < 9 {
		return fmt.Errorf("%s was measured in %d periods", measure, n)
	}
	median := func(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }
	if before, last := median(all[n-6:n-3]), median(all[n-3:]); last > factor*before+more {
		return fmt.Errorf("%s grows: %.4g, then %.4g", measure, before, last)
	}
	return nil
}

func TestWhatGrowsIsNotFlat(t *testing.T) {
	t.Parallel()
	steady, growing, short := figures{}, figures{}, figures{"period 01, MB": 40}
	for n := 1; n <= 10; n++ {
		period := fmt.Sprintf("period %02d, MB", n)
		steady[period], growing[period] = 40, 40+5*float64(n)
	}
	steady["period 08, MB"] = 400 // one outlier tells nothing
	if err := flat(steady, "MB", 1.1, 0); err != nil {
		t.Error(err)
	}
	if flat(growing, "MB", 1.1, 0) == nil || flat(short, "MB", 1.1, 0) == nil {
		t.Error("what grows, or ended early, counts as flat")
	}
}
