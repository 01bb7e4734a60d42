// Package rig runs Fresnel and pipelines as its users do, as processes, for
// tests and measurements of the CDN example:
//
//	binary := rig.Build(...)                        // fresnel, from this source
//	server := rig.StartServer(binary, log)          // fresnel serve
//	client := server.Submit(rig.Pipeline{...}, log) // python pipeline.py ...
//	...                                             // look at the table, kill workers
//	server.Drain(ctx)
//	<-client.Exited()
//
// What a process prints goes to a file, and can be read while it runs. Every
// process ends with ours.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Root is the directory of the module that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod here or above")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// Build builds the command fresnel into dir and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "fresnel")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/fresnel")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build fresnel: %w\n%s", err, out)
	}
	return binary, nil
}

// Python is the interpreter that `make venv` makes.
func Python() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	python := filepath.Join(root, ".venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return "", errors.New("no Python environment: run `make venv`")
	}
	return python, nil
}
