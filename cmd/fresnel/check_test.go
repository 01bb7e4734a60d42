package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fresnel/jobservice"
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
