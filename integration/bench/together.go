package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"slices"
	"time"
)

// warmUp is the part of its size with which a workload runs on each engine before
// the turns that count.
const warmUp = 0.1

// together gives each workload all its turns, with one client for all engines: its
// interpreter, where the memory is and the machine's minute are then the same for
// them. Every other turn has them in the opposite order. What has no client of this
// kind runs by itself.
func (b *bench) together(ctx context.Context, workloads []workload) []result {
	results := make([]result, len(workloads))
	start := time.Now()
	for i, w := range workloads {
		if ctx.Err() != nil {
			break
		}
		results[i].workload = w.Name
		late := time.Since(start) > b.budget
		if w.Name == mainJob {
			b.takeTurn(ctx, w, &results[i])
			continue
		}
		turns := b.runs
		if late {
			turns = 1
		}
		if err := b.takeTurns(ctx, w, turns, &results[i]); err != nil {
			results[i].fail(fmt.Errorf("%s: %w", w.Name, err))
		}
	}
	return results
}

// takeTurns runs the workload on each engine, as often as there are turns. Its error
// is that of a start: a run that fails is a missing figure, and its engine has no
// further turn.
func (b *bench) takeTurns(ctx context.Context, w workload, turns int, r *result) error {
	touchMemory()
	var parties []*party
	for _, engine := range sideBySide(b.engines) {
		if !w.runsOn(engine) {
			continue
		}
		p, err := b.enter(engine, w)
		if err != nil {
			return fmt.Errorf("%s: %w", engine, err)
		}
		defer p.leave()
		parties = append(parties, p)
	}
	c, err := b.startClient(ctx, w)
	if err != nil {
		return err
	}
	defer c.stop()
	if !w.Fixed {
		parties = b.eachRuns(ctx, c, w, parties, b.scale*warmUp, turn{}, r)
	}
	for range turns {
		t := turn{}
		parties = b.eachRuns(ctx, c, w, parties, b.scale, t, r)
		if ctx.Err() != nil {
			return nil // what was measured before is the report
		}
		if len(t) > 0 {
			r.turns = append(r.turns, t)
		}
		slices.Reverse(parties)
	}
	return nil
}

// sideBySide has the limit next to Fresnel: their ratio is the finest of all.
func sideBySide(engines []string) []string {
	sorted := slices.Clone(engines)
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return sorted
}

func rank(engine string) int {
	switch engine {
	case fresnel:
		return 0
	case limit:
		return 1
	}
	return 2
}

// eachRuns runs the workload once on each engine, and returns those that could.
func (b *bench) eachRuns(ctx context.Context, c *client, w workload, parties []*party, scale float64, t turn, r *result) []*party {
	var left []*party
	for _, p := range parties {
		figures, err := b.run(p, c, scale)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.fail(fmt.Errorf("%s on %s: %w", w.Name, p.engine, err))
			continue
		}
		if p.server == nil {
			delete(figures, peak) // it is the client's, which had all jobs
		}
		t[p.engine] = figures
		left = append(left, p)
		if scale == b.scale {
			log.Printf("%-14s %-8s %s", w.Name, p.engine, figures.brief())
		}
	}
	return left
}
