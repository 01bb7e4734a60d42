// Package boot starts Python, Java and Go SDK harnesses: what the boot programs of
// Beam's containers do inside an image, here for a local process.
//
// Run fetches what the runner has for the worker (provision info, artifacts),
// finds or makes a Python environment that has the job's dependencies, and
// runs Beam's harness in it until it ends. Where one of the artifacts is a Go
// pipeline's binary, that is the harness; those of a Java pipeline have it in them.
// Service does so for whoever asks: it is a BeamFnExternalWorkerPool.
//
//	provision.go     what the runner says of the worker
//	artifact.go      the job's files → DIR/staged
//	needs.go         staged requirements and packages → what to install
//	python/          which Python; venvs, kept by hash
//	harness.go       the environment variables, the process
//	gobinary.go      a Go pipeline's binary as its harness
//	java.go          a Java pipeline's jars and the harness in them
//	service.go       the worker pool
//
// It knows the protocol of Beam's container contract and no more of the
// runner.
package boot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/fnapi/boot/python"
	"fresnel/internal/scratch"
)

// Config is the command line of a container's entry point. Only ID and
// Provision are needed: the provision info has the other endpoints.
type Config struct {
	// ID is the worker's id, and all that it is recognised by.
	ID string
	// Provision, Logging, Artifact and Control are endpoints, as host:port.
	Provision, Logging, Artifact, Control string
	// Dir is where the job's files go; a directory of its own that is removed
	// at the end if it is empty.
	Dir string
	// Python is the interpreter asked for; empty leaves it to python.Choose.
	Python string
	// Print receives what the harness and the installation print, by lines.
	Print func(line string)
	// Output receives, in place of Print, what the harness writes to its stdout, if
	// set.
	Output func(line string)
	// Started is called once the harness's process runs, if set.
	Started func()
}

// Run runs one harness until it ends or ctx does. The error of a harness that
// ends badly is an *exec.ExitError in the chain.
func Run(ctx context.Context, cfg Config) error {
	info, err := provision(ctx, &cfg)
	if err != nil {
		return err
	}
	dir, remove, err := workDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer remove()
	staged := filepath.Join(dir, "staged")
	files, err := fetch(ctx, cfg, info.GetDependencies(), staged)
	if err != nil {
		return fmt.Errorf("cannot fetch the job's files from %s: %w", cfg.Artifact, err)
	}
	if binary := goWorker(files); binary != "" {
		return runGo(ctx, cfg, info, filepath.Join(staged, binary), dir)
	}
	if IsJava(info.GetMetadata()[MetadataSDK]) {
		return runJava(ctx, cfg, info, files, dir)
	}
	env, err := environment(ctx, cfg, info, dependencies(files, staged))
	if err != nil {
		return err
	}
	defer env.Release()
	return runPython(ctx, cfg, info, env.Interpreter, dir)
}

// environment is the Python that the harness runs in.
func environment(ctx context.Context, cfg Config, info *fnpb.ProvisionInfo, needed needs) (python.Environment, error) {
	want := WantedBy(info.GetMetadata()[MetadataSDK])
	base, err := python.Choose(ctx, asked(cfg.Python, info.GetPipelineOptions().AsMap()), want)
	if err != nil {
		return python.Environment{}, err
	}
	release := func() {}
	if base.Install != "" {
		cfg.say(fmt.Sprintf("no Python here has what the pipeline was made with (%s): installing it", want))
		env, err := Standalone(base).Make(ctx, cfg.Print)
		if err != nil {
			return env, fmt.Errorf("cannot install %s: %w", base.Install, err)
		}
		base.Interpreter, release = env.Interpreter, env.Release
	}
	if base.Differs {
		cfg.say(fmt.Sprintf("the pipeline was made with %s, this worker is Python %s, apache-beam %s: what was pickled there may not load here",
			want, base.Version, base.Beam))
	}
	env, err := needed.install(ctx, base.Interpreter, cfg.Print)
	if err != nil {
		release()
		return env, fmt.Errorf("cannot install the job's dependencies: %w", err)
	}
	inner := env.Release
	env.Release = func() { inner(); release() }
	return env, nil
}

// Standalone is the environment of a choice that has to be made first.
func Standalone(c python.Choice) python.Recipe {
	return python.Recipe{Base: c.Interpreter, Key: c.Install, Steps: []python.Step{{What: c.Install, Tries: [][]string{{c.Install}}}}}
}

// Entries of the provision info's metadata.
const (
	// MetadataSDK names the image that the pipeline's SDK is made for.
	MetadataSDK = "sdk_base"
	// MetadataWorkers is how many workers of its kind share this machine.
	MetadataWorkers = "workers"
)

var sdkImage = regexp.MustCompile(`beam_python(\d+\.\d+)_sdk:(\d+\.\d+\.\d+)`)

// WantedBy reads the versions in the name of an image of Beam's.
func WantedBy(image string) python.Wanted {
	if m := sdkImage.FindStringSubmatch(image); m != nil {
		return python.Wanted{Python: m[1], Beam: m[2]}
	}
	return python.Wanted{}
}

// asked is the interpreter that the user named: on the command line, in the
// environment, or in the pipeline options as fresnel_python.
func asked(flag string, options map[string]any) string {
	if flag != "" {
		return flag
	}
	if env := os.Getenv("FRESNEL_PYTHON"); env != "" {
		return env
	}
	for _, name := range []string{"beam:option:fresnel_python:v1", "fresnel_python"} {
		if s, ok := options[name].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

func (c Config) say(line string) {
	if c.Print != nil {
		c.Print(line)
	}
}

// workDir is the directory to work in and what to do with it at the end: the
// options, which may hold passwords, do not stay. Those of a worker that is killed
// stay until the next one starts.
func workDir(dir string) (string, func(), error) {
	if dir != "" {
		return dir, func() { _ = os.Remove(filepath.Join(dir, optionsFile)) }, os.MkdirAll(dir, 0o700) // it may not have been written
	}
	return scratch.Dir("fresnel-worker-")
}
