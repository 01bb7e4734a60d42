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
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
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
		{"demo", "run the CDN example on embedded parts and show its table", demo},
		{"boot", "start an SDK harness (the entry point of PROCESS environments)", bootHarness},
		{"worker-pool", "serve SDK harnesses to runners on this or other machines", workerPool},
		{"version", "print the version", version},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	passProxies()
	err := dispatch(ctx, os.Args[1:])
	var code exitCode
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &code):
		os.Exit(int(code))
	default:
		fmt.Fprintln(os.Stderr, "fresnel:", err)
		os.Exit(1)
	}
}

// exitCode is the exit status of a program that fresnel ran for the user.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") && !slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		return serve(ctx, args)
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, args[1:])
		}
	}
	usage()
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		return nil
	}
	return fmt.Errorf("no subcommand %q", args[0])
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: fresnel [subcommand] [flags]")
	for _, c := range commands() {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprintln(os.Stderr, "\"fresnel SUBCOMMAND -h\" lists the flags of a subcommand.")
}

// releaseVersion is set by the linker in releases.
var releaseVersion = "dev"

func version(context.Context, []string) error {
	fmt.Println("fresnel", releaseVersion)
	return nil
}
