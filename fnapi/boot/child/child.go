// Package child runs a program as a child process that cannot be forgotten: it
// has a process group of its own, which ends as a whole, its output is always
// read (a full pipe would stop it), and where the kernel can do it, it is
// killed when this process is.
package child

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Spec is what to run.
type Spec struct {
	Path string
	Args []string
	// Env is the whole environment, as "name=value".
	Env []string
	Dir string
	// Line is called with each line of stdout and stderr, without its end. Calls
	// come one at a time. If Err is set it gets those of stderr, while Line may run.
	Line, Err func(line string)
}

// Process is a child.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// Start starts the program. Not finding it is an error that wraps
// exec.ErrNotFound or fs.ErrNotExist.
func Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env, cmd.Dir = spec.Env, spec.Dir
	cmd.SysProcAttr = attributes()
	// A grandchild that keeps the pipe does not keep us.
	cmd.WaitDelay = time.Second
	output := &lines{each: spec.Line}
	second := output
	if spec.Err != nil {
		second = &lines{each: spec.Err}
	}
	cmd.Stdout, cmd.Stderr = output, second
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started, output, second)
	return p, <-started
}

// run starts the child and waits for it on one thread, since the kernel binds
// "kill me when my parent ends" to the parent's thread.
func (p *Process) run(started chan<- error, outputs ...*lines) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		p.err = err
		close(p.done)
		return
	}
	err = p.cmd.Wait()
	killGroup(p.cmd.Process.Pid)
	for _, o := range outputs {
		o.flush()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	p.err = err
	close(p.done)
}

// Pid is the process id, and that of the group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended and its output was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended, nil for status 0; valid after Done.
func (p *Process) Err() error { return p.err }

// Stop asks the group to end, kills it after grace, and returns when the child
// has ended.
func (p *Process) Stop(grace time.Duration) {
	select {
	case <-p.done:
		return
	default:
	}
	terminateGroup(p.cmd.Process.Pid)
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
		killGroup(p.cmd.Process.Pid)
		<-p.done
	}
}

// maxLine is how much of a line is kept in memory at most; a longer one comes
// in pieces.
const maxLine = 64 << 10

// lines cuts what is written to it.
type lines struct {
	each func(string)

	mu   sync.Mutex
	rest []byte
}

var _ io.Writer = (*lines)(nil)

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := maxLine - len(l.rest); len(line) > room {
			line, rest, whole = line[:room], b[room:], true
		}
		l.rest = append(l.rest, line...)
		if whole {
			l.emit()
		}
		b = rest
	}
	return n, nil
}

func (l *lines) emit() {
	line := bytes.TrimRight(l.rest, "\r")
	if l.each != nil && len(line) > 0 {
		l.each(string(line))
	}
	l.rest = l.rest[:0]
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emit()
}

// Tail keeps the last lines, for the error of a child that fails.
type Tail struct {
	mu   sync.Mutex
	last []string
}

// tailLines is how many are kept.
const tailLines = 20

// Add adds a line.
func (t *Tail) Add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == tailLines {
		t.last = append(t.last[:0], t.last[1:]...)
	}
	t.last = append(t.last, line)
}

// Empty tells that the child has printed nothing.
func (t *Tail) Empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.last) == 0
}

// Describe is how a child ended, with its last lines.
func (t *Tail) Describe(err error) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	how := "exit status 0"
	if err != nil {
		how = err.Error() + Hint(err)
	}
	if len(t.last) == 0 {
		return how + ", without a word"
	}
	return how + LastWords + strings.Join(t.last, "\n"+Indent)
}

// LastWords stands between how a child ended and its last lines, which begin with
// Indent.
const (
	LastWords = "; its last words:\n" + Indent
	Indent    = "  "
)

// Hint is what is behind the end of a child that cannot say so itself, for an
// error's text; empty if it can.
func Hint(err error) string {
	if err.Error() == "signal: killed" {
		return " (as the system does when memory runs short)"
	}
	return ""
}
