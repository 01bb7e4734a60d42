package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestRunAddsOnlyOptionsThatTheUserDidNotGive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		environment string
		args, want  []string
	}{
		{"loopback", []string{"p.py", "--x=1"}, []string{"--runner=PortableRunner", "--job_endpoint=h:1", "--environment_type=LOOPBACK"}},
		{"loopback", []string{"p.py", "--runner", "FlinkRunner", "--environment_type=EXTERNAL"}, []string{"--job_endpoint=h:1"}},
		{"process", []string{"p.py"}, []string{"--runner=PortableRunner", "--job_endpoint=h:1", "--environment_type=PROCESS",
			`--environment_config={"command": "fresnel boot"}`}},
	} {
		p := &client{endpoint: "h:1", environment: c.environment, args: c.args}
		if got := p.options(); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
}

func TestPythonOfTheActiveEnvironmentComesBeforeThatOfTheDirectory(t *testing.T) {
	here, active := t.TempDir(), t.TempDir()
	t.Chdir(here)
	for _, venv := range []string{filepath.Join(here, ".venv"), active} {
		if err := os.MkdirAll(filepath.Join(venv, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(venv, "bin", "python"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("FRESNEL_PYTHON", "")
	t.Setenv("VIRTUAL_ENV", active)
	if got, want := findPython(""), filepath.Join(active, "bin", "python"); got != want {
		t.Errorf("active: got %s, want %s", got, want)
	}
	t.Setenv("VIRTUAL_ENV", "")
	if got, want := findPython(""), filepath.Join(here, ".venv", "bin", "python"); got != want {
		t.Errorf("here: got %s, want %s", got, want)
	}
	if got := findPython("python9"); got != "python9" {
		t.Errorf("asked: got %s", got)
	}
	t.Chdir(active)
	if got := findPython(""); got != "python3" {
		t.Errorf("none: got %s", got)
	}
}
