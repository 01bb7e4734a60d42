package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"fresnel/internal/scratch"
	"fresnel/jobservice/jobclient"
	wheel "fresnel/python"
)

// runConfig is what the flags of run set.
type runConfig struct {
	serveConfig
	server      string
	python      string
	environment string
	progress    string
	json        bool
	detach      bool
	from        string
}

const runUsage = `usage: fresnel run [flags] pipeline.py [its own options]
       fresnel run [flags] pipeline.yaml|-m MODULE [its own options]

  fresnel run wordcount.py --input=book.txt --output=counts
  fresnel run --environment=process wordcount.py       a process for each core, in place of threads of the program
  fresnel run --server=localhost:8073 --detach live.py leave a job on a server: "fresnel jobs" looks after it

Flags come before the program, its own options behind it.
`

const runStatuses = `
Exit status: that of the program; 1 also if a job failed that it did not wait for, 2 for a command line that cannot be understood,
3 if there is no Python or its packages cannot be installed, 4 if no server answers, 130 if Ctrl-C cancelled.
`

func (c *runConfig) parse(args []string) (program, error) {
	fs := flag.NewFlagSet("fresnel run", flag.ContinueOnError)
	c.flags(fs)
	setDefault(fs, "log_level", "warn") // what the client sees already is enough
	fs.StringVar(&c.server, "server", "", "job endpoint of a running server (default: start one for this run)")
	fs.StringVar(&c.python, "python", "", "the Python to run with (default: "+defaultPython+")")
	fs.StringVar(&c.environment, "environment", "loopback", "where user code runs: loopback (in the pipeline's own process), process, docker")
	fs.StringVar(&c.progress, "progress", "auto", "how progress is shown: auto (live on a terminal, else lines), plain (lines), none")
	fs.BoolVar(&c.json, "json", false, "tell progress in JSON, a value a line, on stdout; what the program prints goes to stderr")
	fs.BoolVar(&c.detach, "detach", false, "leave once the job runs; it needs --server, and an environment other than loopback")
	fs.StringVar(&c.from, "from", "", "go on from the state of this job, which was stopped with fresnel jobs stop --savepoint; it needs --server or --data-dir")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), runUsage+"\n")
		printFlags(fs, "\nOf the server that is started for this run, where --server names none:",
			"server", "python", "environment", "detach", "from", "progress", "json")
		fmt.Fprint(fs.Output(), runStatuses)
	}
	flags, words := splitProgram(fs, args)
	if err := parse(fs, flags); err != nil {
		return program{}, err
	}
	return c.check(newProgram(words))
}

func (c *runConfig) check(p program, err error) (program, error) {
	switch {
	case err != nil:
	case !slices.Contains([]string{"auto", "plain", "none"}, c.progress):
		err = usageError{fmt.Errorf("run: --progress=%s is none of auto, plain, none", c.progress)}
	case !slices.Contains([]string{"loopback", "process", "docker"}, strings.ToLower(c.environment)):
		err = usageError{fmt.Errorf("run: --environment=%s is none of loopback, process, docker (EXTERNAL is a pipeline's own option: --environment_type)", c.environment)}
	case c.detach && c.server == "":
		err = usageError{errors.New("run: --detach needs a server that goes on: start one with `fresnel`, and name it with --server=" + defaultServer)}
	case c.from != "" && c.server == "" && c.dataDir == "":
		err = usageError{errors.New("run: --from needs the server that has kept the job (--server=" + defaultServer + "), or its data directory (--data-dir), if no server has it")}
	case (c.detach || c.from != "") && strings.EqualFold(c.environment, "loopback"):
		c.environment = "process" // a loopback harness ends with the program
	}
	return p, err
}

// runPipeline runs a pipeline's own program against an embedded server, or one
// that runs, with all that its client needs to find it.
func runPipeline(_ context.Context, args []string) error {
	var c runConfig
	p, err := c.parse(args)
	if err != nil {
		return err
	}
	if err := p.exists(); err != nil {
		return err
	}
	w := newWatch(c) // it takes signals from here on
	defer w.close()
	if c.server != "" {
		if err := answers(w.ctx, c.server); err != nil {
			return err
		}
	}
	env, err := p.findPython(w.ctx, c.python, w.say)
	if err != nil {
		return err
	}
	defer env.Release()
	cl := &client{python: env.Path, endpoint: c.server, environment: c.environment, name: p.name(), from: c.from, args: p.args, stdout: w.stdout, stderr: w.stderr}
	if cl.endpoint == "" {
		c.printed = w.stdout
		s, err := startServerFor(c.serveConfig, cl)
		if err != nil {
			return err
		}
		defer s.close()
	}
	return w.run(cl)
}

