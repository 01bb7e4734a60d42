package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fresnel/examples/cdn"
	"fresnel/integration/cdn/rig"
)

// drainTopic measures how a topic that is full becomes the exact table.
func (b *bench) drainTopic(ctx context.Context) error {
	l, p, err := b.produce(ctx, "full", b.lines)
	if err != nil {
		return err
	}
	defer p.Close()
	start := time.Now()
	client, err := b.submit(ctx, "full")
	if err != nil {
		return err
	}
	defer client.Kill()
	progress, err := b.awaitExact(ctx, client, l.Totals(), start)
	if err != nil {
		return err
	}
	progress.print(b.lines)
	if err := b.usage(client); err != nil {
		return err
	}
	asked := time.Now()
	state, err := client.Drain(ctx)
	row("drain", "%s after %.1f s", state, time.Since(asked).Seconds())
	return err
}

// progress is how the table came to be.
type progress struct {
	first, exact time.Duration
	seen         []sample
}

type sample struct {
	at    time.Duration
	lines int64
}

const lookEvery = 20 * time.Millisecond

// awaitExact looks at the table until it says what it must.
func (b *bench) awaitExact(ctx context.Context, client *rig.Client, want cdn.Totals, start time.Time) (*progress, error) {
	p := &progress{}
	for tick := time.NewTicker(lookEvery); ; {
		table, err := b.table.Read(ctx)
		if err != nil {
			return nil, err
		}
		diff := want.Diff(table)
		if p.look(table.Lines(), time.Since(start)); len(diff) == 0 {
			p.exact = time.Since(start)
			return p, nil
		}
		if time.Since(start) > b.limit {
			return nil, fmt.Errorf("the table is wrong after %v:\n%s\n%s", b.limit, strings.Join(diff, "\n"), client.Output())
		}
		select {
		case <-tick.C:
		case <-client.Exited():
			return nil, fmt.Errorf("the pipeline's program ended: %s", client.Output())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *progress) look(lines int64, at time.Duration) {
	if lines > 0 && p.first == 0 {
		p.first = at
	}
	if n := len(p.seen); n == 0 || p.seen[n-1].lines != lines {
		p.seen = append(p.seen, sample{at, lines})
	}
}

func (p *progress) print(lines int) {
	row("lines", "%d", lines)
	row("first row", "%.1f s", p.first.Seconds())
	row("exact table", "%.1f s", p.exact.Seconds())
	row("from submission", "%.0f lines/s", float64(lines)/p.exact.Seconds())
	row("from the first row", "%.0f lines/s", float64(lines)/(p.exact-p.first).Seconds())
	row("states of the table that were seen", "%d", len(p.seen))
}

// usage prints what the processes took.
func (b *bench) usage(client *rig.Client) error {
	cpu, err := b.server.CPU()
	if err != nil {
		return err
	}
	peak, err := b.server.PeakRSS()
	if err != nil {
		return err
	}
	row("fresnel: CPU, peak RSS", "%.1f s, %d MB", (cpu - b.before).Seconds(), peak>>20)
	if cpu, err = client.CPU(); err != nil {
		return err
	}
	if peak, err = client.PeakRSS(); err != nil {
		return err
	}
	row("client and harness: CPU, peak RSS", "%.1f s, %d MB", cpu.Seconds(), peak>>20)
	return nil
}
