package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"fresnel/examples/cdn"
	"fresnel/internal/scratch"
)

// demoConfig is what the flags of demo set.
type demoConfig struct {
	once     bool
	rate     int
	lines    int
	timeout  time.Duration
	embedded string
	python   string
}

func (c *demoConfig) parse(args []string) error {
	fs := flag.NewFlagSet("fresnel demo", flag.ContinueOnError)
	fs.BoolVar(&c.once, "once", false, "produce --lines lines, compare the table with what it must be, and end")
	fs.IntVar(&c.rate, "rate", 1000, "lines a second")
	fs.IntVar(&c.lines, "lines", 200_000, "lines that --once produces, as fast as they are taken")
	fs.DurationVar(&c.timeout, "timeout", 3*time.Minute, "how long --once waits for the table")
	fs.StringVar(&c.embedded, "embedded", "", "the program that stands in for Kafka and MySQL (default: embedded, beside fresnel)")
	fs.StringVar(&c.python, "python", "", "the Python to run the pipeline with (default: "+defaultPython+")")
	return parse(fs, args)
}

// demo runs the CDN example (examples/cdn) on embedded parts and shows its table
// until it is stopped.
func demo(ctx context.Context, args []string) error {
	var d demonstration
	if err := d.parse(args); err != nil {
		return err
	}
	defer d.close()
	if err := d.start(ctx); err != nil {
		return err
	}
	if d.once {
		return d.check(ctx)
	}
	return d.show(ctx)
}

// demonstration is a running demo: the parts, the server and the pipeline's
// program.
type demonstration struct {
	demoConfig
	parts    *embeddedParts
	table    *cdn.Table
	log      *cdn.Log
	producer *cdn.Producer
	server   *server
	printed  output     // by the pipeline's program
	ended    chan error // the program's end
	closers  []func()
}

func (d *demonstration) closeLater(f func()) { d.closers = append(d.closers, f) }

// close undoes what was started, the last first.
func (d *demonstration) close() {
	for _, f := range slices.Backward(d.closers) {
		f()
	}
}

func (d *demonstration) start(ctx context.Context) (err error) {
	if d.parts, err = startEmbedded(d.embedded); err != nil {
		return err
	}
	d.closeLater(d.parts.stop)
	if d.table, err = cdn.CreateTable(ctx, cdn.EmbeddedDSN(d.parts.MySQL)); err != nil {
		return err
	}
	d.closeLater(func() { _ = d.table.Close() })
	d.log = cdn.NewLog(uint64(time.Now().UnixNano()))
	d.producer = cdn.NewProducer(d.parts.Kafka, cdn.Topic, d.log)
	d.closeLater(func() { _ = d.producer.Close() })
	return d.submit(ctx)
}

// submit starts the server and the pipeline's program, as `fresnel run` does.
func (d *demonstration) submit(ctx context.Context) error {
	dir, remove, err := scratch.Dir("fresnel-demo-")
	if err != nil {
		return err
	}
	d.closeLater(remove)
	pipeline, err := cdn.WritePipeline(dir)
	if err != nil {
		return err
	}
	env, err := program{dir: "."}.findPython(ctx, d.python, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return err
	}
	d.closeLater(env.Release)
	program := &client{python: env.Path, environment: "loopback", stdout: &d.printed, stderr: &d.printed,
		args: append([]string{pipeline, "--bootstrap_servers=" + d.parts.Kafka}, d.table.Options()...)}
	if d.server, err = startServerFor(serveConfig{host: "localhost", logLevel: "error"}, program); err != nil {
		return err
	}
	d.closeLater(d.server.close)
	d.ended = make(chan error, 1)
	go func() { d.ended <- program.run(ctx) }()
	return nil
}

// check is --once: it produces a fixed number of lines, waits until the table is
// what it must be, drains the job and compares again.
func (d *demonstration) check(ctx context.Context) error {
	start := time.Now()
	fmt.Printf("%d lines of log, on an embedded Kafka and an embedded MySQL\n", d.lines)
	if err := d.producer.Write(ctx, d.lines); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	if err := d.await(ctx, start.Add(d.timeout)); err != nil {
		return err
	}
	fmt.Printf("the table is exact after %.1f s; the job is drained\n", time.Since(start).Seconds())
	if err := d.drain(); err != nil {
		return err
	}
	diff, err := d.diff(ctx)
	if err != nil {
		return err
	}
	if len(diff) > 0 {
		return fmt.Errorf("the table is wrong:\n%s", strings.Join(diff, "\n"))
	}
	fmt.Printf("ok: every number of %d provinces is as expected\n", len(d.log.Totals()))
	return nil
}

// await returns when the table is what it must be.
func (d *demonstration) await(ctx context.Context, deadline time.Time) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		diff, err := d.diff(ctx)
		switch {
		case err != nil:
			return err
		case len(diff) == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the table is still wrong after %v:\n%s", d.timeout, strings.Join(diff, "\n"))
		}
		select {
		case <-tick.C:
		case err := <-d.ended:
			return d.died(err)
		case <-ctx.Done():
			return errors.New("interrupted before the table was exact")
		}
	}
}

// diff says where the table differs from what it must be.
func (d *demonstration) diff(ctx context.Context) ([]string, error) {
	table, err := d.table.Read(ctx)
	if err != nil {
		return nil, err
	}
	return d.log.Totals().Diff(table), nil
}

// drain ends the job, as a user would, and returns when it has ended. Beam's
// client calls every end but DONE a failure, so its exit status tells nothing.
func (d *demonstration) drain() error {
	for _, j := range d.server.jobs.Jobs() {
		if _, err := d.server.jobs.Drain(j.ID); err != nil {
			return err
		}
	}
	end := <-d.ended
	for _, j := range d.server.jobs.Jobs() {
		if j.State.String() != "DRAINED" {
			return d.died(end)
		}
	}
	return nil
}

// died tells of an end of the pipeline's program that is none of our doing.
func (d *demonstration) died(err error) error {
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("%s\nthe pipeline's program: %s", d.printed.String(), err.Error()) // not wrapped: its exit status is not ours
}

// output keeps what another process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
