package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/jobservice"
	"fresnel/runner"
)

func TestCheckSaysWhatIsWrongWithADirectory(t *testing.T) {
	t.Parallel()
	c := checker{out: &strings.Builder{}}
	missing := filepath.Join(t.TempDir(), "none")
	if err := c.check(missing); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("a directory that is not there: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	data, err := jobservice.OpenDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.check(dir); err == nil || !strings.Contains(err.Error(), "stop that server") {
		t.Errorf("a directory in use: %v", err)
	}
	if err := data.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.check(dir); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	job := filepath.Join(dir, "jobs", "job-1")
	if err := os.MkdirAll(job, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(job, "record"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	c = checker{out: &out}
	if err := c.check(dir); err == nil || !strings.Contains(out.String(), "job-1") || !strings.Contains(out.String(), "DAMAGED") {
		t.Errorf("a record of nonsense: %v, %s", err, out.String())
	}
	c.named = []string{"job-2"}
	if err := c.check(dir); err == nil || !strings.Contains(err.Error(), "job-2") {
		t.Errorf("a job that is not there: %v", err)
	}
}

// TestCheckTellsStateThatIsGone from state that was not made yet.
func TestCheckTellsStateThatIsGone(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	harnesses, err := fnapi.NewServer(fnapi.Config{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(harnesses.Close)
	c := checker{runner: runner.New(runner.Config{Harnesses: harnesses, Log: quiet})}
	impulse := &pipepb.PTransform{UniqueName: "i", Spec: &pipepb.FunctionSpec{Urn: "beam:transform:impulse:v1"}, Outputs: map[string]string{"o": "p"}}
	pipeline := &pipepb.Pipeline{RootTransformIds: []string{"i"}, Components: &pipepb.Components{
		Transforms:          map[string]*pipepb.PTransform{"i": impulse},
		Pcollections:        map[string]*pipepb.PCollection{"p": {UniqueName: "p", CoderId: "c", WindowingStrategyId: "w"}},
		Coders:              map[string]*pipepb.Coder{"c": {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:bytes:v1"}}, "g": {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:global_window:v1"}}},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{"w": {WindowFn: &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"}, WindowCoderId: "g", Trigger: &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{}}}},
	}}
	kept := jobservice.KeptJob{Phase: "runs", Durable: true, Submission: &jobservice.Submission{ID: "job-1", Pipeline: pipeline, Dir: filepath.Join(t.TempDir(), "state")}}
	if r := c.job(kept); r.Error != "" {
		t.Errorf("state that was not made yet: %s", r.Error)
	}
	kept.Submission.Begun = true
	if r := c.job(kept); !strings.Contains(r.Error, "cannot be read") || !strings.Contains(r.Error, kept.Submission.Dir) {
		t.Errorf("state that is gone: %q", r.Error)
	}
}
