package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestTheOutcomeIsFoundInTheOutput(t *testing.T) {
	t.Parallel()
	o, err := answer(bufio.NewReader(strings.NewReader("hello\nRESULT {\"wall\": 1.5, \"cpu\": 2, \"peak_mb\": 180.25, \"measures\": {\"span, s\": 4}}\nbye\n")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := o.figures().brief(), "CPU of client and harness, s: 2.00; peak RSS of the runner, MB: 180; span, s: 4.00; wall, s: 1.50"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := answer(bufio.NewReader(strings.NewReader("hello\nFAILED \"Traceback\\nRuntimeError: 3 arrived of 4\"\n"))); err == nil || !strings.HasSuffix(err.Error(), "RuntimeError: 3 arrived of 4") {
		t.Errorf("a run that failed: %v", err)
	}
	if _, err := answer(bufio.NewReader(strings.NewReader("RESU"))); !errors.Is(err, io.EOF) {
		t.Errorf("an output without a result: %v", err)
	}
}

func TestTheLimitLeavesOutItsOwnWork(t *testing.T) {
	t.Parallel()
	o := outcome{Wall: 5, CPU: 2, PeakMB: 180}
	f, err := o.withoutOwnWork("fresnel: job endpoint x\nlimit: own work of a job: 0.500000 s\nlimit: own work of a job: 1.250000 s\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.brief(), "CPU of client and harness, s: 2.00; wall, s: 3.25"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := o.withoutOwnWork("Traceback"); err == nil {
		t.Error("an output without a job is taken")
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := report{
		command: "go run ./integration/bench -runs 3", began: time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC),
		machine: machine{cores: 4, memory: 16<<30 - 1<<27, load: 0.5}, engines: usualEngines,
		results: []result{{
			workload: "map",
			turns: []turn{ // ratios of walls: 0.5, 0.25, 1; FnApiRunner failed twice
				{fresnel: {wall: 1, runnerCPU: 1, clientCPU: 4, peak: 50}, prism: {wall: 2, runnerCPU: 4, clientCPU: 6, peak: 100}, limit: {wall: 0.8, clientCPU: 3.2}},
				{fresnel: {wall: 2, runnerCPU: 1, clientCPU: 4, peak: 50}, prism: {wall: 8, runnerCPU: 4, clientCPU: 6, peak: 100}},
				{
					fresnel: {wall: 3, runnerCPU: 1, clientCPU: 4, peak: 50, "span, s": 1},
					prism:   {wall: 3, runnerCPU: 4, clientCPU: 6, peak: 100, "span, s": 4},
					fnapi:   {wall: 4, clientCPU: 4, peak: 200},
				},
			},
			failed: []error{errors.New("map on fnapi: out of order")},
		}},
	}
	got := r.markdown()
	for _, want := range []string{
		"# Benchmarks\n\n`go run ./integration/bench -runs 3` on 2026-02-03; 4 cores, 16 GiB of memory, load average 0.5",
		"| map      | fresnel | 2.00    | 1.00 ",
		"| map      | prism   | 3.00    | 4.00 ",
		"| map      | fnapi   | 4.00    |      ",
		"| map      | 0.500        | 0.500           | 0.250                | 0.500                 | 0.750        | 1.25            | 0.250                 | 0.250                    | 1.25         | 1.25                    |",
		"| map      | limit   | 0.800   |                      | 3.20 ",
		"| map      | span, s | 1.00    | 4.00  |       | 0.250           |                 |",
		"map on fnapi: out of order",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestAnInterruptLeavesWhatHasRun(t *testing.T) {
	t.Parallel()
	got := ran([]result{{workload: "map", turns: []turn{{fresnel: {wall: 1}}}}, {workload: "gbk", failed: []error{errors.New("out of order")}}, {workload: "combine"}, {}})
	if len(got) != 2 || got[0].workload != "map" || got[1].workload != "gbk" {
		t.Errorf("the report is of %+v", got)
	}
}

func TestAReportFromABusyMachineSaysSo(t *testing.T) {
	t.Parallel()
	r := report{machine: machine{cores: 2, load: 15}, engines: usualEngines}
	if got, _, _ := strings.Cut(r.markdown(), "\n"); !strings.Contains(got, "busy") {
		t.Errorf("its heading is %q", got)
	}
}

func TestWhatOthersHadOfTheCores(t *testing.T) {
	t.Parallel()
	if got, want := coreTimeOf("cpu  100 0 50 800 10 0 20 20 7 0\ncpu0 1 2"), (coreTime{all: 1000, stolen: 20}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got := coreTimeOf("what is this"); got != (coreTime{}) {
		t.Errorf("of something else: %+v", got)
	}
	if percent, ok := stolenSince(coreTime{}); ok && (percent < 0 || percent > 100) {
		t.Errorf("%v %% since the machine's start", percent)
	}
}

func TestThePageHasABarForEachEngineThatRan(t *testing.T) {
	t.Parallel()
	r := report{engines: usualEngines, results: []result{
		{workload: "map", turns: []turn{{fresnel: {wall: 1}, prism: {wall: 10}}}},
		{workload: "gbk<few>", turns: []turn{{fresnel: {wall: 100}}}},
	}}
	got := r.plot(wall)
	for _, want := range []string{`width="140.0"`, `width="280.0"`, `width="560.0"`, "gbk&lt;few&gt;", "<title>prism: 10.0</title>"} {
		if !strings.Contains(got, want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
	if n := strings.Count(got, "<rect"); n != 3 {
		t.Errorf("%d bars for 3 values", n)
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestFiguresOfTheMainJob(t *testing.T) {
	t.Parallel()
	f, err := mainFigures("lines                                      1000000\n" +
		"exact table                                12.5 s\n" +
		"from the first row                         150000 lines/s\n" +
		"fresnel: CPU, peak RSS                     3.2 s, 120 MB\n" +
		"drain                                      DRAINED after 0.4 s\n" +
		"latency at 1000 lines/s                    p50 12 ms, p99 40 ms, most 55 ms (900 samples)\n" +
		"fresnel: CPU, peak RSS                     4.5 s, 125 MB\n")
	if err != nil {
		t.Fatal(err)
	}
	wants := figures{
		wall: 12.5, runnerCPU: 3.2, peak: 120, "lines": 1e6, "from the first row, lines/s": 150000, "drain, s": 0.4,
		"latency at 1000 lines/s p99, steady, ms": 40, "fresnel: CPU, peak RSS, steady, s": 4.5,
	}
	for name, want := range wants {
		if f[name] != want {
			t.Errorf("%s: %v, not %v", name, f[name], want)
		}
	}
	if t.Failed() {
		t.Log(f)
	}
}
