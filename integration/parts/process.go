package parts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = 3 * time.Minute  // for a server to answer, on a machine that is busy with other tests
	stopLimit  = 30 * time.Second // for a server to end after SIGTERM, before it is killed
	pollEvery  = 25 * time.Millisecond
	tailBytes  = 8 << 10 // of the log that an error shows
)

// process is a server that can be started again and again with the same command. Its methods are for one
// goroutine at a time.
type process struct {
	name  string
	argv  []string
	log   string       // file to which output is appended
	ready func() error // nil once the server answers

	cmd    *exec.Cmd
	exited chan struct{} // closed when the current run has ended
}

// start runs the command and returns when the server answers.
func (p *process) start() error {
	if p.running() {
		return fmt.Errorf("%s already runs, as process %d", p.name, p.cmd.Process.Pid)
	}
	if err := p.spawn(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	if err := p.awaitReady(); err != nil {
		p.Kill()
		return fmt.Errorf("start %s: %w\n%s", p.name, err, p.tail())
	}
	return nil
}

// spawn starts the child from a thread that waits for it: Linux ties the parent-death signal to the thread, not
// to the process, so the thread must live as long as the child.
func (p *process) spawn() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(exited)
		defer out.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is for the log; that it ended is what matters
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

func (p *process) awaitReady() error {
	deadline := time.Now().Add(startLimit)
	for {
		err := p.ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("does not answer after %v: %w", startLimit, err)
		}
		select {
		case <-p.exited:
			return errors.New("ended by itself")
		case <-time.After(pollEvery):
		}
	}
}

func (p *process) running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Restart starts the server again, after Stop or Kill, on the same data and the same port; one that still runs
// is stopped first. It returns when the server answers.
func (p *process) Restart() error {
	p.Stop()
	return p.start()
}

// Stop asks the server to end in good order and waits until it has.
func (p *process) Stop() {
	if !p.running() {
		return
	}
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		p.Kill()
	}
}

// Kill ends the server with SIGKILL and waits until it is gone.
func (p *process) Kill() {
	if !p.running() {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// Pause stops the server in its tracks, as a machine that hangs: connections stay open, nothing is answered.
func (p *process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *process) Resume() { p.signal(syscall.SIGCONT) }

// Pid is the process id of the current run, 0 if the server does not run.
func (p *process) Pid() int {
	if !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) signal(s os.Signal) {
	if p.running() {
		_ = p.cmd.Process.Signal(s) // an error says that it ended meanwhile
	}
}

// tail is the end of the server's log.
func (p *process) tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	size, _ := f.Seek(0, io.SeekEnd)
	from := max(0, size-tailBytes)
	text, _ := io.ReadAll(io.NewSectionReader(f, from, size-from))
	return "--- end of " + p.log + "\n" + strings.TrimSpace(string(text))
}

// home is a data directory and a log file for one server of a test. Data goes under the system's temporary
// directory rather than the test's, whose long name a Unix socket's path would not hold.
func home(t testing.TB, part string) (dir, log string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fresnel-"+part+"-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir, filepath.Join(t.ArtifactDir(), filepath.Base(dir)+".log")
}

// endWith stops the server when the test ends, and shows its log if the test failed.
func (p *process) endWith(t testing.TB) {
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Log(p.tail())
		}
	})
}