// answers asks if a server is there: Beam's client would wait for it for ever,
// without a word.
func answers(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	client, err := jobclient.Dial(endpoint)
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err = client.Jobs(ctx); err != nil && ctx.Err() != nil {
		return fmt.Errorf("job endpoint %s: %w within %s", endpoint, jobclient.ErrAway, answerPatience)
	}
	return err
}

const answerPatience = 10 * time.Second

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
	name        string // of its jobs
	from        string // the job to go on from
	args        []string
	stdout      io.Writer
	stderr      io.Writer
	hook        string // the directory of the hook, once it is installed
}

// interruptGrace is what the program gets to end by itself.
const interruptGrace = 10 * time.Second

// run runs the program to its end; an exit status other than 0 is an exitCode.
func (p *client) run(ctx context.Context) error {
	remove, err := p.installHook()
	if err != nil {
		return err
	}
	defer remove()
	cmd := exec.CommandContext(ctx, p.python, p.args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, p.stdout, p.stderr
	cmd.Env = append(os.Environ(), p.environ()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = interruptGrace
	cmd.SysProcAttr = followsUs()
	runtime.LockOSThread() // which lives until the program has ended
	err = cmd.Run()
	runtime.UnlockOSThread()
	var exit *exec.ExitError
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exitCode(exit.ExitCode())
	case errors.As(err, &exit):
		return fmt.Errorf("the pipeline's program ended by %w", err)
	}
	return environmentError{fmt.Errorf("cannot run %s: %w (choose an interpreter with --python)", p.python, err)}
}

// options are the pipeline options that lead a client here. The hook gives them
// to pipelines, where they say nothing else, and not to the program as words:
// it may read its words strictly, or not hand them to its pipeline.
func (p *client) options() map[string]string {
	all := map[string]string{
		"runner":           "PortableRunner",
		"job_endpoint":     p.endpoint,
		"environment_type": strings.ToUpper(p.environment),
	}
	if p.name != "" {
		all["job_name"] = p.name
	}
	if p.from != "" {
		all["restore_from"] = p.from
	}
	if strings.EqualFold(p.environment, "process") {
		all["environment_config"] = p.process()
		// Workers install what requirements say themselves, once: without the cache
		// nothing is downloaded or staged for each submission.
		all["requirements_cache"] = "skip"
	}
	return all
}

// process is the configuration of a PROCESS environment. A server on this
// machine runs workers in the program's own Python.
func (p *client) process() string {
	config := map[string]any{"command": "fresnel boot"}
	host, _, _ := net.SplitHostPort(p.endpoint)
	if python, err := exec.LookPath(p.python); err == nil && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, host) {
		config["env"] = map[string]string{"FRESNEL_PYTHON": absolute(python)}
	}
	b, _ := json.Marshal(config) // strings always encode
	return string(b)
}

func absolute(path string) string {
	if all, err := filepath.Abs(path); err == nil {
		return all
	}
	return path
}

// environ leads the client's pipelines and external transforms here.
func (p *client) environ() []string {
	options, _ := json.Marshal(p.options()) // a map of strings always encodes
	env := []string{
		"FRESNEL_PIPELINE_OPTIONS=" + string(options),
		"BEAM_SERVICE_OVERRIDES=" + overrides(p.endpoint),
		"FRESNEL_ENDPOINT=" + p.endpoint,
		"PYTHONPATH=" + joined(string(os.PathListSeparator), p.hook, os.Getenv("PYTHONPATH")),
	}
	if os.Getenv("PYTHONUNBUFFERED") == "" {
		env = append(env, "PYTHONUNBUFFERED=1") // what it prints is seen when it happens
	}
	return env
}

// overriddenTargets are the Java expansion services that the job endpoint stands
// in for. The Python package has the same list.
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

// installHook puts the hook into a new directory, if that is not done.
func (p *client) installHook() (remove func(), err error) {
	if p.hook != "" {
		return func() {}, nil
	}
	p.hook, remove, err = scratch.Dir("fresnel-run-")
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{"sitecustomize": hook, "fresnel_elements": wheel.Elements, "fresnel_leaving": wheel.Leaving,
		"fresnel_sampling": wheel.Sampling} {
		err = errors.Join(err, os.WriteFile(filepath.Join(p.hook, name+".py"), text, 0o644))
	}
	if err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}
