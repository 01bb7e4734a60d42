package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

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
)

var common = []string{wall, runnerCPU, clientCPU, peak}

// workload is one of workloads.py.
type workload struct {
	Name    string
	Engines []string // that can run it
	Long    bool     // it takes minutes
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
	out, err := b.client(ctx, "--list")
	if err != nil {
		return nil, err
	}
	var all []workload
	return all, json.Unmarshal([]byte(lastLine(out)), &all)
}

// measure runs a workload once, on a server of its own.
func (b *bench) measure(ctx context.Context, engine string, w workload) (figures, error) {
	touchMemory()
	if w.Name == mainJob {
		return b.mainJob(ctx)
	}
	args := []string{"--workload=" + w.Name, "--scale=" + strconv.FormatFloat(b.scale, 'g', -1, 64), "--data=" + b.temp}
	if b.bins[engine] == "" {
		out, err := b.client(ctx, args...)
		if err != nil {
			return nil, err
		}
		client, err := parse(out)
		return client.figures(), err
	}
	var flags []string
	if engine == fresnel || engine == durable {
		flags = w.Server
	}
	if engine == durable {
		dir, err := os.MkdirTemp(b.temp, "data-")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }() // with the rest at the end
		flags = append([]string{"--durability=disk", "--data-dir=" + dir}, flags...)
	}
	server, err := rig.StartServer(b.bins[engine], filepath.Join(b.temp, engine+".log"), flags...)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	before, err := server.CPU()
	if err != nil {
		return nil, err
	}
	out, err := b.client(ctx, append(args, "--endpoint="+server.Endpoint, "--server_pid="+strconv.Itoa(server.Pid()))...)
	if err != nil {
		return nil, fmt.Errorf("%w\nThe server's last lines:\n%s", err, tail(server.Output()))
	}
	client, err := parse(out)
	if err != nil {
		return nil, err
	}
	if engine == limit {
		return client.withoutOwnWork(server.Output())
	}
	return client.withServer(server, before)
}

// client runs workloads.py and returns what it printed.
func (b *bench) client(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.python, append([]string{b.script}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", errors.Join(err, ctx.Err()), tail(stderr.String()))
	}
	return stdout.String(), nil
}

// outcome is what workloads.py measures.
type outcome struct {
	Wall     float64 // seconds
	CPU      float64 // seconds, of its process
	PeakMB   float64 `json:"peak_mb"`
	Measures figures // the workload's own
}

// parse finds the line that tells the outcome.
func parse(output string) (outcome, error) {
	var o outcome
	for line := range strings.Lines(output) {
		if text, ok := strings.CutPrefix(line, "RESULT "); ok {
			return o, json.Unmarshal([]byte(text), &o)
		}
	}
	return o, fmt.Errorf("workloads.py prints no result:\n%s", tail(output))
}

// figures are those of a run without a server.
func (o outcome) figures() figures {
	f := figures{wall: o.Wall, clientCPU: o.CPU, peak: o.PeakMB}
	maps.Copy(f, o.Measures)
	return f
}

// withServer adds what the server took since its CPU time was before.
func (o outcome) withServer(server *rig.Server, before time.Duration) (figures, error) {
	after, err := server.CPU()
	if err != nil {
		return nil, err
	}
	most, err := server.PeakRSS()
	if err != nil {
		return nil, err
	}
	workers, err := server.ChildrenCPU()
	if err != nil {
		return nil, err
	}
	f := o.figures()
	f[clientCPU] += workers.Seconds()
	f[runnerCPU] = (after - before).Seconds()
	f[peak] = float64(most) / (1 << 20)
	return f, nil
}

// ownWork is how bench/limit tells what a job took that was not its harness's.
var ownWork = regexp.MustCompile(`(?m)^limit: own work of a job: ([0-9.]+) s$`)

// withoutOwnWork are the figures of the harness's limit.
func (o outcome) withoutOwnWork(output string) (figures, error) {
	f := figures{wall: o.Wall, clientCPU: o.CPU}
	jobs := ownWork.FindAllStringSubmatch(output, -1)
	if jobs == nil {
		return nil, fmt.Errorf("the limit does not tell its own work:\n%s", tail(output))
	}
	for _, job := range jobs {
		seconds, err := strconv.ParseFloat(job[1], 64)
		if err != nil {
			return nil, err
		}
		f[wall] -= seconds
	}
	return f, nil
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
