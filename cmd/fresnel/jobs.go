package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"fresnel/internal/beam"
	"fresnel/jobservice/jobclient"
	"fresnel/runner"
)

// defaultServer is where a server listens that was started without flags.
const defaultServer = "localhost:8073"

// jobTool looks after the jobs of a server, over Beam's Job API.
type jobTool struct {
	server    string
	json      bool
	timeout   time.Duration
	savepoint bool

	out    io.Writer
	client *jobclient.Client
}

const jobsUsage = `usage: fresnel jobs [flags] [list]
       fresnel jobs [flags] show|inspect|logs|metrics|wait|drain|cancel|stop|resume JOB

JOB is a job's id, the beginning of it that is no other's, or "last".

  fresnel jobs                   list them
  fresnel jobs logs last         what a job tells, until it ends
  fresnel jobs drain last        stop its sources, finish what is under way, and wait for its end

stop keeps the state of a durable job, and resume goes on from there, also in a later server. With --savepoint it first finishes what
is under way, and fresnel run --from (or the pipeline option --restore_from) goes on with a pipeline that has changed.

Exit status: 0 if all is well (wait: if the job is DONE or DRAINED), 1 if it is not, 2 for a command line that cannot be understood,
4 if no server answers, 5 if it has no such job.
`

func manageJobs(ctx context.Context, args []string) error {
	t := jobTool{out: os.Stdout}
	fs := flag.NewFlagSet("fresnel jobs", flag.ContinueOnError)
	fs.StringVar(&t.server, "server", defaultServer, "job endpoint of the server")
	fs.BoolVar(&t.json, "json", false, "print JSON, a value a line")
	fs.DurationVar(&t.timeout, "timeout", 0, "how long wait, drain and cancel wait for the job's end (default: without end)")
	var dir string
	fs.StringVar(&dir, "data-dir", "", "inspect: a data directory that no server uses")
	fs.BoolVar(&t.savepoint, "savepoint", false, "stop: first finish what is under way, so that a changed pipeline can go on (fresnel run --from)")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), jobsUsage)
		printFlags(fs, "")
	}
	if err := parse(fs, args); err != nil {
		return err
	}
	rest, err := flagsBehind(fs, fs.Args())
	if err != nil {
		return err
	}
	if dir != "" {
		return t.offline(dir, rest)
	}
	if t.client, err = jobclient.Dial(t.server); err != nil {
		return err
	}
	defer t.client.Close()
	return t.run(ctx, rest)
}

// flagsBehind parses flags that come after words, as in `jobs logs ID --json`.
func flagsBehind(fs *flag.FlagSet, args []string) (words []string, err error) {
	for len(args) > 0 {
		if !strings.HasPrefix(args[0], "-") {
			words, args = append(words, args[0]), args[1:]
			continue
		}
		if err := parseFlags(fs, args); err != nil {
			return nil, err
		}
		args = fs.Args()
	}
	return words, nil
}

func (t *jobTool) run(ctx context.Context, words []string) error {
	if len(words) == 0 || words[0] == "list" && len(words) == 1 {
		return t.list(ctx)
	}
	do := map[string]func(context.Context, jobclient.Job) error{
		"show": t.show, "logs": t.logs, "metrics": t.metrics, "wait": t.wait, "drain": t.drain, "cancel": t.cancel,
		"inspect": t.inspect, "stop": t.stop, "resume": t.resume,
	}[words[0]]
	switch {
	case do == nil:
		return usageError{fmt.Errorf("jobs: %q is none of list, show, inspect, logs, metrics, wait, drain, cancel, stop, resume (\"fresnel jobs -h\" tells more)", words[0])}
	case len(words) != 2:
		return usageError{fmt.Errorf("jobs: name one job: fresnel jobs %s JOB, by its id (\"fresnel jobs\" lists them), the beginning of it, or last", words[0])}
	}
	job, err := t.find(ctx, words[1])
	if err != nil {
		return err
	}
	return do(ctx, job)
}

