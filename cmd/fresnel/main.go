// Command fresnel runs Apache Beam pipelines: it is the job service that they
// are submitted to, the engine that runs them, and the connectors that feed
// them.
//
// Without a subcommand it serves; see "fresnel help".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"fresnel/jobservice/jobclient"
)

// command is a subcommand.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "serve the job endpoint (default)", serve},
		{"run", "run a pipeline: fresnel run pipeline.py [its options]", runPipeline},
		{"jobs", "look after the jobs of a server: list, show, inspect, logs, metrics, wait, drain, cancel, stop, resume", manageJobs},
		{"doctor", "check this machine, and say how to mend what is missing", doctor},
		{"demo", "run the CDN example on embedded parts and show its table", demo},
		{"boot", "start an SDK harness (the entry point of PROCESS environments)", bootHarness},
		{"worker-pool", "serve SDK harnesses to runners on this or other machines", workerPool},
		{"check", "look at what a data directory keeps of its jobs, and check it", check},
		{"version", "print the version", version},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	passProxies()
	os.Exit(exitStatus(dispatch(ctx, os.Args[1:])))
}

// The exit statuses. A program that `fresnel run` ran gives its own.
const (
	exitOK     = 0 // also: the job was drained on request
	exitFailed = 1 // the job, or what was asked for, failed
	exitUsage  = 2 // the command line or the configuration cannot be understood
	exitNoEnv  = 3 // no Python, or its packages cannot be installed
	exitAway   = 4 // no server answers
	exitNoJob  = 5 // the server has no such job
	// exitCancelled is that of programs that Ctrl-C ends.
	exitCancelled = 130
)

// exitStatus tells the user of an error, and gives its status.
func exitStatus(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "fresnel:", text)
	}
	switch {
	case isA[usageError](err), errors.Is(err, jobclient.ErrEndpoint):
		return exitUsage
	case isA[environmentError](err):
		return exitNoEnv
	case errors.Is(err, jobclient.ErrAway):
		return exitAway
	case errors.Is(err, jobclient.ErrNoJob):
		return exitNoJob
	}
	return exitFailed
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// environmentError is the lack of a Python environment.
type environmentError struct{ error }

func (e environmentError) Unwrap() error { return e.error }

// exitCode is the exit status of a program that fresnel ran for the user.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") && !slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		return serve(ctx, args)
	}
	if args[0] == "help" && len(args) == 2 {
		args = []string{args[1], "-h"}
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, args[1:])
		}
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		usage(os.Stdout)
		return nil
	}
	if slices.Contains([]string{".py", ".yaml", ".yml"}, filepath.Ext(args[0])) {
		return usageError{fmt.Errorf("no subcommand %q: a pipeline is run with `fresnel run %s`", args[0], strings.Join(args, " "))}
	}
	usage(os.Stderr)
	return usageError{fmt.Errorf("no subcommand %q", args[0])}
}

func usage(out io.Writer) {
	fmt.Fprintln(out, "usage: fresnel [subcommand] [flags]")
	for _, c := range commands() {
		fmt.Fprintf(out, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprintln(out, "\"fresnel SUBCOMMAND -h\" lists the flags of a subcommand. A variable FRESNEL_NAME, or a line \"name = value\" in the configuration\n"+
		"file, sets a flag too: see the README.")
}

// releaseVersion is set by the linker in releases.
var releaseVersion = "dev"

func version(context.Context, []string) error {
	fmt.Println("fresnel", releaseVersion)
	return nil
}
