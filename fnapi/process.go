package fnapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi/boot/child"
	"fresnel/internal/beam"
	"fresnel/internal/cores"
)

// process runs a command for each worker, with the flags of Beam's container
// contract.
type process struct {
	where string // for errors
	argv  []string
	env   []string // "name=value", besides our own
}

func (s *Server) newProcess(payload []byte) (launcher, error) {
	p := &pipepb.ProcessPayload{}
	if err := proto.Unmarshal(payload, p); err != nil {
		return nil, malformed(urnProcess, err)
	}
	if !fits(p.GetOs(), runtime.GOOS) || !fits(p.GetArch(), runtime.GOARCH) {
		return nil, &beam.Error{Code: beam.Unsupported, Where: "environment " + urnProcess,
			What: fmt.Sprintf("its command is for %s/%s, this machine is %s/%s", p.GetOs(), p.GetArch(), runtime.GOOS, runtime.GOARCH)}
	}
	argv, err := s.command(p.GetCommand())
	if err != nil {
		return nil, err
	}
	l := &process{where: "process " + p.GetCommand(), argv: argv}
	for name, value := range p.GetEnv() {
		l.env = append(l.env, name+"="+value)
	}
	return l, nil
}

// fits compares an OS or architecture of a payload, where several names are in
// use, with Go's.
func fits(asked, have string) bool {
	same := map[string]string{"x86_64": "amd64", "aarch64": "arm64", "macos": "darwin"}
	asked = strings.ToLower(asked)
	if other, ok := same[asked]; ok {
		asked = other
	}
	return asked == "" || asked == have
}

// command is what to run: the command as the path of a program, or else its
// words; no shell reads it. "fresnel" is this program where no other is found.
func (s *Server) command(command string) ([]string, error) {
	command = strings.TrimSpace(command)
	if command == "" {
		return nil, &beam.Error{Code: beam.InvalidPipeline, Where: "environment " + urnProcess, What: "it has no command",
			Cure: `give one, as --environment_config='{"command": "fresnel boot"}'`}
	}
	if _, err := exec.LookPath(command); err == nil {
		return []string{command}, nil
	}
	argv := words(command)
	if _, err := exec.LookPath(argv[0]); err != nil && argv[0] == "fresnel" {
		argv[0] = s.cfg.Executable
	}
	return argv, nil
}

// words splits at spaces outside of quotes.
func words(command string) []string {
	var all []string
	var word strings.Builder
	var quote rune
	quoted := false
	end := func() {
		if word.Len() > 0 || quoted {
			all = append(all, word.String())
		}
		word.Reset()
		quoted = false
	}
	for _, c := range command {
		switch {
		case quote == 0 && (c == '\'' || c == '"'):
			quote, quoted = c, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == ' ' || c == '\t'):
			end()
		default:
			word.WriteRune(c)
		}
	}
	end()
	return all
}

func (*process) endpoint(local string) string  { return local }
func (*process) keep() bool                    { return true }
func (*process) notice(context.Context) string { return "" }

// One process for each core: each has an interpreter lock of its own.
func (*process) parallelism() int { return cores.All() }

func (p *process) launch(_ context.Context, w *worker) (handle, error) {
	return launchChild(w, p.where, append(slices.Clip(p.argv), containerFlags(w)...), p.env)
}

// containerFlags are those of Beam's container contract.
func containerFlags(w *worker) []string {
	return []string{
		"--id=" + w.id,
		"--logging_endpoint=" + w.endpoint,
		"--artifact_endpoint=" + w.artifacts(),
		"--provision_endpoint=" + w.endpoint,
		"--control_endpoint=" + w.endpoint,
	}
}

// launchChild runs argv as worker w. What it prints goes to the log, and the
// worker is lost when it ends.
func launchChild(w *worker, where string, argv, env []string) (handle, error) {
	tail := &child.Tail{}
	w.becomeChild()
	w.talks.Store(true)
	p, err := child.Start(child.Spec{
		Path: argv[0], Args: argv[1:], Env: append(os.Environ(), env...),
		Line: func(line string) {
			tail.Add(line)
			w.log(LogEntry{Severity: w.shown(line), Message: line})
		},
		Err: func(line string) {
			tail.Add(line)
			w.log(LogEntry{Severity: int(fnpb.LogEntry_Severity_INFO), Message: line})
		},
	})
	if err != nil {
		return nil, cannotStart(where, argv[0], err)
	}
	w.process.Store(int64(p.Pid()))
	go func() {
		<-p.Done()
		w.end(&beam.Error{Code: beam.Unavailable, Where: where, What: fmt.Sprintf("SDK harness %s%s ended with %s", w.id, w.weightText(), tail.Describe(p.Err())),
			Cure: w.cureOfEnd(tail, argv[0])})
	}()
	return childHandle{p}, nil
}

// cureOfEnd is for a child that cannot say itself what is wrong.
func (w *worker) cureOfEnd(tail *child.Tail, program string) string {
	select {
	case <-w.connected:
		return "it was at work: see whether the code that it runs, or a library of it, ends or crashes the process, or needs more memory than there is"
	default:
	}
	if !tail.Empty() {
		return ""
	}
	return fmt.Sprintf("check, where the server runs, that %s starts an SDK harness, as \"fresnel boot\" does", program)
}

// shown has a line that a worker printed shown to the user, also if its job is
// over, and returns the severity that it has besides.
func (w *worker) shown(line string) int {
	if w.server.cfg.Printed == nil {
		return int(fnpb.LogEntry_Severity_INFO)
	}
	w.server.cfg.Printed(line)
	return int(fnpb.LogEntry_Severity_DEBUG)
}

func cannotStart(where, program string, err error) error {
	e := &beam.Error{Code: beam.Unavailable, Where: where, What: "it cannot be started", Cause: err}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		e.Code, e.Cure = beam.InvalidPipeline, fmt.Sprintf("install %s where the server runs, or name another command in --environment_config", program)
		return hopeless{e}
	}
	return e
}

type childHandle struct{ *child.Process }

const (
	// leaveGrace is what a harness gets to see its control stream end.
	leaveGrace = 500 * time.Millisecond
	// stopGrace is what it gets after being asked to end.
	stopGrace = 5 * time.Second
)

func (h childHandle) stop() {
	select {
	case <-h.Done():
	case <-time.After(leaveGrace):
		h.Stop(stopGrace)
	}
}
