package boot

import (
	"context"
	"os"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/fnapi/boot/child"
)

// goWorker is the name of the staged Go harness, empty if there is none.
func goWorker(files []file) string {
	for _, f := range files {
		if f.goWorker {
			return f.name
		}
	}
	return ""
}

// runGo runs a Go pipeline's binary, with the flags that make a harness of it.
func runGo(ctx context.Context, cfg Config, info *fnpb.ProvisionInfo, binary, dir string) error {
	if err := os.Chmod(binary, 0o700); err != nil {
		return err
	}
	env, err := harnessVariables(cfg, info, dir)
	if err != nil {
		return err
	}
	return runHarness(ctx, cfg, child.Spec{Path: binary, Env: env, Args: []string{
		"--worker=true", "--id=" + cfg.ID, "--logging_endpoint=" + cfg.Logging, "--control_endpoint=" + cfg.Control,
		"--semi_persist_dir=" + dir,
	}})
}
