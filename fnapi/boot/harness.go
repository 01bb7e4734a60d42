package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/fnapi/boot/child"
	"fresnel/fnapi/boot/python"
	wheel "fresnel/python"
)

const (
	// cacheMB is the size of the harness's cache for state and side inputs where
	// the user sets none: without it, cache tokens are useless.
	cacheMB = "100"
	// stopGrace is what a harness gets to end by itself.
	stopGrace = 5 * time.Second
	// maxEnviron is how long a variable may be, for Beam versions that do not read
	// options from a file.
	maxEnviron = 100 << 10
)

// PlainHarness is the environment variable that, if it is set, has Python's harness
// be as Beam made it, without what modules change.
const PlainHarness = "FRESNEL_PLAIN_HARNESS"

// modules are those of the Python package that a harness has installed before it
// begins: each has an install.
var modules = map[string][]byte{
	"fresnel_commits":  wheel.Commits,
	"fresnel_elements": wheel.Elements,
	"fresnel_sampling": wheel.Sampling,
	"fresnel_sizes":    wheel.Sizes,
	"fresnel_turns":    wheel.Turns,
}

// harnessProgram runs Beam's entry point as "python -m" would. The handler that
// does nothing keeps Python from printing log records: importing Beam logs a
// warning, which would have all later records printed as well as sent to the
// runner.
func harnessProgram() string {
	return "import logging, os, runpy, sys; " +
		"logging.getLogger().addHandler(logging.NullHandler()); " + installation() +
		"runpy.run_module('apache_beam.runners.worker.sdk_worker_main', run_name='__main__', alter_sys=True)"
}

// installation is the program's part that installs the modules.
func installation() string {
	if os.Getenv(PlainHarness) != "" {
		return ""
	}
	names := slices.Sorted(maps.Keys(modules))
	return "sys.path.insert(0, os.environ['SEMI_PERSISTENT_DIRECTORY']); import " + strings.Join(names, ", ") + "; del sys.path[0]; " +
		strings.Join(names, ".install(); ") + ".install(); "
}

func runPython(ctx context.Context, cfg Config, info *fnpb.ProvisionInfo, interpreter python.Interpreter, dir string) error {
	env, err := harnessVariables(cfg, info, dir)
	for name, source := range modules {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".py"), source, 0o600)
		}
	}
	if err != nil {
		return err
	}
	return runHarness(ctx, cfg, child.Spec{Path: interpreter.Path, Args: []string{"-c", harnessProgram()}, Env: env})
}

// runHarness runs a harness, with the variables of its own added to ours, until
// it ends or ctx does.
func runHarness(ctx context.Context, cfg Config, spec child.Spec) error {
	spec.Env, spec.Line = append(python.Environ(), spec.Env...), cfg.Print
	if cfg.Output != nil {
		spec.Line, spec.Err = cfg.Output, cfg.Print
	}
	p, err := child.Start(spec)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", spec.Path, err)
	}
	if cfg.Started != nil {
		cfg.Started()
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop(stopGrace)
		return nil
	}
	if p.Err() != nil {
		return fmt.Errorf("the SDK harness ended: %w%s", p.Err(), child.Hint(p.Err()))
	}
	return nil
}

// harnessVariables are the environment variables that Beam's harnesses are
// configured with.
func harnessVariables(cfg Config, info *fnpb.ProvisionInfo, dir string) ([]string, error) {
	options, err := json.Marshal(withCache(info.GetPipelineOptions().AsMap()))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, optionsFile)
	if err := writePrivate(file, options); err != nil {
		return nil, err
	}
	env := []string{
		"WORKER_ID=" + cfg.ID, "HARNESS_ID=" + cfg.ID, // Python's, Java's
		"PIPELINE_OPTIONS_FILE=" + file,
		"SEMI_PERSISTENT_DIRECTORY=" + dir,
		"CONTROL_API_SERVICE_DESCRIPTOR=" + descriptor(cfg.Control),
		"RUNNER_CAPABILITIES=" + strings.Join(info.GetRunnerCapabilities(), " "),
		"JOB_ID=" + info.GetMetadata()["job_id"],
		"JOB_NAME=" + info.GetMetadata()["job_name"],
		"PYTHONUNBUFFERED=1", // prints are seen when they happen
	}
	if len(options) < maxEnviron {
		env = append(env, "PIPELINE_OPTIONS="+string(options))
	}
	if cfg.Logging != "" {
		env = append(env, "LOGGING_API_SERVICE_DESCRIPTOR="+descriptor(cfg.Logging))
	}
	if status := info.GetStatusEndpoint().GetUrl(); status != "" {
		env = append(env, "STATUS_API_SERVICE_DESCRIPTOR="+descriptor(status), "STATUS_ENDPOINT="+status) // Python's, Go's
	}
	return env, nil
}

// optionsFile is the name of the file with the pipeline's options.
const optionsFile = "pipeline_options.json"

// writePrivate writes a file that its owner alone can read, whatever was there
// under its name.
func writePrivate(file string, content []byte) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// descriptor is an ApiServiceDescriptor in text format.
func descriptor(endpoint string) string { return "url: " + strconv.Quote(endpoint) }

// withCache sets the size of the state cache where the user left it at its
// default, which is 0 and is sent like any other value.
func withCache(options map[string]any) map[string]any {
	const name = "beam:option:max_cache_memory_usage_mb:v1"
	set := make(map[string]any, len(options)+1)
	maps.Copy(set, options)
	if v := fmt.Sprint(set[name]); set[name] == nil || v == "0" {
		set[name] = cacheMB
	}
	return set
}
