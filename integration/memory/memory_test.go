// Package memory tests that a server keeps to its memory limit, whatever the size
// of the data, of one key, of one bundle or of the state (P5).
package memory

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fresnel/integration/cdn/rig"
)

// ci is the size of a job where nobody asks for another: some megabytes.
const ci = 0.01

// slack is what a server's memory may be above its limit: the collector is told
// the limit, and does not always reach it in time.
const slack = 1.1

// TestJobsBeyondTheLimit (P5): jobs with more data than the server may have in
// memory end with the right result, and the server keeps to its limit.
// FRESNEL_MEMORY=1 makes them what the promise is measured at, other numbers
// more or less.
func TestJobsBeyondTheLimit(t *testing.T) {
	size, limit := ci, int64(256)
	if v := os.Getenv("FRESNEL_MEMORY"); v != "" {
		var err error
		if size, err = strconv.ParseFloat(v, 64); err != nil {
			t.Fatal(err)
		}
		limit = 512
	}
	if v := os.Getenv("FRESNEL_MEMORY_LIMIT"); v != "" { // MB
		var err error
		if limit, err = strconv.ParseInt(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := rig.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range []string{"small_gbk", "gbk", "distinct", "large_values", "hot_key", "large_bundle", "timers", "keys", "bag", "cells", "sessions",
		"accumulators", "side_input"} {
		t.Run(job, func(t *testing.T) { run(t, bin, job, size, limit) })
	}
}

func run(t *testing.T, bin, job string, size float64, limit int64) {
	flags := []string{"--memory-limit=" + strconv.FormatInt(limit, 10) + "MB"}
	if job == "keys" {
		flags = append(flags, "--durability=disk")
	}
	server, err := rig.StartServer(bin, filepath.Join(t.TempDir(), "log"), flags...)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	python, err := rig.Python()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	client := exec.CommandContext(t.Context(), python, "jobs.py", "--job="+job, "--size="+strconv.FormatFloat(size, 'g', -1, 64), "--endpoint="+server.Endpoint)
	client.Stdout, client.Stderr = &out, &out
	if err := client.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	peak, err := server.PeakRSS()
	if err != nil {
		t.Fatal(err)
	}
	cpu, err := server.CPU()
	if err != nil {
		t.Fatal(err)
	}
	_, seconds, _ := strings.Cut(out.String(), "SECONDS ")
	t.Logf("%s s, CPU of the server %.1f s, peak %d MB of %d", strings.Fields(seconds)[0], cpu.Seconds(), peak/1_000_000, limit)
	if float64(peak) > slack*float64(limit*1_000_000) {
		t.Errorf("the server had %d MB, its limit is %d", peak/1_000_000, limit)
	}
}
