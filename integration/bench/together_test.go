package main

import (
	"testing"
	"time"

	"fresnel/integration/cdn/rig"
)

// TestTogetherAllTakeTurnsWithOneClient runs a small job on Fresnel and in the client,
// and on an engine that gives no figures.
func TestTogetherAllTakeTurnsWithOneClient(t *testing.T) {
	b, err := newBench(config{engines: []string{fnapi}, scale: 0.01, runs: 2, budget: time.Minute, limit: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if b.bins[fresnel], err = rig.Build(t.Context(), b.temp); err != nil {
		t.Fatal(err)
	}
	b.bins[limit] = b.bins[fresnel] // which does not tell its own work
	b.engines = []string{limit, fresnel, fnapi}
	results := b.together(t.Context(), []workload{{Name: "gbk-few", Engines: b.engines}})
	if len(results) != 1 || len(results[0].turns) != 2 || len(results[0].failed) != 1 {
		t.Fatalf("of two turns and an engine that fails: %+v", results)
	}
	for _, turn := range results[0].turns {
		if len(turn) != 2 || turn[fresnel][wall] <= 0 || turn[fresnel][peak] <= 0 || turn[fnapi][wall] <= 0 {
			t.Errorf("a turn is %v", turn)
		}
		if peak, ok := turn[fnapi][peak]; ok {
			t.Errorf("FnApiRunner's peak is that of the client which all share: %v MB", peak)
		}
	}
}
