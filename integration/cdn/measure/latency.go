package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fresnel/examples/cdn"
)

const (
	produceEvery = 10 * time.Millisecond
	watchEvery   = 5 * time.Millisecond
)

// keepUp measures how long lines take to the table when they arrive at a steady
// rate.
func (b *bench) keepUp(ctx context.Context) error {
	_, p, err := b.produce(ctx, "steady", 0)
	if err != nil {
		return err
	}
	defer p.Close()
	client, err := b.submit(ctx, "steady")
	if err != nil {
		return err
	}
	defer client.Kill()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrivals, produced := cdn.NewArrivals(), make(chan error, 1)
	go func() { produced <- p.Run(ctx, b.rate, produceEvery, arrivals) }()
	latencies, err := b.watch(ctx, arrivals)
	cancel()
	if err := errors.Join(err, <-produced); err != nil {
		return fmt.Errorf("%w\n%s", err, client.Output())
	}
	if len(latencies) == 0 {
		return fmt.Errorf("nothing arrived\n%s", client.Output())
	}
	slices.Sort(latencies)
	at := func(q float64) int64 { return latencies[int(q*float64(len(latencies)-1))].Milliseconds() }
	row(fmt.Sprintf("latency at %d lines/s", b.rate), "p50 %d ms, p99 %d ms, most %d ms (%d samples)", at(0.5), at(0.99), at(1), len(latencies))
	return b.usage(client)
}

// watch returns the latencies of the steady time, which begins some time after
// the first row.
func (b *bench) watch(ctx context.Context, arrivals *cdn.Arrivals) ([]time.Duration, error) {
	var all []time.Duration
	var first time.Time
	for tick := time.NewTicker(watchEvery); first.IsZero() || time.Since(first) < b.warmUp+b.steady; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		table, err := b.table.Read(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		took := arrivals.Seen(table, now)
		if first.IsZero() && len(took) > 0 {
			first = now
		}
		if !first.IsZero() && now.Sub(first) > b.warmUp {
			all = append(all, took...)
		}
	}
	return all, nil
}
