package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// mainJob is the workload that is not in workloads.py.
const mainJob = "main-job"

// hasKafka tells whether `make parts` was run.
func (b *bench) hasKafka() bool {
	found, _ := filepath.Glob(filepath.Join(b.root, ".cache", "kafka", "*"))
	return len(found) > 0
}

// mainJob runs integration/cdn/measure and takes over what it prints.
func (b *bench) mainJob(ctx context.Context) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "./integration/cdn/measure", "-steady=20s",
		fmt.Sprintf("-lines=%d", max(10_000, int(1_000_000*b.scale))))
	cmd.Dir = b.root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it stops its parts
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w\n%s", errors.Join(err, ctx.Err()), tail(stderr.String()))
	}
	return mainFigures(stdout.String())
}

// measuredRow is how the measurement prints a figure: its name, two spaces or
// more, numbers with units.
var measuredRow = regexp.MustCompile(`^(\S+(?: \S+)*) {2,}(.*\d.*)$`)

// value is a number and its unit, with a name before it in latencies: "p99 12 ms".
var value = regexp.MustCompile(`(?:(p\d+|most) )?(\d+(?:\.\d+)?) ?(s|ms|MB|lines/s)?\b`)

// mainFigures are the figures in the output of integration/cdn/measure. Its first
// rows of CPU and memory are those of the topic that was full, the second those
// of the steady time.
func mainFigures(output string) (figures, error) {
	f := figures{}
	steady := ""
	for line := range strings.Lines(output) {
		row := measuredRow.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if row == nil {
			continue
		}
		for _, v := range value.FindAllStringSubmatch(row[2], -1) {
			n, err := strconv.ParseFloat(v[2], 64)
			if err != nil || v[3] == "" && row[1] != "lines" {
				continue
			}
			name := strings.TrimSpace(row[1] + " " + v[1])
			if strings.HasPrefix(row[1], "latency") {
				steady = ", steady"
			}
			if v[3] != "" {
				name += steady + ", " + v[3]
			}
			f[name] = n
		}
	}
	if len(f) == 0 {
		return nil, fmt.Errorf("integration/cdn/measure prints no figures:\n%s", tail(output))
	}
	for from, to := range map[string]string{
		"exact table, s":                        wall,
		"fresnel: CPU, peak RSS, s":             runnerCPU,
		"fresnel: CPU, peak RSS, MB":            peak,
		"client and harness: CPU, peak RSS, s":  clientCPU,
		"client and harness: CPU, peak RSS, MB": "peak RSS of client and harness, MB",
	} {
		if v, ok := f[from]; ok {
			f[to] = v
			delete(f, from)
		}
	}
	return f, nil
}
