package jobservice

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"fresnel/internal/beam"
)

// pythonClient is one Python process that submits pipelines; Beam takes
// seconds to import.
type pythonClient struct {
	in  *json.Encoder
	out *bufio.Scanner
}

type pythonJob struct {
	Name   string   `json:"name"`
	Args   []string `json:"args"`
	Cancel bool     `json:"cancel"`
}

type pythonOutcome struct {
	State, Error string
	Seconds      float64 // from Prepare to the end
	Log          []string
}

// startPython starts the client in the environment that the Makefile makes.
func startPython(t *testing.T, endpoint string) *pythonClient {
	t.Helper()
	python := must(filepath.Abs("../.venv/bin/python"))
	if _, err := os.Stat("../.venv/ready"); err != nil || testing.Short() {
		t.Skip("needs the Python environment that the Makefile makes in .venv")
	}
	cmd := exec.Command(python, "testdata/client.py", endpoint)
	cmd.Stderr = t.Output()
	in, out := must(cmd.StdinPipe()), must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	return &pythonClient{in: json.NewEncoder(in), out: lines}
}

func (c *pythonClient) submit(t *testing.T, job pythonJob) pythonOutcome {
	t.Helper()
	if job.Args == nil {
		job.Args = []string{"--environment_type=LOOPBACK"}
	}
	if err := c.in.Encode(job); err != nil {
		t.Fatal(err)
	}
	if !c.out.Scan() {
		t.Fatalf("the client ended: %v", c.out.Err())
	}
	var outcome pythonOutcome
	if err := json.Unmarshal(c.out.Bytes(), &outcome); err != nil {
		t.Fatalf("%q: %v", c.out.Text(), err)
	}
	return outcome
}

// serveTCP serves a Runner where a process can reach it.
func serveTCP(t *testing.T, r Runner) (endpoint string) {
	t.Helper()
	listener := must(net.Listen("tcp", "localhost:0"))
	endpoint = listener.Addr().String()
	service := New(Config{Runner: r, ArtifactDir: t.TempDir(), Endpoint: endpoint, Log: testLog()})
	server := grpc.NewServer(ServerOptions()...)
	service.Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		_ = service.Close(context.Background())
		server.Stop()
	})
	return endpoint
}

const traceback = "Traceback (most recent call last):\n  File \"my.py\", line 7, in parse\nValueError: not a number: 'é'"

// byName does what the job's name says.
var byName = fakeRunner{
	check: func(s *Submission) error {
		if s.Name == "refused" {
			return &beam.Error{Code: beam.Unsupported, Where: "Words/Count", What: "line 1\n" + strings.Repeat("line é\n", 1000), Cure: "cure"}
		}
		return nil
	},
	run: func(ctx context.Context, s *Submission, drain <-chan struct{}, r Reporter) error {
		switch s.Name {
		case "fails":
			return &beam.Error{Code: beam.UserCode, Where: "Words/Parse", Cause: errors.New(traceback)}
		case "endless":
			return untilCancelled(ctx, s, drain, r)
		case "longer-than-the-timeout":
			time.Sleep(4 * time.Second) // real: the client's deadline is
		case "staged":
			r.Message(Basic, time.Now(), strings.Join(stagedFiles(s), ", "))
		case "options":
			r.Message(Basic, time.Now(), ParseOptions(s.Options).Str("durability", "none"))
		}
		return nil
	},
}

// stagedFiles names the artifacts that are in the store.
func stagedFiles(s *Submission) []string {
	var names []string
	for _, env := range s.Pipeline.GetComponents().GetEnvironments() {
		for _, dep := range env.GetDependencies() {
			path, sum, _ := locate(dep)
			if got, err := hashFile(path); err == nil && got == sum {
				names = append(names, artifactName(dep))
			}
		}
	}
	return names
}

// What users of the Python SDK see.
func TestThePythonClient(t *testing.T) {
	t.Parallel()
	c := startPython(t, serveTCP(t, byName))

	t.Run("nothing waits for a timer", func(t *testing.T) {
		best := 10.0
		for range 5 {
			outcome := c.submit(t, pythonJob{Name: "done"})
			wantEqual(t, "state", outcome.State, "DONE")
			best = min(best, outcome.Seconds)
		}
		t.Logf("from Prepare to the terminal state: %.0f ms", best*1000)
		if best > 0.9 { // the client's own timers are of a second and more
			t.Errorf("the fastest of 5 jobs took %.2f s", best)
		}
	})
	t.Run("a failure shows the whole traceback", func(t *testing.T) {
		outcome := c.submit(t, pythonJob{Name: "fails"})
		wantContain(t, outcome.Error, "failed in state FAILED", "in Words/Parse", traceback)
		wantContain(t, strings.Join(outcome.Log, "\n"), "ERROR user code failed in Words/Parse: "+traceback)
	})
	t.Run("a refusal shows what and where", func(t *testing.T) {
		outcome := c.submit(t, pythonJob{Name: "refused"})
		wantContain(t, outcome.Error, "UNIMPLEMENTED", "unsupported in Words/Count: line 1\nline é\nline é", "server's log")
	})
	t.Run("a job may take longer than the client's timeout", func(t *testing.T) {
		outcome := c.submit(t, pythonJob{Name: "longer-than-the-timeout", Args: []string{"--environment_type=LOOPBACK", "--job_server_timeout=3"}})
		wantEqual(t, "error", outcome.Error, "")
	})
	t.Run("a cancelled job says so", func(t *testing.T) {
		outcome := c.submit(t, pythonJob{Name: "endless", Cancel: true})
		wantContain(t, outcome.Error, "failed in state CANCELLED: the job was cancelled on request")
	})
	t.Run("files are staged", func(t *testing.T) {
		outcome := c.submit(t, pythonJob{Name: "staged", Args: []string{"--environment_type=PROCESS", `--environment_config={"command":"true"}`,
			"--save_main_session", "--extra_package=" + anArchive(t)}})
		wantEqual(t, "error", outcome.Error, "")
		wantContain(t, strings.Join(outcome.Log, "\n"), "pickled_main_session", "submission_environment_dependencies.txt",
			"extra-1.0.tar.gz", "extra_packages.txt")
	})
	t.Run("options of Fresnel's own are sent if given", func(t *testing.T) {
		for want, args := range map[string][]string{"INFO none": nil, "INFO disk": {"--durability=disk", "--environment_type=LOOPBACK"}} {
			outcome := c.submit(t, pythonJob{Name: "options", Args: args})
			wantContain(t, strings.Join(outcome.Log, "\n"), want)
		}
	})
	t.Run("an option with a typing error is named", func(t *testing.T) {
		outcome := c.submit(t, pythonJob{Name: "options", Args: []string{"--durability=dsik"}})
		wantContain(t, outcome.Error, "INVALID_ARGUMENT", "--durability", "dsik", "memory, disk")
	})
}

// anArchive is a file that the client takes for a package.
func anArchive(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "extra-1.0.tar.gz")
	if err := os.WriteFile(path, []byte("not looked into"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in %q", part, text)
		}
	}
}
