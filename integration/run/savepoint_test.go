package run_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fresnel/integration/cdn/rig"
)

// TestAChangedPipelineGoesOnFromASavepoint: a step that has another function, a
// new one before it and a new one behind it; what is kept under its name is
// counted on from. A change that would misread it is refused, in the terminal.
func TestAChangedPipelineGoesOnFromASavepoint(t *testing.T) {
	t.Parallel()
	binary := fresnel(t)
	server, err := rig.StartServer(binary, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	env := []string{"FRESNEL_SERVER=" + server.Endpoint}
	told := filepath.Join(t.TempDir(), "told")
	submit := func(version int, flags ...string) []string {
		argv := append([]string{binary, "run", "--python=" + python(t), "--detach"}, flags...)
		return append(argv, "testdata/counting.py", fmt.Sprintf("--version=%d", version), "--out="+told)
	}
	output(t, env, submit(1)...)
	awaitLines(t, told, 20)
	old := firstWordAfter(output(t, env, binary, "jobs", "stop", "--savepoint", "last"), "STOPPED ")
	before := len(lines(told))

	argv := submit(3, "--from="+old)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `Count: the coder of a state's values has changed from varint to utf8: the state "count", of 1 key`) {
		t.Errorf("a change that misreads the state: %v\n%s", err, out)
	}

	output(t, env, submit(2, "--from="+old)...)
	awaitLines(t, told+".more", 20)
	if out := output(t, env, binary, "jobs"); !strings.Contains(out, "UPDATED") {
		t.Errorf("the old job is not UPDATED: %s", out)
	}
	output(t, env, binary, "jobs", "stop", "--savepoint", "last")
	all := lines(told)
	for i, line := range all {
		version := 1
		if i >= before {
			version = 2
		}
		if want := fmt.Sprintf("key %d version %d", i+1, version); line != want {
			t.Fatalf("line %d of %d, %d of them of the first version, is %q, not %q", i, len(all), before, line, want)
		}
	}
	if n := len(lines(told + ".more")); n != len(all)-before {
		t.Errorf("the new step told %d of %d numbers", n, len(all)-before)
	}
}

func lines(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func awaitLines(t *testing.T, path string, n int) {
	t.Helper()
	for deadline := time.Now().Add(limit); len(lines(path)) < n; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d lines were told", len(lines(path)), n)
		}
	}
}

func firstWordAfter(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	word, _, _ := strings.Cut(rest, "\n")
	return word
}
