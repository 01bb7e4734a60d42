// Command bench runs the workloads of workloads.py on Fresnel and on its peers,
// in turn, and prints what each took and how that compares:
//
//	go run ./integration/bench -workloads map,gbk -scale 0.1
//
// The peers are Prism, the runner of Beam's Go SDK, and FnApiRunner, the
// in-process runner of Beam's Python SDK. Each measurement has a server and a
// client of its own:
//
//	bench ──start──▶ server (Fresnel or Prism) ◀──job──▶ workloads.py ──RESULT──▶ bench
//	  └── CPU, peak memory from /proc                    client and harness (LOOPBACK)
//
// The limit (bench/limit) stands in for a server too: it shows what the harness can
// do with no runner in front of it.
//
// With -engines fresnel,disk Fresnel runs twice, the second time with the state of
// the job on disk: what durability costs.
//
// The workload main-job is the CDN example on a real Kafka and a real MariaDB
// (integration/cdn/measure); it is left out where there is no Kafka. Workloads that
// take many minutes run with -long, or when they are named.
//
// With -together all engines of a workload share one client, and so its interpreter,
// its memory and the machine's minute: they take turns with it, as many as -runs
// says, after a short first one.
//
// Of a noisy machine, trust the ratios: engines take turns, and with -runs they
// are medians of the ratios within each turn. All workloads have their first turn
// before any has its second, and no further turn begins when -budget is used up.
// An interrupt ends it with the report of what has run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

type config struct {
	workloads []string
	engines   []string
	scale     float64
	runs      int
	paired    bool
	long      bool
	budget    time.Duration
	limit     time.Duration
	out       string
	page      string
}

func main() {
	log.SetFlags(0)
	var c config
	workloads := flag.String("workloads", "", "comma-separated names (default: all, see `workloads.py --list`)")
	engineNames := flag.String("engines", strings.Join(usualEngines, ","), "comma-separated names of what to measure, also disk: Fresnel with --durability=disk")
	flag.Float64Var(&c.scale, "scale", 1, "factor on the sizes of all workloads")
	flag.IntVar(&c.runs, "runs", 1, "how often each workload runs on each engine")
	flag.BoolVar(&c.paired, "together", false, "one client for all engines of a workload, which take turns with it: what compares best on a noisy machine")
	flag.BoolVar(&c.long, "long", false, "run the workloads that take many minutes too")
	flag.DurationVar(&c.budget, "budget", 20*time.Minute, "no turn but the first begins later than this")
	flag.DurationVar(&c.limit, "limit", 20*time.Minute, "how long one run may take")
	flag.StringVar(&c.out, "out", "", "file to write the report to, as Markdown: docs/benchmarks.md keeps the last good one")
	flag.StringVar(&c.page, "page", "", "file to write the report to, as HTML with plots")
	flag.Parse()
	c.workloads, c.engines = split(*workloads), split(*engineNames)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		log.Fatal(err)
	}
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func run(ctx context.Context, c config) error {
	b, err := newBench(c)
	if err != nil {
		return err
	}
	defer b.close()
	chosen, err := b.choose(ctx)
	if err != nil {
		return err
	}
	r := &report{
		command: "go run ./integration/bench " + strings.Join(os.Args[1:], " "),
		began:   time.Now(), machine: thisMachine(), engines: c.engines, together: c.paired,
	}
	measure := b.measureAll
	if c.paired {
		measure = b.together
	}
	r.results = ran(measure(ctx, chosen))
	text := r.markdown()
	fmt.Println(text)
	if err := errors.Join(write(c.out, text), write(c.page, r.html())); err != nil {
		return err
	}
	if n := r.failures(); n > 0 {
		return fmt.Errorf("%d runs failed", n)
	}
	return nil
}

func write(file, text string) error {
	if file == "" {
		return nil
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// choose are the workloads to run: those that were named, or all.
func (b *bench) choose(ctx context.Context) ([]workload, error) {
	known, err := b.known(ctx)
	if err != nil {
		return nil, err
	}
	known = append(known, workload{Name: mainJob, Engines: []string{fresnel}})
	var names []string
	for _, w := range known {
		names = append(names, w.Name)
	}
	if err := errors.Join(subset("workload", b.workloads, names), subset("engine", b.engines, engineOrder)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(known, func(w workload) bool {
		if len(b.workloads) > 0 {
			return !slices.Contains(b.workloads, w.Name)
		}
		return w.Long && !b.long || w.Name == mainJob && !b.hasKafka()
	}), nil
}

func subset(kind string, names, known []string) error {
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("no %s %q: there are %s", kind, name, strings.Join(known, " "))
		}
	}
	return nil
}

// measureAll gives each workload its turns.
func (b *bench) measureAll(ctx context.Context, workloads []workload) []result {
	results := make([]result, len(workloads))
	start := time.Now()
	for n := range b.runs {
		for i, w := range workloads {
			if n > 0 && time.Since(start) > b.budget || ctx.Err() != nil {
				return results
			}
			results[i].workload = w.Name
			b.takeTurn(ctx, w, &results[i])
		}
	}
	return results
}

// runsOn tells whether an engine can run it: what Fresnel can, it can with its state
// on disk.
func (w workload) runsOn(engine string) bool {
	return slices.Contains(w.Engines, engine) || engine == durable && slices.Contains(w.Engines, fresnel)
}

// ran are the results of what had a turn before an interrupt.
func ran(results []result) []result {
	return slices.DeleteFunc(results, func(r result) bool { return len(r.turns)+len(r.failed) == 0 })
}

// takeTurn runs the workload on each engine, and says how it goes.
func (b *bench) takeTurn(ctx context.Context, w workload, r *result) {
	turn := turn{}
	for _, engine := range b.engines {
		if !w.runsOn(engine) || ctx.Err() != nil {
			continue
		}
		figures, err := b.measure(ctx, engine, w)
		if ctx.Err() != nil {
			break // what was measured before is the report
		}
		if err != nil {
			r.fail(fmt.Errorf("%s on %s: %w", w.Name, engine, err))
			continue
		}
		turn[engine] = figures
		log.Printf("%-14s %-8s %s", w.Name, engine, figures.brief())
	}
	if len(turn) > 0 {
		r.turns = append(r.turns, turn)
	}
}

func (r *result) fail(err error) {
	r.failed = append(r.failed, err)
	log.Print(err)
}

func (f figures) brief() string {
	var parts []string
	for _, m := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, fmt.Sprintf("%s: %s", m, number(f[m])))
	}
	return strings.Join(parts, "; ")
}
