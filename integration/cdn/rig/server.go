package rig

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Server is a `fresnel serve`.
type Server struct {
	*Process
	// Endpoint is where jobs are submitted.
	Endpoint string
	conn     *grpc.ClientConn
	jobs     jobpb.JobServiceClient
	// binary, log and flags are what it was started with; lives counts the starts.
	// data is its directory: what a killed one leaves is the next one's.
	binary, log, data string
	flags             []string
	lives             int
}

const (
	startLimit = 30 * time.Second // on a machine that is busy with other tests
	pollEvery  = 20 * time.Millisecond
)

// StartServer runs fresnel on a free port, with more flags. Harnesses that it
// starts run our Python. It has a new data directory beside its log, unless
// --data-dir names one.
func StartServer(binary, log string, flags ...string) (*Server, error) {
	python, err := Python()
	if err != nil {
		return nil, err
	}
	s := &Server{binary: binary, log: log, data: log + ".data", flags: flags}
	if err := os.RemoveAll(s.data); err != nil {
		return nil, err
	}
	if err := s.beginAnywhere(python); err != nil {
		return nil, err
	}
	return s, nil
}

// beginAnywhere starts the process on a free port.
func (s *Server) beginAnywhere(python string) error {
	if err := s.begin(python, "0"); err != nil {
		return err
	}
	conn, err := grpc.NewClient(s.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.Kill()
		return err
	}
	s.conn, s.jobs = conn, jobpb.NewJobServiceClient(conn)
	return nil
}

// DataDir is where the server keeps its jobs.
func (s *Server) DataDir() string { return s.data }

// Supersede stops the server where it is, and starts another with a copy of its
// data directory, which goes on with its jobs, as on another machine. It returns
// the old one, which knows nothing of that when it is continued.
func (s *Server) Supersede() (old *Process, err error) {
	python, err := Python()
	if err != nil {
		return nil, err
	}
	old = s.Process
	old.Pause()
	data := fmt.Sprintf("%s.data.%d", s.log, s.lives+1)
	if err := errors.Join(s.conn.Close(), os.RemoveAll(data), os.CopyFS(data, os.DirFS(s.data))); err != nil {
		return old, err
	}
	s.data = data
	return old, s.beginAnywhere(python)
}

// Restart starts a server that has ended once more, on the same port.
func (s *Server) Restart() error {
	python, err := Python()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(s.Endpoint)
	if err != nil {
		return err
	}
	return s.begin(python, port)
}

// begin starts the process, which prints into a file of its own.
func (s *Server) begin(python, port string) (err error) {
	log := s.log
	if s.lives++; s.lives > 1 {
		log = fmt.Sprintf("%s.%d", s.log, s.lives)
	}
	argv := append([]string{s.binary, "serve", "--job_port=" + port}, s.flags...)
	if s.Process, err = start(log, []string{"FRESNEL_PYTHON=" + python, "FRESNEL_DATA_DIR=" + s.data}, argv...); err != nil {
		return err
	}
	if s.Endpoint, err = s.await("fresnel: job endpoint ", startLimit); err != nil {
		s.Kill()
		return fmt.Errorf("%w\n%s", err, s.Output())
	}
	return nil
}

// await returns the rest of the first line that begins with prefix.
func (p *Process) await(prefix string, limit time.Duration) (string, error) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		for line := range strings.Lines(p.Output()) {
			if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(rest, "\n") {
				return strings.TrimSpace(rest), nil
			}
		}
		select {
		case <-p.exited:
			return "", errors.New("it ended by itself")
		case <-time.After(pollEvery):
		}
	}
	return "", fmt.Errorf("it does not print %q", prefix)
}

// Workers are the SDK harnesses that the server started, by process id: nearly
// always the oldest first.
func (s *Server) Workers() []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if fields, err := stat(pid); err == nil { // else it is gone
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	var workers []int
	for below := children[s.Pid()]; len(below) > 0; {
		pid := below[0]
		below = append(below[1:], children[pid]...)
		if command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(command), "sdk_worker_main") {
			workers = append(workers, pid)
		}
	}
	slices.Sort(workers)
	return workers
}

// Stop ends the server.
func (s *Server) Stop() {
	_ = s.conn.Close()
	s.Process.Stop()
}
