package run_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fresnel/integration/cdn/rig"
)

// limit is for one command, packages to fetch included.
const limit = 8 * time.Minute

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "fresnel-bin-")
	if err != nil {
		return "", err
	}
	return rig.Build(context.Background(), dir)
})

func TestMain(m *testing.M) {
	status := m.Run()
	if binary, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(status)
}

// output runs a command with these variables besides ours, and returns what it
// printed.
func output(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return string(out)
}

func fresnel(t *testing.T) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func python(t *testing.T) string {
	t.Helper()
	path, err := rig.Python()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAPinnedPackageIsInstalledForTheWorkers: the submitting environment has
// another version of numpy, and nothing is done by hand.
func TestAPinnedPackageIsInstalledForTheWorkers(t *testing.T) {
	t.Parallel()
	requirements := filepath.Join(t.TempDir(), "requirements.txt")
	if err := os.WriteFile(requirements, []byte("numpy==2.3.5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := output(t, []string{"FRESNEL_CACHE=" + t.TempDir()}, fresnel(t), "run", "--python="+python(t), "--environment=process",
		"testdata/package.py", "--requirements_file="+requirements)
	if !strings.Contains(out, "worker has numpy 2.3.5") || strings.Contains(out, "client has numpy 2.3.5") {
		t.Error(out)
	}
}

// TestAProgramThatSaysNothingRunsHere: it reads its words strictly, and makes its
// pipelines without options. One that names its runner keeps it, and that is told. Its
// bundles do not wait for what samples them.
func TestAProgramThatSaysNothingRunsHere(t *testing.T) {
	t.Parallel()
	out := output(t, nil, fresnel(t), "run", "--python="+python(t), "testdata/plain.py", "--name=Ada")
	for _, want := range []string{"sampled often: True", "hello Ada", "again Ada", "asks for DirectRunner", "elsewhere Ada", "fresnel: DONE"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "does not run here"); n != 1 {
		t.Errorf("%d pipelines ran elsewhere:\n%s", n, out)
	}
}

// TestAFailureTellsItsElement wherever functions run, also of a job that the
// program did not wait for.
func TestAFailureTellsItsElement(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"loopback", "process"} {
		out, err := exec.CommandContext(t.Context(), fresnel(t), "run", "--python="+python(t), "--environment="+environment, "testdata/raises.py").CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 { //nolint:errorlint // as it is
			t.Errorf("%s: %v", environment, err)
		}
		for _, want := range []string{"the end of the program", "is waited for", "failed in Parse: ValueError: invalid literal for int() with base 10: 'x17', with the element ('x17', "} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q:\n%s", environment, want, out)
			}
		}
	}
}

// TestAFunctionThatEndsItsProcessIsToldOf: in one of its own, with its step; in
// the program's, where nobody is left who could know it.
func TestAFunctionThatEndsItsProcessIsToldOf(t *testing.T) {
	t.Parallel()
	for environment, c := range map[string]struct {
		status int
		told   []string
	}{
		"process":  {1, []string{"in Leave: a bundle was tried", "exit status 3", "it was at work"}},
		"loopback": {3, []string{"the program has ended before its job"}},
	} {
		out, err := exec.CommandContext(t.Context(), fresnel(t), "run", "--python="+python(t), "--environment="+environment, "testdata/exits.py").CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != c.status { //nolint:errorlint // as it is
			t.Errorf("%s: %v", environment, err)
		}
		for _, want := range c.told {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q:\n%s", environment, want, out)
			}
		}
	}
}

// TestAFunctionThatHangsIsToldOf with its step and the line that it is at.
func TestAFunctionThatHangsIsToldOf(t *testing.T) {
	t.Parallel()
	out := output(t, nil, fresnel(t), "run", "--python="+python(t), "--stuck-after=2s", "testdata/hangs.py")
	for _, want := range []string{"Hang has made no progress for", "hangs.py\", line 12, in hang", "fresnel: DONE"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q:\n%s", want, out)
		}
	}
}

// TestWhatFunctionsPrintIsSeen wherever they run, and no noise of their harnesses'.
func TestWhatFunctionsPrintIsSeen(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"loopback", "process"} {
		cmd := exec.CommandContext(t.Context(), fresnel(t), "run", "--python="+python(t), "--environment="+environment, "testdata/prints.py")
		var noise strings.Builder
		cmd.Stderr = &noise
		out, err := cmd.Output()
		if err != nil || strings.Count(string(out), "printed by a function: 7\n") != 1 {
			t.Errorf("%s: %v, stdout %q", environment, err, out)
		}
		if n := strings.Count(string(out), "torn down\n"); environment == "loopback" && n != 1 {
			t.Errorf("functions were torn down %d times before the program's end: %q", n, out)
		}
		for _, bad := range []string{"Traceback", "Exception", "channel"} {
			if strings.Contains(noise.String(), bad) {
				t.Errorf("%s: %s", environment, noise.String())
				break
			}
		}
	}
}

// TestProgressForMachines reads what --json says.
func TestProgressForMachines(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), fresnel(t), "run", "--python="+python(t), "--json", "testdata/stateful.py")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var last struct{ Job, State string }
	for line := range strings.Lines(string(out)) {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
	if last.State != "DONE" || !strings.HasPrefix(last.Job, "stateful-") {
		t.Errorf("it ends with %+v", last)
	}
}

// TestJobsOfAServerAreLookedAfter leaves a job on a server, finds it there, and
// drains it.
func TestJobsOfAServerAreLookedAfter(t *testing.T) {
	t.Parallel()
	binary := fresnel(t)
	server, err := rig.StartServer(binary, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	env := []string{"FRESNEL_SERVER=" + server.Endpoint}
	out := output(t, env, binary, "run", "--python="+python(t), "--detach", "testdata/endless.py")
	if !strings.Contains(out, "goes on") {
		t.Errorf("detached: %s", out)
	}
	if out = output(t, env, binary, "jobs"); !strings.Contains(out, "endless") {
		t.Errorf("listed: %s", out)
	}
	for deadline := time.Now().Add(limit); !strings.Contains(output(t, env, binary, "jobs", "show", "last"), "RUNNING"); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not run")
		}
	}
	if out = output(t, env, binary, "jobs", "drain", "endless", "--json"); !strings.Contains(out, `"state":"DRAINED"`) {
		t.Errorf("drained: %s", out)
	}
	if out = output(t, env, binary, "jobs", "logs", "last"); !strings.Contains(out, "STATE   DRAINED") {
		t.Errorf("logs: %s", out)
	}
	err = exec.CommandContext(t.Context(), binary, "jobs", "--server="+server.Endpoint, "show", "no-such-job").Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 5 { //nolint:errorlint // Run returns it as it is
		t.Errorf("a job that is not there: %v", err)
	}
}
