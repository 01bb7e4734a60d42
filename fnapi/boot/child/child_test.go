package child_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"fresnel/fnapi/boot/child"
)

type log struct {
	mu    sync.Mutex
	lines []string
	wake  chan struct{}
}

func newLog() *log { return &log{wake: make(chan struct{}, 1000)} }

func (l *log) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	l.wake <- struct{}{}
}

func (l *log) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "|")
}

func sh(t *testing.T, l *log, script string) *child.Process {
	t.Helper()
	p, err := child.Start(child.Spec{Path: "sh", Args: []string{"-c", script}, Env: os.Environ(), Line: l.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(0) })
	return p
}

func wait(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("timeout")
	}
}

func TestOutputComesByLines(t *testing.T) {
	t.Parallel()
	l := newLog()
	p := sh(t, l, `printf 'one\ntwo\r\n'; echo three >&2; printf four; exit 3`)
	wait(t, p.Done())
	if got := l.all(); got != "one|two|three|four" {
		t.Errorf("lines %s", got)
	}
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || exit.ExitCode() != 3 {
		t.Errorf("ended with %v", p.Err())
	}
}

func TestErrorsComeApartIfThatIsAskedFor(t *testing.T) {
	t.Parallel()
	out, err := newLog(), newLog()
	p, started := child.Start(child.Spec{Path: "sh", Args: []string{"-c", `echo one; echo two >&2; printf three; printf four >&2`}, Env: os.Environ(), Line: out.add, Err: err.add})
	if started != nil {
		t.Fatal(started)
	}
	wait(t, p.Done())
	if out.all() != "one|three" || err.all() != "two|four" {
		t.Errorf("lines %s and %s", out.all(), err.all())
	}
}

func TestEndlessOutputWithoutALineEndIsCut(t *testing.T) {
	t.Parallel()
	l := newLog()
	p := sh(t, l, `head -c 1000000 /dev/zero | tr '\0' x`)
	wait(t, p.Done())
	for line := range strings.SplitSeq(l.all(), "|") {
		if len(line) > 64<<10 {
			t.Fatalf("a line of %d bytes", len(line))
		}
	}
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	l := newLog()
	p := sh(t, l, `trap '' TERM; (trap '' TERM; while :; do sleep 0.1; done) & echo $!; while :; do sleep 0.1; done`)
	wait(t, l.wake)
	p.Stop(100 * time.Millisecond)
	wait(t, p.Done())
	deadline := time.Now().Add(20 * time.Second)
	for alive(l.all()) {
		if time.Now().After(deadline) {
			t.Fatal("a grandchild lives on")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// alive tells if a process exists and is no zombie.
func alive(pid string) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}

func TestGrandchildThatKeepsThePipeDoesNotKeepUs(t *testing.T) {
	t.Parallel()
	l := newLog()
	p := sh(t, l, `sleep 1000 & exit 0`)
	wait(t, p.Done())
	if p.Err() != nil {
		t.Error(p.Err())
	}
}

func TestAbsentProgramIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := child.Start(child.Spec{Path: "no-such-program"}); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	if _, err := child.Start(child.Spec{Path: "/no/such/program"}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestTailHasTheLastWords(t *testing.T) {
	t.Parallel()
	var tail child.Tail
	if got := tail.Describe(nil); got != "exit status 0, without a word" {
		t.Error(got)
	}
	for range 30 {
		tail.Add("x")
	}
	tail.Add("last")
	if got := tail.Describe(errors.New("exit status 1")); strings.Count(got, "\n") != 20 || !strings.HasSuffix(got, "last") {
		t.Error(got)
	}
}
