package run_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fresnel/integration/cdn/rig"
)

// versions are releases of Beam that `make versions` runs: the oldest that is
// supported, one between, and that of the other tests.
var versions = []string{"2.60.0", "2.69.0", "2.77.0"}

// TestVersions runs a word count and a stateful pipeline with clients and workers
// of several releases. Each is installed into .cache/beam once, which takes
// minutes.
func TestVersions(t *testing.T) {
	if os.Getenv("FRESNEL_VERSIONS") == "" {
		t.Skip("`make versions` runs this")
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(root, "LICENSE")
	want := ""
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			python := installed(t, root, v)
			for _, environment := range []string{"loopback", "process"} {
				run := []string{fresnel(t), "run", "--python=" + python, "--environment=" + environment}
				out := output(t, nil, append(run, "testdata/stateful.py", "--save_main_session")...)
				if !strings.Contains(out, "apache-beam "+v+"\n") {
					t.Errorf("%s: not that release:\n%s", environment, out)
				}
				counts := filepath.Join(t.TempDir(), "counts")
				output(t, nil, append(run, "-m", "apache_beam.examples.wordcount", "--input="+text, "--output="+counts)...)
				got := sortedLines(t, counts)
				if want == "" {
					want = got
				}
				if got != want || got == "" {
					t.Errorf("%s: counts differ from those of %s", environment, versions[0])
				}
				t.Logf("apache-beam %s, %s: word count and stateful pipeline are as expected%s", v, environment, differences(out))
			}
		})
	}
}

// differences are the warnings that a release gives.
func differences(out string) string {
	var told []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "WARN") {
			told = append(told, strings.TrimSpace(line))
		}
	}
	if len(told) == 0 {
		return ""
	}
	return "; it warns:\n  " + strings.Join(told, "\n  ")
}

// installed is the Python of an environment with that release.
func installed(t *testing.T, root, version string) string {
	t.Helper()
	if version == versions[len(versions)-1] {
		return python(t)
	}
	dir := filepath.Join(root, ".cache", "beam", version)
	path := filepath.Join(dir, "bin", "python")
	if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
		return path
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	output(t, nil, python(t), "-m", "venv", dir)
	output(t, nil, path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "apache-beam=="+version, "setuptools<81")
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// sortedLines are the lines of all files that begin with a path, sorted.
func sortedLines(t *testing.T, prefix string) string {
	t.Helper()
	files, err := filepath.Glob(prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	return strings.Join(slices.Sorted(slices.Values(lines)), "\n")
}
