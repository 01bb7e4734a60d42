package main

import (
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"fresnel/jobservice/jobclient"
)

func TestAFlagIsSetByTheNearestOfThreePlaces(t *testing.T) {
	file := write(t, t.TempDir(), "config", `
# for all
job_port = 1 # one
host = "file"
data-dir = 'everywhere'

[run]
host = run's
[serve]
log_level = debug
`, 0o644)
	t.Setenv("FRESNEL_CONFIG", file)
	t.Setenv("FRESNEL_JOB_PORT", "2")
	t.Setenv("FRESNEL_LOG_KIND", "json")
	var c serveConfig
	fs := flag.NewFlagSet("fresnel serve", flag.ContinueOnError)
	c.flags(fs)
	if err := parse(fs, []string{"--log_kind=text"}); err != nil {
		t.Fatal(err)
	}
	want := serveConfig{jobPort: 2, host: "file", dataDir: "everywhere", logLevel: "debug", logKind: "text", serveHTTP: true,
		workers: workerFlags{timeout: 5 * time.Minute, stuckAfter: 5 * time.Minute}}
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
}

func TestWhatCannotBeUnderstoodIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ file, env, want string }{
		"a line":     {"job_port 8073", "", "line 1"},
		"a value":    {"job_port = many", "", "the configuration file: --job_port"},
		"a variable": {"", "many", "FRESNEL_JOB_PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("FRESNEL_CONFIG", write(t, t.TempDir(), "config", c.file, 0o644))
			t.Setenv("FRESNEL_JOB_PORT", c.env)
			fs := flag.NewFlagSet("fresnel serve", flag.ContinueOnError)
			(&serveConfig{}).flags(fs)
			if err := parse(fs, nil); !isA[usageError](err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	t.Setenv("FRESNEL_CONFIG", "/no/such/file")
	fs := flag.NewFlagSet("fresnel serve", flag.ContinueOnError)
	if err := parse(fs, nil); !isA[usageError](err) || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("a file that was named and is not there: %v", err)
	}
}

func TestExitStatuses(t *testing.T) {
	t.Parallel()
	for want, err := range map[int]error{
		0: nil, 1: errors.New("x"), 2: usageError{errors.New("x")}, 3: environmentError{errors.New("x")},
		4: errors.Join(errors.New("there"), jobclient.ErrAway), 5: jobclient.ErrNoJob, 42: exitCode(42),
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	if got := exitStatus(flag.ErrHelp); got != 0 {
		t.Error(got)
	}
}
