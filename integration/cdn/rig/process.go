package rig

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a child that prints into a file and is killed when we are.
type Process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	err    error // once it has exited
}

// stopLimit is what a process gets to end in good order.
const stopLimit = 20 * time.Second

// start runs argv with env added to our environment. The thread that starts the
// child waits for it, since Linux ties the parent-death signal to threads.
func start(log string, env []string, argv ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(argv[0], argv[1:]...), log: log, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(p.exited)
		defer out.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	return p, <-started
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err is how it ended: nil for exit status 0.
func (p *Process) Err() error {
	<-p.exited
	return p.err
}

// Output is what it has printed so far.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Pause stops it where it is, Continue has it go on.
func (p *Process) Pause() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) } // or it has ended

// Continue is for a process that was paused.
func (p *Process) Continue() { _ = p.cmd.Process.Signal(syscall.SIGCONT) } // or it has ended

// Kill ends it with SIGKILL and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an error says that it ended before
	<-p.exited
}

// Stop asks it to end and waits until it has.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		p.Kill()
	}
}

// PeakRSS is the most memory that it has had resident so far, in bytes.
func (p *Process) PeakRSS() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmHWM", p.Pid())
}

// CPU is the processor time that it has used so far.
func (p *Process) CPU() (time.Duration, error) {
	fields, err := stat(p.Pid())
	if err != nil {
		return 0, err
	}
	return ticks(fields[11:13]) // utime, stime
}

// ChildrenCPU is what the processes that it started, and those that they did,
// have used so far.
func (p *Process) ChildrenCPU() (time.Duration, error) {
	fields, err := stat(p.Pid())
	if err != nil {
		return 0, err
	}
	all, err := ticks(fields[13:15]) // cutime, cstime: of those that have ended
	if err != nil {
		return 0, err
	}
	for pid := range descendants(p.Pid()) {
		if fields, err := stat(pid); err == nil { // else it has just ended
			used, err := ticks(fields[11:15])
			if err != nil {
				return 0, err
			}
			all += used
		}
	}
	return all, nil
}

// descendants are the processes that pid started, and those that they did.
func descendants(pid int) map[int]bool {
	parents := map[int]int{}
	entries, _ := os.ReadDir("/proc") // without it there are none to see
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields, err := stat(id); err == nil {
			parents[id], _ = strconv.Atoi(fields[1]) // 0 is nobody's
		}
	}
	below := map[int]bool{}
	for id := range parents {
		for up := parents[id]; up > 1; up = parents[up] {
			if up == pid {
				below[id] = true
			}
		}
	}
	return below
}

// ticks adds up times of /proc/PID/stat.
func ticks(fields []string) (time.Duration, error) {
	var all int64
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		all += n
	}
	return time.Duration(all) * time.Second / clockTicks, nil
}

// clockTicks is Linux's USER_HZ, the same on every architecture that Go runs on.
const clockTicks = 100

// stat returns the fields of /proc/PID/stat from the third on: state, ppid, ...
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	return fields, nil
}
