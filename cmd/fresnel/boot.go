package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"fresnel/fnapi/boot"
)

// bootHarness is the entry point of PROCESS environments. Its flags are those
// of Beam's containers.
func bootHarness(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("fresnel boot", flag.ContinueOnError)
	cfg := boot.Config{
		Output: func(line string) { fmt.Println(line) },
		Print:  func(line string) { fmt.Fprintln(os.Stderr, line) },
	}
	fs.StringVar(&cfg.ID, "id", "", "the worker's id (required)")
	fs.StringVar(&cfg.Provision, "provision_endpoint", "", "where the runner provisions workers, as host:port (required)")
	fs.StringVar(&cfg.Logging, "logging_endpoint", "", "where the runner takes logs (default: from the provision info, as the next two)")
	fs.StringVar(&cfg.Artifact, "artifact_endpoint", "", "where the runner has the job's files")
	fs.StringVar(&cfg.Control, "control_endpoint", "", "where the runner controls workers")
	fs.StringVar(&cfg.Dir, "semi_persist_dir", "", "where the job's files go (default: a temporary directory)")
	fs.StringVar(&cfg.Python, "python", "", "the Python to use (default: FRESNEL_PYTHON, the active virtual environment's, python3)")
	if err := parse(fs, args); err != nil {
		return err
	}
	err := boot.Run(ctx, cfg)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitCode(exit.ExitCode())
	}
	return err
}
