package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"fresnel/examples/cdn"
)

const (
	produceEvery = 20 * time.Millisecond
	pollEvery    = 50 * time.Millisecond
	drawEvery    = 500 * time.Millisecond
	printEvery   = 5 * time.Second // where there is no terminal to draw on
)

// show produces lines and shows the table until ctx ends.
func (d *demonstration) show(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrivals, produced := cdn.NewArrivals(), make(chan error, 1)
	go func() { produced <- d.producer.Run(ctx, d.rate, produceEvery, arrivals) }()
	v := newView(os.Stdout)
	for next := time.NewTicker(pollEvery); ; {
		select {
		case <-next.C:
		case err := <-produced:
			return err
		case err := <-d.ended:
			return d.died(err)
		case <-ctx.Done():
			return nil
		}
		table, err := d.table.Read(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		v.take(table, arrivals.Seen(table, now), now)
		v.draw()
	}
}

// view is what the terminal shows.
type view struct {
	out      io.Writer
	terminal bool
	drawn    time.Time
	now      time.Time

	table cdn.Totals
	// seen and latencies are of the last seconds.
	seen      []sample
	latencies []time.Duration
}

// sample is how many lines the table had counted at a time.
type sample struct {
	at    time.Time
	lines int64
}

const (
	viewWindow  = 10 * time.Second
	viewSamples = 5000
)

func newView(f *os.File) *view {
	info, err := f.Stat()
	return &view{out: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// take looks at a new state of the table, with the latencies of what is new.
func (v *view) take(table cdn.Totals, latencies []time.Duration, now time.Time) {
	v.table, v.now = table, now
	v.latencies = append(v.latencies, latencies...)
	v.latencies = v.latencies[max(0, len(v.latencies)-viewSamples):]
	v.seen = append(v.seen, sample{now, table.Lines()})
	for now.Sub(v.seen[0].at) > viewWindow {
		v.seen = v.seen[1:]
	}
}

// rate is the number of lines a second that reached the table lately.
func (v *view) rate() float64 {
	first, last := v.seen[0], v.seen[len(v.seen)-1]
	if d := last.at.Sub(first.at).Seconds(); d > 0 {
		return float64(last.lines-first.lines) / d
	}
	return 0
}

// latency is the quantile q of the time from Kafka to the table.
func (v *view) latency(q float64) string {
	if len(v.latencies) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(v.latencies))
	return fmt.Sprintf("%d ms", sorted[int(q*float64(len(sorted)-1))].Milliseconds())
}

func (v *view) draw() {
	every := drawEvery
	if !v.terminal {
		every = printEvery
	}
	if v.now.Sub(v.drawn) < every {
		return
	}
	v.drawn = v.now
	if !v.terminal {
		fmt.Fprintln(v.out, v.status())
		return
	}
	fmt.Fprint(v.out, "\x1b[H\x1b[2J", v.screen())
}

func (v *view) status() string {
	lines := v.table.Lines()
	if lines == 0 {
		return "the pipeline starts"
	}
	return fmt.Sprintf("%d lines in the table, %.0f lines/s, from Kafka to MySQL p50 %s, p99 %s", lines, v.rate(), v.latency(0.5), v.latency(0.99))
}

// screen is the table in two columns, with the status above.
func (v *view) screen() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Fresnel: access_log (Kafka) → pipeline.py (Beam) → cdn_access_statistic (MySQL)\n%s\n\n", v.status())
	const head = "%-14s %12s %16s %14s"
	title := fmt.Sprintf(head, "province", "access_count", "total_download", "download_speed")
	fmt.Fprintf(&b, "%s   %s\n", title, title)
	provinces := slices.Sorted(maps.Keys(v.table))
	half := (len(provinces) + 1) / 2
	for i := range half {
		fmt.Fprint(&b, v.row(provinces[i]))
		if i+half < len(provinces) {
			fmt.Fprint(&b, "   ", v.row(provinces[i+half]))
		}
		b.WriteByte('\n')
	}
	fmt.Fprint(&b, "\nCtrl-C ends it.\n")
	return b.String()
}

func (v *view) row(province string) string {
	s := v.table[province]
	return fmt.Sprintf("%-14s %12d %16d %14.2f", province, s.AccessCount, s.TotalDownload.Int64, s.DownloadSpeed.Float64)
}
