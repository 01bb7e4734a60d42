package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"fresnel/connectors"
	"fresnel/connectors/kafka"
	"fresnel/connectors/mysql"
	"fresnel/connectors/sequence"
	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner"
)

const checkUsage = `usage: fresnel check [flags] [JOB...]

Reads what a data directory keeps of its jobs, while no server has it: that it parses, that all that it refers to is there, and that
what waits decodes. Nothing is changed, and no broker or database is asked. Of the jobs named, by an id or the beginning of one, every
stage is shown. Exit status: 0 if all is well, 1 if something is damaged, 2 for a command line that cannot be understood.
`

// checker looks at a data directory.
type checker struct {
	json   bool
	named  []string
	out    io.Writer
	runner *runner.Runner
}

// checked is what is known of one job.
type checked struct {
	Job   beam.JobID
	Name  string `json:",omitempty"`
	Phase string `json:",omitempty"`
	// Durable tells that there is state on disk; State is what it is, of jobs that
	// were named.
	Durable bool
	State   *runner.Inspection `json:",omitempty"`
	Error   string             `json:",omitempty"`
}

func check(_ context.Context, args []string) error {
	c := checker{out: os.Stdout}
	var dir string
	fs := flag.NewFlagSet("fresnel check", flag.ContinueOnError)
	fs.StringVar(&dir, "data-dir", "", "the data directory (default: that of fresnel serve)")
	fs.BoolVar(&c.json, "json", false, "print JSON, a job a line")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), checkUsage)
		printFlags(fs, "")
	}
	if err := parse(fs, args); err != nil {
		return err
	}
	var err error
	if c.named, err = flagsBehind(fs, fs.Args()); err != nil {
		return err
	}
	return c.check(choosePlace(dir).path)
}

func (c *checker) check(path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("no data directory: %w (name it with --data-dir)", err)
	}
	data, err := jobservice.OpenDataDir(path)
	if errors.Is(err, jobservice.ErrDataDirInUse) {
		return fmt.Errorf("%w: stop that server first, or ask it with fresnel jobs", err)
	}
	if err != nil {
		return err
	}
	defer data.Close()
	quiet := slog.New(slog.DiscardHandler)
	harnesses, err := fnapi.NewServer(fnapi.Config{Log: quiet})
	if err != nil {
		return err
	}
	defer harnesses.Close()
	c.runner = runner.New(runner.Config{Harnesses: harnesses, Log: quiet, Connectors: []connectors.Connector{kafka.New(quiet), mysql.New(quiet), sequence.New()}})
	jobs, err := data.Jobs()
	if err != nil {
		return err
	}
	return c.all(jobs)
}

func (c *checker) all(jobs []jobservice.KeptJob) error {
	damaged, shown := 0, 0
	for _, k := range jobs {
		if len(c.named) > 0 && !c.wants(k.Submission.ID) {
			continue
		}
		shown++
		r := c.job(k)
		if r.Error != "" {
			damaged++
		}
		if err := c.print(r); err != nil {
			return err
		}
	}
	switch {
	case damaged > 0:
		return fmt.Errorf("%d of %d jobs are damaged", damaged, shown)
	case shown == 0 && len(c.named) > 0:
		return fmt.Errorf("the directory has no job %s", strings.Join(c.named, ", "))
	}
	return nil
}

func (c *checker) wants(id beam.JobID) bool {
	return slices.ContainsFunc(c.named, func(name string) bool { return strings.HasPrefix(string(id), name) })
}

func (c *checker) job(k jobservice.KeptJob) checked {
	r := checked{Job: k.Submission.ID, Name: k.Submission.Name, Phase: k.Phase, Durable: k.Durable}
	err := k.Err
	if err == nil && k.Durable && k.Phase != "ended" {
		if _, missing := os.Stat(k.Submission.Dir); missing == nil || k.Submission.Begun { // else it has not begun
			r.State, err = c.runner.Inspect(k.Submission)
		}
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (c *checker) print(r checked) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(r)
	}
	verdict := "well"
	switch {
	case r.Error != "":
		verdict = "DAMAGED: " + r.Error
	case r.State != nil:
		verdict = fmt.Sprintf("well: %d commits, %s on disk", r.State.Commits, gigabytes(uint64(max(r.State.DiskBytes, 0))))
	}
	_, err := fmt.Fprintf(c.out, "%s (%s, %s) %s\n", r.Job, cmp.Or(r.Name, "?"), cmp.Or(r.Phase, "?"), verdict)
	if r.State == nil || len(c.named) == 0 {
		return err
	}
	for i := range r.State.Stages {
		c.stage(&r.State.Stages[i])
	}
	return err
}

// stage shows one stage. Where writing fails, so it did above.
func (c *checker) stage(s *runner.StageInspection) {
	fmt.Fprintf(c.out, "  %s: watermark %s, %d elements in %d blocks (%d bytes) wait\n", s.Name, eventTime(s.Watermark), s.Elements, s.Blocks, s.Bytes)
	if s.GroupBytes > 0 {
		fmt.Fprintf(c.out, "    groups: %d keys, about %d bytes\n", s.Groups, s.GroupBytes)
	}
	for _, st := range s.State {
		if st.Timers {
			fmt.Fprintf(c.out, "    timers %s: %d, the next at %s\n", st.Name, st.Entries, eventTime(st.Next))
			continue
		}
		fmt.Fprintf(c.out, "    state %s: %d keys, %d entries, %d bytes\n", st.Name, st.Keys, st.Entries, st.Bytes)
	}
	for _, sp := range s.Splits {
		fmt.Fprintf(c.out, "    split %s: at %s\n", sp.ID, cmp.Or(sp.Text, strconv.Quote(string(sp.Position))))
	}
	for _, e := range s.Entries {
		fmt.Fprintf(c.out, "    outbox %d: entry %d, of %d blocks, may not be written yet\n", e.Shard, e.N, len(e.Blocks))
	}
}

// eventTime is a time for people.
func eventTime(t beam.EventTime) string {
	switch {
	case t <= beam.MinEventTime:
		return "before all time"
	case t >= beam.EndOfGlobalWindow:
		return "after all time"
	}
	return t.Time().Format(time.RFC3339Nano)
}
