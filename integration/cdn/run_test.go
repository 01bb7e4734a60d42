package cdn_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fresnel/integration/cdn/rig"
	"fresnel/integration/parts"
)

// fresnelRun: it leads an unchanged pipeline to Fresnel on a machine without
// Java, without a network and with an empty cache of jars, and leaves that cache
// as it was.
func (s *site) fresnelRun(t *testing.T) {
	for _, how := range []string{"", "classpath", "nowith", "classpath nowith"} {
		t.Run(strings.TrimSpace("jdbc "+how), func(t *testing.T) {
			s.table(t)
			args := append([]string{"testdata/jdbc.py", strings.ReplaceAll(s.db.JDBCURL(), "/"+parts.MariaDBDatabase, "/"+name(t)),
				parts.MariaDBUser, parts.MariaDBPassword}, strings.Fields(how)...)
			out := s.bareRun(t, nil, args...)
			if missing := without([]string{"read Beijing 1", "read Tibet 2"}, out); len(missing) > 0 {
				t.Errorf("the pipeline did not print %q:\n%s", missing, out)
			}
		})
	}
	t.Run("process", func(t *testing.T) {
		table := s.table(t)
		url := strings.ReplaceAll(s.db.JDBCURL(), "/"+parts.MariaDBDatabase, "/"+name(t))
		s.bareRun(t, nil, "testdata/jdbc.py", url, parts.MariaDBUser, parts.MariaDBPassword, "--environment_type=PROCESS", `--environment_config={"command": "fresnel boot"}`)
		if n, err := table.Lines(t.Context()); err != nil || n != 3 {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("another sitecustomize", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "sitecustomize.py"), []byte("print('customized')"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := s.bareRun(t, []string{"PYTHONPATH=" + dir}, "-c", "import sitecustomize; print(sitecustomize.__file__)"); out != "customized\n"+dir+"/sitecustomize.py\n" {
			t.Error(out)
		}
	})
}

// stopLimit is what a program that hangs gets to end: more than `fresnel run` gives it.
const stopLimit = 20 * time.Second

// bareRun runs a program with `fresnel run` where there is no Java, no network
// and an empty home, and returns what it printed.
func (s *site) bareRun(t *testing.T, env []string, args ...string) string {
	t.Helper()
	python, err := rig.Python()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"run", "--python=" + python, "--"}, args...)...)
	cmd.Env = append([]string{"HOME=" + home, "PATH=" + home, "TMPDIR=" + os.TempDir(),
		"http_proxy=http://127.0.0.1:9", "https_proxy=http://127.0.0.1:9"}, env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // which it hands on to the program
	cmd.WaitDelay = stopLimit
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(home, ".apache_beam", "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	return string(out)
}
