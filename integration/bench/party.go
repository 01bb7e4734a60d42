package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"fresnel/integration/cdn/rig"
)

// party is an engine that takes part in a measurement, with its server if it has
// one.
type party struct {
	engine string
	server *rig.Server
	data   string // of durable
}

// enter starts the engine's server.
func (b *bench) enter(engine string, w workload) (*party, error) {
	p := &party{engine: engine}
	if b.bins[engine] == "" {
		return p, nil
	}
	var flags []string
	if engine == fresnel || engine == durable {
		flags = w.Server
	}
	if engine == durable {
		var err error
		if p.data, err = os.MkdirTemp(b.temp, "data-"); err != nil {
			return nil, err
		}
		flags = append([]string{"--durability=disk", "--data-dir=" + p.data}, flags...)
	}
	var err error
	if p.server, err = rig.StartServer(b.bins[engine], filepath.Join(b.temp, engine+".log"), flags...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.data))
	}
	return p, nil
}

func (p *party) leave() {
	if p.server != nil {
		p.server.Stop()
	}
	if p.data != "" {
		_ = os.RemoveAll(p.data) // with the rest at the end
	}
}

// run has the client run its workload once.
func (p *party) run(c *client, scale float64) (figures, error) {
	args := []string{"--scale=" + strconv.FormatFloat(scale, 'g', -1, 64)}
	if p.server == nil {
		o, err := c.measure(args...)
		return o.figures(), err
	}
	said := len(p.server.Output())
	before, err := p.used()
	if err != nil {
		return nil, err
	}
	o, err := c.measure(append(args, "--endpoint="+p.server.Endpoint, "--server_pid="+strconv.Itoa(p.server.Pid()))...)
	if err != nil {
		return nil, fmt.Errorf("%w\nThe server's last lines:\n%s", err, tail(p.server.Output()))
	}
	if p.engine == limit {
		return o.withoutOwnWork(p.server.Output()[said:])
	}
	after, err := p.used()
	if err != nil {
		return nil, err
	}
	f := o.figures()
	f[clientCPU] += (after.workers - before.workers).Seconds()
	f[runnerCPU] = (after.own - before.own).Seconds()
	f[peak] = float64(after.most) / (1 << 20)
	return f, nil
}

// usage is what a server took since its start.
type usage struct {
	own, workers time.Duration // CPU
	most         int64         // bytes of memory
}

func (p *party) used() (u usage, err error) {
	if u.own, err = p.server.CPU(); err != nil {
		return u, err
	}
	if u.most, err = p.server.PeakRSS(); err != nil {
		return u, err
	}
	u.workers, err = p.server.ChildrenCPU()
	return u, err
}

// figures are those of a run without a server.
func (o outcome) figures() figures {
	f := figures{wall: o.Wall, clientCPU: o.CPU, peak: o.PeakMB}
	maps.Copy(f, o.Measures)
	return f
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
