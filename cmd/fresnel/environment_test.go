package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write writes a file below dir and returns its path.
func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// venvWith makes what looks like a virtual environment with Beam.
func venvWith(t *testing.T, dir string) (python string) {
	t.Helper()
	write(t, dir, "lib/python3.11/site-packages/apache_beam/version.py", "", 0o644)
	return write(t, dir, "bin/python", "", 0o755)
}

const pythonWithoutBeam = "#!/bin/sh\n" + `echo '{"path": "'$0'", "version": "3.12", "beam": "", "sites": []}'` + "\n"

func TestTheNearestEnvironmentWithBeamIsTaken(t *testing.T) {
	here, beside, active := t.TempDir(), t.TempDir(), t.TempDir()
	t.Chdir(here)
	t.Setenv("FRESNEL_PYTHON", "")
	activePython, herePython := venvWith(t, active), venvWith(t, filepath.Join(here, ".venv"))
	besidePython := venvWith(t, filepath.Join(beside, ".venv"))
	find := func(dir, asked string) string {
		t.Helper()
		env, err := program{dir: dir}.findPython(t.Context(), asked, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		return env.Path
	}
	t.Setenv("VIRTUAL_ENV", active)
	if got := find(beside, ""); got != activePython {
		t.Errorf("active: got %s", got)
	}
	t.Setenv("VIRTUAL_ENV", "")
	if got := find(beside, ""); got != besidePython {
		t.Errorf("beside: got %s", got)
	}
	if got := find(".", ""); got != herePython {
		t.Errorf("here: got %s", got)
	}
	if got := find(".", "python9"); got != "python9" {
		t.Errorf("asked: got %s", got)
	}
	t.Setenv("FRESNEL_PYTHON", "python8")
	if got := find(".", ""); got != "python8" {
		t.Errorf("the variable: got %s", got)
	}
}

func TestAnEnvironmentIsMadeFromWhatLiesBesideTheProgram(t *testing.T) {
	bin := t.TempDir()
	target, err := filepath.EvalSymlinks("../../.venv/bin/python")
	if err != nil {
		t.Skip("make venv")
	}
	if err := os.Symlink(target, filepath.Join(bin, "python3")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	for _, c := range []struct {
		name, file, text, extra string
		want                    []string
	}{
		{"requirements without Beam", "requirements.txt", "numpy==2.3.5\n", "", []string{"-r", "apache-beam==2.77.0"}},
		{"requirements with Beam", "requirements.txt", "apache_beam==2.60.0\n", "", []string{"-r"}},
		{"requirements that include Beam", "requirements.txt", "-r more.txt\n", "", []string{"-r"}},
		{"requirements that limit Beam", "requirements.txt", "-c limits.txt\n", "", []string{"-r", "apache-beam"}},
		{"requirements with a package of one's own", "requirements.txt", "./own\n", "", []string{"-r", "apache-beam<=2.77.0"}},
		{"for YAML", "requirements.txt", "apache-beam==2.60.0\n", "yaml", []string{"-r", "apache-beam[yaml]"}},
		{"a project", "pyproject.toml", "[project]\nname = 'x'\ndependencies = ['numpy>=2', 'apache-beam']\n", "", []string{"numpy>=2", "apache-beam"}},
		{"a project without Beam", "pyproject.toml", "[project]\nname = 'x'\n", "", []string{"apache-beam==2.77.0"}},
	} {
		dir := t.TempDir()
		path := write(t, dir, c.file, c.text, 0o644)
		write(t, dir, "more.txt", "apache-beam==2.60.0\n", 0o644)
		write(t, dir, "limits.txt", "apache_beam<2.70\n", 0o644)
		write(t, dir, "own/pyproject.toml", "", 0o644)
		r, err := program{dir: dir, extra: c.extra}.recipe(t.Context())
		if err != nil || r == nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := slices.DeleteFunc(r.Steps[0].Tries[0], func(a string) bool { return a == path })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	for text, want := range map[string]string{
		"[tool.x]\n": "[project]",
		"[project]\ndynamic = ['dependencies']\n":     "dynamic",
		"[project]\ndependencies = ['numpy', oops]\n": "line 2",
		"[project]\nrequires-python = '>=3.99'\n":     "python3 is Python 3.11",
	} {
		dir := filepath.Dir(write(t, t.TempDir(), "pyproject.toml", text, 0o644))
		if _, err := (program{dir: dir}).recipe(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOtherRequirementsAreAnotherEnvironment(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(write(t, t.TempDir(), "python3", pythonWithoutBeam, 0o755)))
	dir := t.TempDir()
	write(t, dir, "requirements.txt", "-r more.txt\n", 0o644)
	key := func(more string) string {
		write(t, dir, "more.txt", more, 0o644)
		r, err := program{dir: dir}.recipe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r.Key
	}
	one, two, oneAgain := key("numpy==1"), key("numpy==2"), key("numpy==1")
	if one == two {
		t.Error("what an included file says does not count")
	}
	if one != oneAgain {
		t.Error("the same is not the same")
	}
}
