package python

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// install puts a program under this name into dir that answers as a Python.
func install(t *testing.T, dir, name, version, beam string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	answer := fmt.Sprintf(`echo '{"path": "'$0'", "version": %q, "beam": %q, "sites": []}'`, version, beam)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+answer+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAPythonWithTheVersionsOfThePipelineIsChosen(t *testing.T) {
	dir, venv := t.TempDir(), t.TempDir()
	t.Setenv("FRESNEL_PYTHON", "")
	t.Setenv("VIRTUAL_ENV", venv)
	t.Setenv("PATH", dir)
	if _, err := Choose(t.Context(), "", Wanted{}); err == nil || !strings.Contains(err.Error(), "FRESNEL_PYTHON") {
		t.Errorf("without any Python: %v", err)
	}
	if _, err := Choose(t.Context(), "/no/such/python", Wanted{}); err == nil || !strings.Contains(err.Error(), "/no/such/python") {
		t.Errorf("with an absent Python: %v", err)
	}
	active := install(t, filepath.Join(venv, "bin"), "python", "3.11", "2.77.0")
	system := install(t, dir, "python3", "3.12", "2.60.0")
	install(t, dir, "python3.13", "3.13", "")
	for _, c := range []struct {
		name, asked string
		want        Wanted
		path        string
		install     string
		differs     bool
	}{
		{"nothing is known", "", Wanted{}, active, "", false},
		{"the active one fits", "", Wanted{"3.11", "2.77.0"}, active, "", false},
		{"another fits better", "", Wanted{"3.12", "2.60.0"}, system, "", false},
		{"only the Python is there", "", Wanted{"3.13", "2.61.0"}, filepath.Join(dir, "python3.13"), "apache-beam==2.61.0", false},
		{"another Beam on the same Python", "", Wanted{"3.12", "2.61.0"}, system, "apache-beam==2.61.0", false},
		{"nothing fits", "", Wanted{"3.10", "2.61.0"}, active, "", true},
		{"one is asked for", system, Wanted{"3.11", "2.77.0"}, system, "", true},
	} {
		got, err := Choose(t.Context(), c.asked, c.want)
		if err != nil || got.Path != c.path || got.Install != c.install || got.Differs != c.differs {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	t.Setenv("FRESNEL_PYTHON", system)
	if got, err := Choose(t.Context(), "", Wanted{}); err != nil || got.Path != system {
		t.Errorf("FRESNEL_PYTHON's: %+v, %v", got, err)
	}
}

func TestAPythonToInstallBeamForIsOneThatBeamSupports(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	install(t, dir, "python3", "3.8", "")
	if _, err := Bare(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "python3 is Python 3.8") {
		t.Errorf("only an old one: %v", err)
	}
	good := install(t, dir, "python3.12", "3.12", "")
	if i, err := Bare(t.Context(), ""); err != nil || i.Path != good {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestPythonWithoutBeamSaysSo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "python")
	for script, want := range map[string]string{
		`echo '{"path": "x", "version": "3.12", "beam": ""}'`: "(Python 3.12) has no apache-beam",
		`echo hello`:                           "does not answer as a Python",
		`echo "first\nlast words" >&2; exit 1`: "last words",
	} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := Choose(t.Context(), path, Wanted{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
