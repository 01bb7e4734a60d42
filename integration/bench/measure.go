package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fresnel/integration/cdn/rig"
)

// engineOrder are the engines, in the order in which they take turns.
var engineOrder = []string{fresnel, prism, fnapi, limit, durable}

// usualEngines are those that are measured unless others are named.
var usualEngines = []string{fresnel, prism, fnapi, limit}

const (
	fresnel = "fresnel"
	prism   = "prism"
	fnapi   = "fnapi" // Beam's FnApiRunner: it runs inside the client, which is its only process
	limit   = "limit" // what the harness can do, with no runner in front of it (bench/limit)
	durable = "disk"  // Fresnel with the state of all jobs on disk
)

// figures are what was measured, by name.
type figures map[string]float64

// What is measured of every workload. Workloads add measures of their own.
const (
	wall      = "wall, s"
	runnerCPU = "CPU of the runner, s"
	clientCPU = "CPU of client and harness, s" // of FnApiRunner: all
	peak      = "peak RSS of the runner, MB"   // of FnApiRunner: the client's and harness's as well
	stolen    = "stolen, %"                    // of the cores' time, by the hypervisor for others
)

var common = []string{wall, runnerCPU, clientCPU, peak, stolen}

// workload is one of workloads.py.
type workload struct {
	Name    string
	Engines []string // that can run it
	Long    bool     // it takes minutes
	Fixed   bool     // -scale has no part in it
	Server  []string // more flags of Fresnel's
}

type bench struct {
	config
	python string
	script string
	root   string
	bins   map[string]string // of engines that are servers
	temp   string            // logs and generated input
}

func newBench(c config) (*bench, error) {
	root, err := rig.Root()
	if err != nil {
		return nil, err
	}
	b := &bench{
		config: c, root: root,
		script: filepath.Join(root, "integration", "bench", "workloads.py"),
		bins: map[string]string{
			fresnel: filepath.Join(root, "bin", "fresnel"),
			prism:   filepath.Join(root, ".cache", "tools", "prism"),
			limit:   filepath.Join(root, "bin", "limit"),
			durable: filepath.Join(root, "bin", "fresnel"),
		},
	}
	if b.python, err = rig.Python(); err != nil {
		return nil, err
	}
	for _, engine := range c.engines {
		if bin := b.bins[engine]; bin != "" {
			if _, err := os.Stat(bin); err != nil {
				return nil, fmt.Errorf("%w: `make bench` builds what is measured", err)
			}
		}
	}
	// Processes of workers find the workloads by their name.
	if err := os.Setenv("PYTHONPATH", filepath.Dir(b.script)); err != nil {
		return nil, err
	}
	b.temp, err = os.MkdirTemp("", "fresnel-bench-")
	return b, err
}

func (b *bench) close() { _ = os.RemoveAll(b.temp) }

// known are all workloads.
func (b *bench) known(ctx context.Context) ([]workload, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.python, b.script, "--list")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(stderr.String()))
	}
	var all []workload
	return all, json.Unmarshal([]byte(lastLine(string(out))), &all)
}

// measure runs a workload once, on a server and with a client of its own.
func (b *bench) measure(ctx context.Context, engine string, w workload) (figures, error) {
	touchMemory()
	if w.Name == mainJob {
		return b.mainJob(ctx)
	}
	p, err := b.enter(engine, w)
	if err != nil {
		return nil, err
	}
	defer p.leave()
	c, err := b.startClient(ctx, w)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	return b.run(p, c, b.scale)
}

// run has a party run the client's workload once, and tells what others took of the
// machine meanwhile.
func (b *bench) run(p *party, c *client, scale float64) (figures, error) {
	before := readCoreTime()
	f, err := p.run(c, scale)
	if percent, ok := stolenSince(before); ok && err == nil {
		f[stolen] = percent
	}
	return f, err
}

// outcome is what workloads.py measures.
type outcome struct {
	Wall     float64 // seconds
	CPU      float64 // seconds, of its process
	PeakMB   float64 `json:"peak_mb"`
	Measures figures // the workload's own
}

const tailLines = 15 // of an output, in an error

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
