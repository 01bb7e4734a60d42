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
// Of a noisy machine, trust the ratios: engines take turns, and with -runs they
// are medians of the ratios within each turn.
package main

import (
	"context"
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
	limit     time.Duration
	out       string
}

func main() {
	log.SetFlags(0)
	var c config
	workloads := flag.String("workloads", "", "comma-separated names (default: all, see `workloads.py --list`)")
	engineNames := flag.String("engines", strings.Join(engineOrder, ","), "comma-separated names of what to measure")
	flag.Float64Var(&c.scale, "scale", 1, "factor on the sizes of all workloads")
	flag.IntVar(&c.runs, "runs", 1, "how often each workload runs on each engine")
	flag.DurationVar(&c.limit, "limit", 10*time.Minute, "how long one run may take")
	flag.StringVar(&c.out, "out", "", "file to write the report to, as Markdown: docs/benchmarks.md keeps the last good one")
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
	known, err := b.known(ctx)
	if err != nil {
		return err
	}
	if len(c.workloads) == 0 {
		c.workloads = known
	}
	if err := subset("workload", c.workloads, known); err != nil {
		return err
	}
	if err := subset("engine", c.engines, engineOrder); err != nil {
		return err
	}
	r := &report{
		command: "go run ./integration/bench " + strings.Join(os.Args[1:], " "),
		began:   time.Now(), machine: thisMachine(), engines: c.engines,
	}
	for _, w := range c.workloads {
		r.results = append(r.results, b.measureAll(ctx, w))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	text := r.markdown()
	fmt.Println(text)
	if c.out != "" {
		if err := os.WriteFile(c.out, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if n := r.failures(); n > 0 {
		return fmt.Errorf("%d runs failed", n)
	}
	return nil
}

func subset(kind string, names, known []string) error {
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("no %s %q: there are %s", kind, name, strings.Join(known, " "))
		}
	}
	return nil
}

// measureAll runs the workload on each engine in turn, and says how it goes.
func (b *bench) measureAll(ctx context.Context, workload string) result {
	r := result{workload: workload}
	for range b.runs {
		turn := turn{}
		for _, engine := range b.engines {
			if ctx.Err() != nil {
				return r
			}
			figures, err := b.measure(ctx, engine, workload)
			if err != nil {
				err = fmt.Errorf("%s on %s: %w", workload, engine, err)
				r.failed = append(r.failed, err)
				log.Print(err)
				continue
			}
			turn[engine] = figures
			log.Printf("%-14s %-8s %s", workload, engine, figures.brief())
		}
		r.turns = append(r.turns, turn)
	}
	return r
}

func (f figures) brief() string {
	var parts []string
	for _, m := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, fmt.Sprintf("%s: %s", m, number(f[m])))
	}
	return strings.Join(parts, "; ")
}
