package rig

import (
	"errors"
	"fmt"
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
	data := log + ".data"
	if err := os.RemoveAll(data); err != nil {
		return nil, err
	}
	p, err := start(log, []string{"FRESNEL_PYTHON=" + python, "FRESNEL_DATA_DIR=" + data}, append([]string{binary, "serve", "--job_port=0"}, flags...)...)
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p}
	if s.Endpoint, err = p.await("fresnel: job endpoint ", startLimit); err == nil {
		s.conn, err = grpc.NewClient(s.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w\n%s", err, p.Output())
	}
	s.jobs = jobpb.NewJobServiceClient(s.conn)
	return s, nil
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