// find returns the job that a word stands for.
func (t *jobTool) find(ctx context.Context, word string) (jobclient.Job, error) {
	jobs, err := t.client.Jobs(ctx)
	if err != nil {
		return jobclient.Job{}, err
	}
	if word == "last" && len(jobs) > 0 {
		return jobs[0], nil
	}
	var found []jobclient.Job
	for _, j := range jobs {
		if j.ID == word {
			return j, nil
		}
		if strings.HasPrefix(j.ID, word) {
			found = append(found, j)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return jobclient.Job{}, fmt.Errorf("%w at %s: %q (`fresnel jobs` lists them)", jobclient.ErrNoJob, t.server, word)
	}
	return jobclient.Job{}, usageError{fmt.Errorf("%d jobs begin with %q: say more of the id", len(found), word)}
}

// print prints a value as a line of JSON.
func (t *jobTool) print(v any) error { return json.NewEncoder(t.out).Encode(v) }

func (t *jobTool) list(ctx context.Context) error {
	jobs, err := t.client.Jobs(ctx)
	if err != nil {
		return err
	}
	if len(jobs) == 0 && !t.json {
		fmt.Fprintln(t.out, "no jobs")
	}
	for i := range jobs {
		j := &jobs[i]
		if j.State, j.Since, err = t.client.State(ctx, j.ID); err != nil {
			return err
		}
		if t.json {
			j.Options = nil
			err = t.print(j)
		} else {
			_, err = fmt.Fprintf(t.out, "%-11s %9s  %-20s %s\n", j.State, ago(time.Since(j.Since)), short(j.Name, 20), j.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *jobTool) show(ctx context.Context, j jobclient.Job) (err error) {
	if j.State, j.Since, err = t.client.State(ctx, j.ID); err != nil {
		return err
	}
	_, stages, err := t.client.Metrics(ctx, j.ID)
	if err != nil {
		return err
	}
	if t.json {
		return t.print(map[string]any{"job": j, "stages": stages})
	}
	fmt.Fprintf(t.out, "%s  %s\n%s for %s, since %s\n", j.Name, j.ID, j.State, ago(time.Since(j.Since)), j.Since.Local().Format(time.DateTime))
	if len(stages) > 0 {
		p := newProgress(stages, time.Now())
		fmt.Fprintf(t.out, "\n%s\n", strings.Join(p.table(100), "\n"))
	}
	fmt.Fprintln(t.out, "\noptions")
	for _, name := range slices.Sorted(maps.Keys(j.Options)) {
		bare := strings.TrimSuffix(strings.TrimPrefix(name, "beam:option:"), ":v1")
		fmt.Fprintf(t.out, "  %s = %v\n", bare, j.Options[name])
	}
	return nil
}

// logs prints all that the job tells, until it has ended.
func (t *jobTool) logs(ctx context.Context, j jobclient.Job) error {
	return t.client.Follow(ctx, j.ID, func(m jobclient.Message) error {
		if t.json {
			return t.print(m)
		}
		_, err := fmt.Fprintln(t.out, logLine(m))
		return err
	})
}

func logLine(m jobclient.Message) string {
	at, level, text := m.At.Local().Format("15:04:05.000"), strings.ToUpper(m.Level), m.Text
	switch {
	case m.State != "":
		level, text = "STATE", string(m.State)
	case m.Level == "basic":
		level = "INFO"
	case m.Level == "detailed":
		level = "DEBUG"
	case m.Level == "debug":
		level = "TRACE"
	}
	return fmt.Sprintf("%s %-7s %s", at, level, text)
}

func (t *jobTool) metrics(ctx context.Context, j jobclient.Job) error {
	metrics, _, err := t.client.Metrics(ctx, j.ID)
	if err != nil {
		return err
	}
	slices.SortStableFunc(metrics, func(a, b jobclient.Metric) int {
		return cmp.Or(order(b.User)-order(a.User), strings.Compare(a.Name, b.Name), strings.Compare(a.Step, b.Step))
	})
	for _, m := range metrics {
		if !t.json && !m.User && !strings.HasPrefix(m.Name, "element_count") {
			continue // JSON has them all
		}
		switch {
		case t.json:
			err = t.print(m)
		case m.Values != nil:
			_, err = fmt.Fprintf(t.out, "%-50s %-40s %s\n", m.Step, m.Name, strings.Join(m.Values, ", "))
		case m.Count > 0:
			_, err = fmt.Fprintf(t.out, "%-50s %-40s mean %.6g, sum %d, count %d, min %d, max %d\n", m.Step, m.Name, m.Value, m.Sum, m.Count, m.Min, m.Max)
		default:
			_, err = fmt.Fprintf(t.out, "%-50s %-40s %.15g\n", m.Step, m.Name, m.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (t *jobTool) drain(ctx context.Context, j jobclient.Job) error {
	if _, err := t.client.Drain(ctx, j.ID); err != nil {
		return err
	}
	return t.end(ctx, j, jobclient.Drained, jobclient.Done)
}

func (t *jobTool) cancel(ctx context.Context, j jobclient.Job) error {
	if _, err := t.client.Cancel(ctx, j.ID); err != nil {
		return err
	}
	return t.end(ctx, j, jobclient.Cancelled, jobclient.Done, jobclient.Drained, jobclient.Failed)
}

// stopPoll is how often a job that is being stopped is looked at.
const stopPoll = 100 * time.Millisecond

func (t *jobTool) stop(ctx context.Context, j jobclient.Job) error {
	request := t.client.Stop
	if t.savepoint {
		request = t.client.Halt
	}
	state, err := request(ctx, j.ID)
	for err == nil && state != jobclient.Stopped && !state.Ended() {
		select {
		case <-time.After(stopPoll):
		case <-ctx.Done():
			return exitCode(exitCancelled)
		}
		state, _, err = t.client.State(ctx, j.ID)
	}
	if err == nil {
		err = t.tellState(j, state)
	}
	if err == nil && t.savepoint && state == jobclient.Stopped && !t.json {
		_, err = fmt.Fprintf(t.out, "go on with a changed pipeline:  fresnel run --server=%s --from=%s pipeline.py\n", t.server, j.ID)
	}
	return err
}

// inspect shows what the job has in its state, stage by stage.
func (t *jobTool) inspect(ctx context.Context, j jobclient.Job) error {
	text, err := t.client.Inspect(ctx, j.ID)
	if err != nil {
		return err
	}
	in := &runner.Inspection{}
	if err := json.Unmarshal(text, in); err != nil {
		return fmt.Errorf("the server's answer does not parse (is it of another version?): %w", err)
	}
	c := checker{json: t.json, out: t.out, named: []string{j.ID}}
	return c.print(checked{Job: beam.JobID(j.ID), Name: j.Name, Phase: string(j.State), Durable: in.DiskBytes > 0, State: in})
}

// offline inspects jobs of a data directory.
func (t *jobTool) offline(dir string, words []string) error {
	if len(words) != 2 || words[0] != "inspect" {
		return usageError{errors.New("jobs: --data-dir is for `fresnel jobs inspect JOB`")}
	}
	c := checker{json: t.json, out: t.out, named: words[1:]}
	return c.check(dir)
}

func (t *jobTool) resume(ctx context.Context, j jobclient.Job) error {
	if err := t.client.Resume(ctx, j.ID); err != nil {
		return err
	}
	state, _, err := t.client.State(ctx, j.ID)
	if err != nil {
		return err
	}
	return t.tellState(j, state)
}

// tellState prints the state that a job has come to.
func (t *jobTool) tellState(j jobclient.Job, state jobclient.State) error {
	j.State, j.Options = state, nil
	if t.json {
		return t.print(j)
	}
	_, err := fmt.Fprintf(t.out, "%s %s\n", state, j.ID)
	return err
}

func (t *jobTool) wait(ctx context.Context, j jobclient.Job) error {
	return t.end(ctx, j, jobclient.Done, jobclient.Drained)
}

// end waits for the job's end and tells whether it is one of the good ones.
func (t *jobTool) end(ctx context.Context, j jobclient.Job, good ...jobclient.State) error {
	if t.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, t.timeout)
		defer cancel()
		ctx = limited
	}
	state, why, err := t.client.Wait(ctx, j.ID)
	if errors.Is(ctx.Err(), context.Canceled) {
		return exitCode(exitCancelled) // by the user, who waits no longer
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("job %s has not ended within %s", j.ID, t.timeout)
	}
	if err != nil {
		return err
	}
	if err = t.tellState(j, state); err == nil && !slices.Contains(good, state) {
		return fmt.Errorf("job %s is %s: %s", j.ID, state, why)
	}
	return err
}

// ago writes a duration as people say it.
func ago(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 0:
		return "0s"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

// short cuts a text to n characters, for a column.
func short(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
