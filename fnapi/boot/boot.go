// Package boot starts Python SDK harnesses: what the boot program of Beam's
// containers does inside an image, here for a local process.
//
// Run fetches what the runner has for the worker (provision info, artifacts),
// finds or makes a Python environment that has the job's dependencies, and
// runs Beam's harness in it until it ends. Service does so for whoever asks:
// it is a BeamFnExternalWorkerPool.
//
//	provision.go     what the runner says of the worker
//	artifact.go      the job's files → DIR/staged
//	interpreter.go   which Python
//	venv.go          staged requirements and packages → a venv, kept by hash
//	harness.go       the environment variables, the process
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
	// Python is the interpreter asked for; empty leaves it to FindPython.
	Python string
	// Print receives what the harness and the installation print, by lines.
	Print func(line string)
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
	options := info.GetPipelineOptions().AsMap()
	python, err := FindPython(ctx, asked(cfg.Python, options))
	if err != nil {
		return err
	}
	python, err = python.with(ctx, dependencies(files, staged), cfg.Print)
	if err != nil {
		return fmt.Errorf("cannot install the job's dependencies: %w", err)
	}
	return runHarness(ctx, cfg, info, python, dir)
}

// workDir is the directory to work in and what to do with it at the end.
func workDir(dir string) (string, func(), error) {
	if dir != "" {
		return dir, func() {}, os.MkdirAll(dir, 0o700)
	}
	dir, err := os.MkdirTemp("", "fresnel-worker-")
	return dir, func() { _ = os.RemoveAll(dir) }, err // what stays is in a temporary directory
}
