package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// runPipeline runs a pipeline's own program against an embedded server, with
// all that its client needs to find it.
func runPipeline(ctx context.Context, args []string) error {
	var c serveConfig
	fs := flag.NewFlagSet("fresnel run", flag.ContinueOnError)
	c.flags(fs)
	c.logLevel = "warn"
	endpoint := fs.String("server", "", "job endpoint of a running server (default: start one for this run)")
	python := fs.String("python", "", "the Python to run with (default: the active virtual environment's, else python3)")
	environment := fs.String("environment", "loopback", "where user code runs: loopback (in the pipeline's own process), process")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return errors.New("run: name the pipeline's .py file, or -m MODULE after --")
	}
	if *endpoint == "" {
		c.jobPort = 0
		s, err := startServer(c)
		if err != nil {
			return err
		}
		defer s.close()
		*endpoint = s.endpoint
	}
	return runClient(ctx, pythonProgram(*python), *endpoint, *environment, fs.Args())
}

// pythonProgram chooses the interpreter: the one asked for, the active virtual
// environment's, the machine's.
func pythonProgram(asked string) string {
	if asked != "" {
		return asked
	}
	if venv := os.Getenv("VIRTUAL_ENV"); venv != "" {
		return venv + "/bin/python"
	}
	return "python3"
}

func runClient(ctx context.Context, python, endpoint, environment string, args []string) error {
	args = append(slices.Clone(args), clientOptions(endpoint, environment, args)...)
	cmd := exec.CommandContext(ctx, python, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "BEAM_SERVICE_OVERRIDES="+overrides(endpoint), "FRESNEL_ENDPOINT="+endpoint)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exitCode(exit.ExitCode())
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("cannot run %s: %w (choose an interpreter with --python)", python, err)
	}
	return err
}

// clientOptions are the pipeline options that lead a client here, but for those
// that the user gave.
func clientOptions(endpoint, environment string, given []string) []string {
	var add []string
	for _, o := range [][2]string{{"--runner", "PortableRunner"}, {"--job_endpoint", endpoint}, {"--environment_type", strings.ToUpper(environment)}} {
		if !slices.ContainsFunc(given, func(a string) bool { return a == o[0] || strings.HasPrefix(a, o[0]+"=") }) {
			add = append(add, o[0]+"="+o[1])
		}
	}
	return add
}

// overriddenTargets are the Java expansion services that the job endpoint stands
// in for.
var overriddenTargets = []string{
	"sdks:java:io:expansion-service:shadowJar",
	"sdks:java:extensions:schemaio-expansion-service:shadowJar",
	":sdks:java:extensions:schemaio-expansion-service:shadowJar",
	"sdks:java:io:google-cloud-platform:expansion-service:shadowJar",
}

func overrides(endpoint string) string {
	services := map[string]string{}
	for _, t := range overriddenTargets {
		services[t] = endpoint
	}
	b, _ := json.Marshal(services) // a map of strings always encodes
	return string(b)
}
