package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// TestGoSuites runs the integration tests of Beam's Go SDK. They filter tests by
// the name of the runner; for "universal", the plain portable runner, none is.
func TestGoSuites(t *testing.T) {
	endpoint := serve(t, buildFresnel(t))
	for _, s := range []goSuite{
		// TestOomParDo fills the memory, to see that Dataflow keeps a dump of it.
		// TestDrain waits for somebody to drain its job.
		{name: "primitives", skip: "TestOomParDo|TestDrain"},
		{name: "primitives", run: "TestDrain", beside: drainEndless},
		{name: "primitives", skip: "TestOomParDo|TestDrain", docker: true},
		{name: "regression"},
		{name: "regression", docker: true},
		{name: "synthetic"},
		{name: "wordcount"},
		{name: "wordcount", docker: true},
	} {
		name := s.name
		if s.run != "" {
			name += "." + s.run
		}
		if s.docker {
			name += " in processes"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if s.docker && s.name == "primitives" {
				onlyIfAll(t)
			}
			s.start(t, endpoint)
		})
	}
}

// goSuite is one run of a test binary of Beam's Go SDK.
type goSuite struct {
	name      string
	run, skip string
	// docker leaves the environment at the client's default: containers, or what
	// stands in for them. Otherwise it is LOOPBACK.
	docker bool
	// beside, if set, is what a user does at the same time.
	beside func(ctx context.Context, endpoint string) error
}

// goBinary is a test binary that `make gosuites` has built; without it the test
// is skipped.
func goBinary(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(module(t), ".cache", "gosdk", name+".test")
	if _, err := os.Stat(path); err != nil {
		t.Skip("the tests of Beam's Go SDK are not built: make gosuites")
	}
	return path
}

// start runs the suite, prints its counts and compares the results with the
// exclusions.
func (s goSuite) start(t *testing.T, endpoint string) {
	t.Helper()
	binary := goBinary(t, s.name)
	args := []string{"-test.v=test2json", "-test.timeout=10m", "-test.run=" + s.run, "-test.skip=" + s.skip,
		"--runner=universal", "--endpoint=" + endpoint}
	if s.docker {
		args = append(args, "--worker_binary="+binary)
	} else {
		args = append(args, "--environment_type=LOOPBACK")
	}
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	beside := make(chan error, 1)
	if s.beside != nil {
		go func() { beside <- s.beside(ctx, endpoint) }()
	} else {
		beside <- nil
	}
	start := time.Now()
	tests := exec.CommandContext(ctx, binary, args...)
	tests.Dir = t.TempDir()
	tests.Env = append(os.Environ(), "TMPDIR="+tests.Dir) // a LOOPBACK client leaves a file for each job
	out, err := tests.CombinedOutput()
	took := time.Since(start)
	if writeErr := os.WriteFile(filepath.Join(t.ArtifactDir(), "go.log"), out, 0o644); writeErr != nil {
		t.Error(writeErr)
	}
	cancel()
	if err := <-beside; err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	results := goResults(t, s.name, out)
	t.Logf("%s: %s", t.Name(), goCounts(results, took))
	counts.add(t.Name(), goCounts(results, took))
	var exclusions []exclusion
	if s.run == "" {
		exclusions = readExclusions(t)
	}
	judge(t, results, exclusions)
}

// goResults reads the output of a test binary, with the help of Go's own tool.
func goResults(t *testing.T, name string, out []byte) []result {
	t.Helper()
	reader := exec.Command("go", "tool", "test2json", "-p", name)
	reader.Stdin, reader.Stderr = bytes.NewReader(out), os.Stderr
	events, err := reader.Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []result
	traces := map[string]*strings.Builder{}
	for lines := bufio.NewScanner(bytes.NewReader(events)); lines.Scan(); {
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if traces[e.Test] == nil {
			traces[e.Test] = &strings.Builder{}
		}
		traces[e.Test].WriteString(e.Output)
		switch e.Action {
		case "pass", "fail", "skip":
			if e.Test != "" {
				results = append(results, result{id: name + "." + e.Test, failed: e.Action == "fail", skipped: e.Action == "skip", trace: traces[e.Test].String()})
			}
		}
	}
	return results
}

// goCounts is in the form of pytest's closing line.
func goCounts(results []result, took time.Duration) string {
	var failed, skipped int
	for _, r := range results {
		switch {
		case r.failed:
			failed++
		case r.skipped:
			skipped++
		}
	}
	return fmt.Sprintf("%d failed, %d passed, %d skipped in %.2fs", failed, len(results)-failed-skipped, skipped, took.Seconds())
}

// drainEndless drains the job of TestDrain once it is at work. Its restrictions
// have no end, but for what they are truncated to.
func drainEndless(ctx context.Context, endpoint string) error {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	jobs := jobpb.NewJobServiceClient(conn)
	id, err := findJob(ctx, jobs, "go-testdrain-")
	if err != nil {
		return err
	}
	messages, err := jobs.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		return err
	}
	asked := false
	for {
		m, err := messages.Recv()
		if err != nil {
			return fmt.Errorf("waiting for the drained job's end: %w", err)
		}
		if !asked && strings.Contains(m.GetMessageResponse().GetMessageText(), "Claimed position: 3") {
			asked = true
			if _, err := jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: id}); err != nil {
				return err
			}
		}
		switch state := m.GetStateResponse().GetState(); state {
		case jobpb.JobState_DRAINED:
			return nil
		case jobpb.JobState_FAILED, jobpb.JobState_DONE, jobpb.JobState_CANCELLED:
			return fmt.Errorf("the drained job ended as %v", state)
		}
	}
}

// findJob waits for a job with a name that begins so.
func findJob(ctx context.Context, jobs jobpb.JobServiceClient, name string) (string, error) {
	for {
		all, err := jobs.GetJobs(ctx, &jobpb.GetJobsRequest{})
		if err != nil {
			return "", err
		}
		for _, j := range all.GetJobInfo() {
			if strings.HasPrefix(j.GetJobName(), name) {
				return j.GetJobId(), nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
