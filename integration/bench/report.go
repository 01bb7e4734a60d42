package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// report is what the tool prints, as Markdown.
type report struct {
	command string
	began   time.Time
	machine machine
	engines []string
	// together tells that engines shared a client.
	together bool
	results  []result
}

// result is of one workload.
type result struct {
	workload string
	turns    []turn
	failed   []error
}

// turn is what each engine took when they ran one after the other. An engine
// that failed is missing.
type turn map[string]figures

// value is the median of a measure of one engine.
func (r result) value(engine, measure string) (float64, bool) {
	return r.median(func(t turn) (float64, bool) {
		v, ok := t[engine][measure]
		return v, ok
	})
}

// ratio is the median over the turns of Fresnel's value to a peer's.
func (r result) ratio(peer string, of func(figures) (float64, bool)) (float64, bool) {
	return r.median(func(t turn) (float64, bool) {
		ours, ok := of(t[fresnel])
		theirs, ok2 := of(t[peer])
		return ours / theirs, ok && ok2 && theirs > 0
	})
}

func (r result) median(of func(turn) (float64, bool)) (float64, bool) {
	var all []float64
	for _, t := range r.turns {
		if v, ok := of(t); ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, true
}

func measured(name string) func(figures) (float64, bool) {
	return func(f figures) (float64, bool) {
		v, ok := f[name]
		return v, ok
	}
}

// allCPU is that of all processes.
func allCPU(f figures) (float64, bool) {
	v, ok := f[clientCPU]
	return v + f[runnerCPU], ok
}

func (r *report) failures() int {
	n := 0
	for _, res := range r.results {
		n += len(res.failed)
	}
	return n
}

func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString(r.heading())
	fmt.Fprintf(&b, "\n## What each took\n\n%s", r.taken())
	fmt.Fprintf(&b, "\n## Fresnel's to its peers'\n\n%s", r.ratios())
	if own := r.ownMeasures(); len(own) > 1 {
		fmt.Fprintf(&b, "\n## Measures of single workloads\n\n%s", own)
	}
	if r.failures() > 0 {
		b.WriteString("\n## Failed\n\n")
		for _, res := range r.results {
			for _, err := range res.failed {
				what, _, _ := strings.Cut(err.Error(), "\n") // the rest, already logged, is of this machine
				fmt.Fprintf(&b, "- %s\n", what)
			}
		}
	}
	return b.String()
}

func (r *report) heading() string {
	title := "# Benchmarks"
	if r.machine.busy() {
		title += ", taken on a machine busy with other work"
	}
	return title + fmt.Sprintf("\n\n`%s` on %s; %s.\n\n"+
		"Python pipelines of `integration/bench/workloads.py`, LOOPBACK, %s. Prism is the runner of Beam's Go\n"+
		"SDK. FnApiRunner (fnapi) is that of Beam's Python SDK: it runs inside the client, so its CPU and its peak are those of\n"+
		"runner, client and harness together. Wall is from building the pipeline to its end, without Python's start. Workers-*\n"+
		"and latency-*-5000 have worker processes (PROCESS), whose CPU, with that of their start, is the harness's. Latency is from the moment\n"+
		"that user code makes an element to that at which the sink, behind a Reshuffle, has it. Limit is the harness with no\n"+
		"runner in front of it: the plan's stages one after another, in large bundles, and an empty job\n"+
		"(`integration/bench/limit`). Stolen is what the hypervisor ran others for: where it is some per cent, walls and latencies\n"+
		"tell little. Each figure is the median of %s.\n",
		strings.TrimSpace(r.command), r.began.Format(time.DateOnly), r.machine, r.clients(), r.runs())
}

func (r *report) clients() string {
	if r.together {
		return "one client for all, a server for each"
	}
	return "a new server and client for each"
}

// runs is how often workloads ran.
func (r *report) runs() string {
	least, most := math.MaxInt, 0
	for _, res := range r.results {
		least, most = min(least, len(res.turns)), max(most, len(res.turns))
	}
	switch {
	case most <= 1:
		return "1 run"
	case least == most:
		return fmt.Sprintf("%d runs", most)
	}
	return fmt.Sprintf("%d to %d runs", least, most)
}

