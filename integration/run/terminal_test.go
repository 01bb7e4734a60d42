package run_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onTerminal runs `fresnel run` on a terminal and returns what is on it at the
// end; keys as testdata/terminal.py takes them.
func onTerminal(t *testing.T, keys []string, args ...string) (string, error) {
	t.Helper()
	argv := append([]string{filepath.Join("testdata", "terminal.py"), fresnel(t), "run", "--python=" + python(t)}, args...)
	for i := 0; i < len(keys); i += 2 {
		argv = append(argv, "--", keys[i], keys[i+1])
	}
	out, err := exec.CommandContext(t.Context(), python(t), argv...).CombinedOutput()
	return string(out), err
}

// TestAJobIsShownOnATerminalAndAsksOnce: lines that stay below the output are
// gone at the end, also those that a narrower terminal has folded, and those
// behind which a Ctrl-C is told. It goes on when nothing is chosen, and drains.
func TestAJobIsShownOnATerminalAndAsksOnce(t *testing.T) {
	t.Parallel()
	screen, err := onTerminal(t, []string{"behind", "narrower", "records", `\x03`, "[d]rain", `\n`, "records", `\x03`, "[d]rain", `d\n`}, "testdata/endless.py")
	if err != nil {
		t.Errorf("%v\n%s", err, screen)
	}
	lines := strings.ReplaceAll(screen, "\n", "")
	for _, want := range []string{"fresnel: going on", "fresnel: draining", "fresnel: DRAINED after"} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q:\n%s", want, screen)
		}
	}
	for _, rest := range []string{"RU", "^C", "watermark", "bundles"} {
		if strings.Contains(screen, rest) {
			t.Errorf("%q is left:\n%s", rest, screen)
		}
	}
}

// TestABoundedJobHasABar and two interrupts cancel it.
func TestABoundedJobHasABar(t *testing.T) {
	t.Parallel()
	screen, err := onTerminal(t, []string{"%  ", `\x03`, "[d]rain", `\x03`}, "testdata/hangs.py")
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 130 { //nolint:errorlint // as it is
		t.Errorf("%v\n%s", err, screen)
	}
	if !strings.Contains(screen, "fresnel: CANCELLED after") || strings.Contains(screen, "[#") {
		t.Error(screen)
	}
}
