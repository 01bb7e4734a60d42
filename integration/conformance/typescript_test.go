package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTypeScriptSuites runs the tests of Beam's TypeScript SDK, in the process of
// which the workers are (LOOPBACK). "@ulr" are those that it has for a portable
// runner; the others ask for a runner by name, which testdata/portable.js answers.
// Those with Python's transforms have them expanded by a service of Beam's.
func TestTypeScriptSuites(t *testing.T) {
	sdk := typescript(t)
	endpoint := serve(t, buildFresnel(t))
	expansion := "localhost:" + serveExpansion(t, "expansion_service_main", "--fully_qualified_name_glob=*")
	for _, s := range []typescriptSuite{
		{file: "primitives_test", only: "@ulr", portable: true},
		{file: "combine_test"},
		{file: "wordcount"},
		{file: "docs/programming_guide"},
		{file: "io_test"},
	} {
		t.Run(filepath.Base(s.file), func(t *testing.T) { s.run(t, sdk, endpoint, expansion) })
	}
}

// typescriptSuite is a file of tests, below the SDK's dist/test.
type typescriptSuite struct {
	file string
	// only, if set, is a pattern of the titles that are run.
	only string
	// portable says that the tests ask for a portable runner by themselves.
	portable bool
}

// typescript is where `make tssuites` has built the SDK; without it the test is
// skipped.
func typescript(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(module(t), ".cache", "typescript")
	if _, err := os.Stat(filepath.Join(dir, "ready")); err != nil {
		t.Skip("Beam's TypeScript SDK is not built: make tssuites")
	}
	return dir
}

// run runs the suite, prints its counts and compares the results with the
// exclusions.
func (s typescriptSuite) run(t *testing.T, sdk, endpoint, expansion string) {
	t.Helper()
	override, err := json.Marshal(map[string]string{
		"python:apache_beam.runners.portability.local_job_service_main": endpoint,
		"python:apache_beam.runners.portability.expansion_service_main": expansion,
	})
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	args := []string{"mocha", "--exit", "--timeout=" + testLimit + "000", "--reporter=json", "--reporter-option=output=" + report}
	if s.only != "" {
		args = append(args, "--grep="+s.only)
	}
	if !s.portable {
		args = append(args, "--require="+filepath.Join(testdata(t), "portable.js"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	tests := exec.CommandContext(ctx, "npx", append(args, filepath.Join("dist", "test", s.file+".js"))...)
	tests.Dir = sdk
	tests.Env = append(os.Environ(), "BEAM_SERVICE_OVERRIDES="+string(override), "FRESNEL_ENDPOINT="+endpoint)
	out, err := tests.CombinedOutput()
	keepLog(t, out)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	results, counted, err := readMocha(report, filepath.Base(s.file))
	if err != nil {
		t.Fatalf("the report of mocha is unreadable (%v):\n%s", err, tail(string(out)))
	}
	t.Log(counted)
	counts.add(t.Name(), counted)
	judge(t, results, readExclusions(t))
}

// readMocha reads a report of mocha's JSON reporter. A test's id is the suite's name and
// all its titles, without dots.
func readMocha(file, suite string) (results []result, counted string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	type test struct {
		FullTitle string
		Err       struct{ Stack string }
	}
	var report struct {
		Stats                     struct{ Duration int }
		Passes, Failures, Pending []test
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, "", err
	}
	id := func(title string) string { return suite + "." + strings.ReplaceAll(title, ".", "_") }
	for _, p := range report.Passes {
		results = append(results, result{id: id(p.FullTitle)})
	}
	for _, f := range report.Failures {
		results = append(results, result{id: id(f.FullTitle), failed: true, trace: f.Err.Stack})
	}
	for _, s := range report.Pending {
		results = append(results, result{id: id(s.FullTitle), skipped: true})
	}
	counted = fmt.Sprintf("%d failed, %d passed, %d skipped in %.2fs",
		len(report.Failures), len(report.Passes), len(report.Pending), float64(report.Stats.Duration)/1000)
	return results, counted, nil
}