func (r *report) taken() table {
	t := table{append([]string{"workload", "engine"}, common...)}
	for _, res := range r.results {
		for _, engine := range r.engines {
			if _, ran := res.value(engine, wall); !ran {
				continue
			}
			row := []string{res.workload, engine}
			for _, m := range common {
				row = append(row, cell(res.value(engine, m)))
			}
			t = append(t, row)
		}
	}
	return t
}

func (r *report) ratios() table {
	columns := []struct {
		name string
		of   func(figures) (float64, bool)
	}{{"wall", measured(wall)}, {"all CPU", allCPU}, {"runner's CPU", measured(runnerCPU)}, {"runner's peak", measured(peak)}}
	header := []string{"workload"}
	for _, peer := range r.peers() {
		for _, c := range columns {
			if peer != fnapi || c.name != "runner's CPU" {
				header = append(header, c.name+" / "+peer)
			}
		}
	}
	t := table{append(header, "runner's CPU / harness's", "wall / limit", "harness's CPU / limit's")}
	for _, res := range r.results {
		if _, ran := res.value(fresnel, wall); !ran {
			continue
		}
		row := []string{res.workload}
		for _, peer := range r.peers() {
			for _, c := range columns {
				if peer != fnapi || c.name != "runner's CPU" {
					row = append(row, cell(res.ratio(peer, c.of)))
				}
			}
		}
		t = append(t, append(row, cell(res.median(ownShare)), cell(res.ratio(limit, measured(wall))), cell(res.ratio(limit, measured(clientCPU)))))
	}
	return t
}

// ownShare is Fresnel's CPU to that of the harness that it drives.
func ownShare(t turn) (float64, bool) {
	f, ok := t[fresnel]
	return f[runnerCPU] / f[clientCPU], ok && f[clientCPU] > 0
}

func (r *report) ownMeasures() table {
	engines := slices.DeleteFunc(slices.Clone(r.engines), func(e string) bool { return e == limit })
	header := append([]string{"workload", "measure"}, engines...)
	for _, peer := range r.peers() {
		header = append(header, "fresnel / "+peer)
	}
	t := table{header}
	for _, res := range r.results {
		for _, m := range res.own() {
			row := []string{res.workload, m}
			for _, engine := range engines {
				row = append(row, cell(res.value(engine, m)))
			}
			for _, peer := range r.peers() {
				row = append(row, cell(res.ratio(peer, measured(m))))
			}
			t = append(t, row)
		}
	}
	return t
}

// own are the measures that only this workload has.
func (r result) own() []string {
	var names []string
	for _, t := range r.turns {
		for _, f := range t {
			for m := range f {
				if !slices.Contains(common, m) && !slices.Contains(names, m) {
					names = append(names, m)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// peers are the engines that are runners, Fresnel aside.
func (r *report) peers() []string {
	return slices.DeleteFunc(slices.Clone(r.engines), func(e string) bool { return e == fresnel || e == limit })
}

// table is rows of cells, the header first.
type table [][]string

func (t table) String() string {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for n, row := range t {
		for i, c := range row {
			fmt.Fprintf(&b, "| %-*s ", widths[i], c)
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range widths {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

func cell(v float64, ok bool) string {
	if !ok {
		return ""
	}
	return number(v)
}

// number has three digits or more, as much as such measurements are good for.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', min(decimals, 3), 64)
}

// machine is what the figures depend on.
type machine struct {
	cores  int
	memory int64   // bytes
	load   float64 // runnable processes over the last minute, before anything ran
}

func thisMachine() machine {
	m := machine{cores: runtime.NumCPU()}
	meminfo, _ := os.ReadFile("/proc/meminfo") // elsewhere the report does without
	if fields := strings.Fields(string(meminfo)); len(fields) > 1 {
		kb, _ := strconv.ParseInt(fields[1], 10, 64)
		m.memory = kb << 10
	}
	loadavg, _ := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(loadavg)); len(fields) > 0 {
		m.load, _ = strconv.ParseFloat(fields[0], 64)
	}
	return m
}

// busy tells that others had a good part of the machine.
func (m machine) busy() bool { return m.load > float64(m.cores)/2 }

func (m machine) String() string {
	return fmt.Sprintf("%d cores, %d GiB of memory, load average %.1f before it began", m.cores, (m.memory+1<<29)>>30, m.load)
}
