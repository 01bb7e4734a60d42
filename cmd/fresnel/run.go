package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// runPipeline runs a pipeline's own program against an embedded server, with
// all that its client needs to find it.
func runPipeline(ctx context.Context, args []string) error {
	c := serveConfig{}
	fs := flag.NewFlagSet("fresnel run", flag.ContinueOnError)
	c.flags(fs)
	_ = fs.Set("log_level", "warn") // what the client sees already is enough
	endpoint := fs.String("server", "", "job endpoint of a running server (default: start one for this run)")
	python := fs.String("python", "", "the Python to run with (default: "+defaultPython+")")
	environment := fs.String("environment", "loopback", "where user code runs: loopback (in the pipeline's own process), process, docker")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return errors.New("run: name the pipeline's .py file, or -m MODULE after --")
	}
	p := &client{python: findPython(*python), endpoint: *endpoint, environment: *environment, args: fs.Args(), stdout: os.Stdout, stderr: os.Stderr}
	if p.endpoint == "" {
		s, err := startServerFor(c, p)
		if err != nil {
			return err
		}
		defer s.close()
	}
	return p.run(ctx)
}

// startServerFor starts a server of the client's own on a free port. Harnesses
// that it starts run the client's Python.
func startServerFor(c serveConfig, p *client) (*server, error) {
	c.jobPort = 0
	if err := os.Setenv("FRESNEL_PYTHON", p.python); err != nil {
		return nil, err
	}
	s, err := startServer(c, placeOfRun(c.dataDir))
	if err != nil {
		return nil, err
	}
	p.endpoint = s.endpoint
	return s, nil
}

// client is a pipeline's program.
type client struct {
	python      string
	endpoint    string // of the server
	environment string // where user code runs
	args        []string
	stdout      io.Writer
	stderr      io.Writer
}

// interruptGrace is what the program gets to end by itself.
const interruptGrace = 10 * time.Second

// run runs the program to its end; an exit status other than 0 is an exitCode.
func (p *client) run(ctx context.Context) error {
	hook, err := installHook()
	if err != nil {
		return err
	}
	defer os.RemoveAll(hook)
	cmd := exec.CommandContext(ctx, p.python, append(slices.Clone(p.args), p.options()...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, p.stdout, p.stderr
	cmd.Env = append(os.Environ(), p.environ(hook)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = interruptGrace
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exitCode(exit.ExitCode())
	}
	return fmt.Errorf("cannot run %s: %w (choose an interpreter with --python)", p.python, err)
}

// options are the pipeline options that lead a client here, but for those that
// the user gave.
func (p *client) options() []string {
	wanted := [][2]string{
		{"--runner", "PortableRunner"},
		{"--job_endpoint", p.endpoint},
		{"--environment_type", strings.ToUpper(p.environment)},
	}
	if strings.EqualFold(p.environment, "process") {
		wanted = append(wanted, [2]string{"--environment_config", `{"command": "fresnel boot"}`})
	}
	var add []string
	for _, o := range wanted {
		if !slices.ContainsFunc(p.args, func(a string) bool { return a == o[0] || strings.HasPrefix(a, o[0]+"=") }) {
			add = append(add, o[0]+"="+o[1])
		}
	}
	return add
}

// environ leads the client's external transforms here.
func (p *client) environ(hook string) []string {
	return []string{
		"BEAM_SERVICE_OVERRIDES=" + overrides(p.endpoint),
		"FRESNEL_ENDPOINT=" + p.endpoint,
		"PYTHONPATH=" + joined(string(os.PathListSeparator), hook, os.Getenv("PYTHONPATH")),
	}
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

// hook is Python that makes Beam take the overrides; it tells more itself.
//
//go:embed pyhook/sitecustomize.py
var hook []byte

// installHook puts the hook into a new directory.
func installHook() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "fresnel-run-"); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "sitecustomize.py"), hook, 0o644)
}

const defaultPython = "FRESNEL_PYTHON, the active virtual environment's, that of .venv here, python3"

// findPython chooses the interpreter: the one asked for, or else the default.
func findPython(asked string) string {
	for _, python := range []string{asked, os.Getenv("FRESNEL_PYTHON"), pythonOf(os.Getenv("VIRTUAL_ENV")), pythonOf(".venv")} {
		if python != "" {
			return python
		}
	}
	return "python3"
}

// pythonOf returns the interpreter of a virtual environment, if it has one.
func pythonOf(venv string) string {
	python, err := filepath.Abs(filepath.Join(venv, "bin", "python"))
	if _, missing := os.Stat(python); venv == "" || err != nil || missing != nil {
		return ""
	}
	return python
}
