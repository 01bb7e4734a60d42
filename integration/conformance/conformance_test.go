// Package conformance runs Beam's own test suites, as they are, against
// Fresnel. A test that fails and is not in testdata/excluded.txt, with the
// reason, fails the Go test; so does a listed one that passes.
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// root is the top of the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(dir))
}

// python is the interpreter of the module's virtual environment.
func python(t *testing.T) string {
	t.Helper()
	path := filepath.Join(root(t), ".venv", "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no .venv with Beam: make venv")
	}
	return path
}

// fresnel builds the binary that the suites start.
func fresnel(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "fresnel")
	cmd := exec.Command("go", "build", "-o", bin, "fresnel/cmd/fresnel")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// plugin puts the conftest of Beam's sources where pytest finds it as a plugin:
// the packages on PyPI come without it.
func plugin(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/apache/beam/sdks/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "python", "conftest.py"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "beam_conftest.py"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// suite is one run of pytest.
type suite struct {
	// name prefixes the suite's lines in excluded.txt.
	name string
	// args choose the tests, options are the test pipelines'.
	args    []string
	options string
	limit   time.Duration
}

// run runs the suite and prints pytest's closing line.
func (s suite) run(t *testing.T, env ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), s.limit)
	defer cancel()
	dir := plugin(t)
	args := append([]string{"-m", "pytest", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider", "-p", "beam_conftest", "--timeout=180"}, s.args...)
	cmd := exec.CommandContext(ctx, python(t), append(args, "--test-pipeline-options="+s.options)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, "PYTHONPATH="+dir)...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end within %v\n%s", s.name, s.limit, tail(out))
	}
	t.Logf("%s: %s", s.name, closingLine(out))
	failed := results(out, "FAILED")
	if err != nil && len(failed) == 0 {
		t.Fatalf("%s: %v\n%s", s.name, err, tail(out))
	}
	s.judge(t, failed, results(out, "PASSED"), out)
}

// judge compares what failed with what may.
func (s suite) judge(t *testing.T, failed, passed []string, out []byte) {
	excluded := exclusions(t, s.name)
	unexpected := false
	for _, name := range failed {
		if !slices.Contains(excluded, name) {
			t.Errorf("%s: %s failed", s.name, name)
			unexpected = true
		}
	}
	for _, name := range excluded {
		if slices.Contains(passed, name) {
			t.Errorf("%s: %s is excluded, and passes", s.name, name)
		}
	}
	if len(passed) == 0 {
		t.Errorf("%s: no test passed", s.name)
	}
	if unexpected {
		t.Logf("%s", tail(out))
	}
}

// exclusions reads the names of a suite in excluded.txt: "suite test: reason".
func exclusions(t *testing.T, suite string) []string {
	t.Helper()
	f, err := os.Open("testdata/excluded.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		test, reason, ok := strings.Cut(line, ": ")
		of, name, ok2 := strings.Cut(test, " ")
		if !ok || !ok2 || reason == "" {
			t.Fatalf("excluded.txt: %q is not \"suite test: reason\"", line)
		}
		if of == suite {
			names = append(names, name)
		}
	}
	return names
}

var resultLine = regexp.MustCompile(`(?m)^(PASSED|FAILED) \S*::([\w\[\]-]+)`)

// results are the names of the tests that pytest's summary lists so.
func results(out []byte, kind string) []string {
	var names []string
	for _, m := range resultLine.FindAllSubmatch(out, -1) {
		if string(m[1]) == kind {
			names = append(names, string(m[2]))
		}
	}
	return names
}

// closingLine is pytest's last line with counts.
func closingLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(lines[len(lines)-1])
}

// tail is the end of an output, enough to see why.
func tail(out []byte) string {
	const most = 20_000
	return string(out[max(0, len(out)-most):])
}

func TestPrismRunnerTest(t *testing.T) {
	suite{
		name: "prism", args: []string{"--pyargs", "apache_beam.runners.portability.prism_runner_test"},
		options: "--prism_bin=" + fresnel(t) + " --environment_type=LOOPBACK", limit: 15 * time.Minute,
	}.run(t)
}
