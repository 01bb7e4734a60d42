package conformance

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// suite is one run of pytest.
type suite struct {
	// root is the directory that the ids of the tests count from.
	root string
	// tests are arguments that choose the tests.
	tests []string
	// options are those of the test pipelines.
	options string
	env     []string
	// everywhere: pipelines that name no runner have these options too.
	everywhere bool
}

const (
	suiteLimit = 30 * time.Minute
	// testLimit is for a single test, in seconds.
	testLimit = "180"
	// endLimit is for pytest to end in good order when it is interrupted.
	endLimit = 30 * time.Second
)

// run runs the suite, prints pytest's closing line and compares the results with
// the exclusions.
func (s suite) run(t *testing.T) {
	t.Helper()
	interpreter := python(t)
	report := filepath.Join(t.TempDir(), "report.xml")
	plugins := beamPlugin(t)
	args := []string{
		"-m", "pytest", "-q", "--timeout=" + testLimit, "--junitxml=" + report, "--test-pipeline-options=" + s.options,
		"-c", filepath.Join(plugins, "pytest.ini"), "--rootdir=" + s.root, "-p", "beam_conftest", "-p", "no:cacheprovider",
		"--tb=native", // pytest's own way of showing a traceback meets a bug of Python 3.11's in deep ones
	}
	if s.everywhere {
		args = append(args, "-p", "default_endpoint")
	}
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, append(args, s.tests...)...)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), "PYTHONPATH="+plugins+string(filepath.ListSeparator)+testdata(t), "PYTHONDONTWRITEBYTECODE=1",
		"GRPC_ENABLE_FORK_SUPPORT=false") // as Beam's own subprocess tests have it: grpc/grpc issue 37710
	cmd.Env = append(cmd.Env, s.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = endLimit
	out, err := cmd.CombinedOutput()
	keepLog(t, out)
	t.Log(closingLine(out))
	counts.add(t.Name(), closingLine(out))
	results, readErr := readReport(report)
	if readErr != nil || ctx.Err() != nil {
		t.Fatalf("pytest ended with %v, and its report is unreadable (%v):\n%s", err, readErr, tail(string(out)))
	}
	judge(t, results, readExclusions(t))
}

// counts are what the suites have come to, for one look at the end.
var counts table

// table is lines of two columns.
type table struct {
	mu    sync.Mutex
	lines [][2]string
}

func (c *table) add(name, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, [2]string{name, text})
}

func (c *table) print() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		fmt.Printf("%-80s %s\n", l[0], l[1])
	}
}

// beamPlugin makes a directory with the conftest and the settings of Beam's
// sources, which its package comes without.
func beamPlugin(t *testing.T) string {
	t.Helper()
	sources, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/apache/beam/sdks/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for from, to := range map[string]string{"conftest.py": "beam_conftest.py", "pytest.ini": "pytest.ini"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(sources)), "python", from))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func keepLog(t *testing.T, out []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "pytest.log"), out, 0o644); err != nil {
		t.Error(err)
	}
}

// closingLine is pytest's last line: the counts.
func closingLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i := len(lines) - 1; i > 0; i-- { // a thread may still have printed after it
		if strings.Contains(lines[i], " passed") || strings.Contains(lines[i], " failed") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}

// tail is the end of a long text.
func tail(text string) string {
	const most = 6000
	return text[max(0, len(text)-most):]
}

// result is what became of one test.
type result struct {
	id string
	// failed, with trace, or skipped; else it passed.
	failed, skipped bool
	trace           string
}

// readReport reads a report in JUnit's form. A test that ends badly twice, in
// its call and in its teardown, is in it twice.
func readReport(file string) ([]result, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	type fault struct {
		Text string `xml:",chardata"`
	}
	var doc struct {
		Cases []struct {
			Class   string `xml:"classname,attr"`
			Name    string `xml:"name,attr"`
			Failure *fault `xml:"failure"`
			Error   *fault `xml:"error"`
			Skipped *fault `xml:"skipped"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.NewDecoder(bytes.NewReader(text)).Decode(&doc); err != nil {
		return nil, err
	}
	var results []result
	for _, c := range doc.Cases {
		r := result{id: c.Class + "." + c.Name, skipped: c.Skipped != nil}
		for _, f := range []*fault{c.Failure, c.Error} {
			if f != nil {
				r.failed, r.trace = true, f.Text
			}
		}
		results = append(results, r)
	}
	return results, nil
}
