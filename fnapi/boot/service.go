package boot

import (
	"context"
	"fmt"
	"net"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
)

// Service is a BeamFnExternalWorkerPool whose workers are processes on this
// machine. Close ends them.
type Service struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer

	// Python is the interpreter to use; empty leaves it to python.Choose.
	Python string
	// Print receives what the worker of that id prints.
	Print func(worker, line string)

	mu      sync.Mutex
	workers map[string]*serviceWorker
	closed  bool
}

type serviceWorker struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// Serve serves at listener until ctx ends, then ends the workers.
func (s *Service) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer()
	fnpb.RegisterBeamFnExternalWorkerPoolServer(server, s)
	defer context.AfterFunc(ctx, server.Stop)()
	defer s.Close()
	return server.Serve(listener)
}

// StartWorker starts a worker, and answers once its process runs.
func (s *Service) StartWorker(ctx context.Context, req *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	started := make(chan struct{})
	w, err := s.start(req, func() { close(started) })
	if err != nil {
		return &fnpb.StartWorkerResponse{Error: err.Error()}, nil //nolint:nilerr // the protocol's way to say it
	}
	select {
	case <-started:
		return &fnpb.StartWorkerResponse{}, nil
	case <-w.done:
		return &fnpb.StartWorkerResponse{Error: fmt.Sprint("the worker ended: ", w.err)}, nil
	case <-ctx.Done():
		w.cancel()
		return nil, ctx.Err()
	}
}

func (s *Service) start(req *fnpb.StartWorkerRequest, started func()) (*serviceWorker, error) {
	id := req.GetWorkerId()
	ctx, cancel := context.WithCancel(context.Background())
	w := &serviceWorker{cancel: cancel, done: make(chan struct{})}
	if err := s.add(id, w); err != nil {
		cancel()
		return nil, err
	}
	cfg := Config{
		ID: id, Provision: req.GetProvisionEndpoint().GetUrl(), Logging: req.GetLoggingEndpoint().GetUrl(),
		Artifact: req.GetArtifactEndpoint().GetUrl(), Control: req.GetControlEndpoint().GetUrl(),
		Python: s.Python, Started: started, Print: func(line string) { s.print(id, line) },
	}
	go func() {
		defer close(w.done)
		defer cancel()
		if w.err = Run(ctx, cfg); w.err != nil {
			s.print(id, w.err.Error())
		}
		s.remove(id)
	}()
	return w, nil
}

func (s *Service) print(worker, line string) {
	if s.Print != nil {
		s.Print(worker, line)
	}
}

func (s *Service) add(id string, w *serviceWorker) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("the worker pool is closing")
	}
	if _, ok := s.workers[id]; ok {
		return fmt.Errorf("worker %s runs already", id)
	}
	if s.workers == nil {
		s.workers = make(map[string]*serviceWorker)
	}
	s.workers[id] = w
	return nil
}

func (s *Service) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.workers, id)
}

// StopWorker ends a worker and answers when it has ended. It is no error if
// there is none of that id.
func (s *Service) StopWorker(ctx context.Context, req *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	s.mu.Lock()
	w := s.workers[req.GetWorkerId()]
	s.mu.Unlock()
	if w == nil {
		return &fnpb.StopWorkerResponse{}, nil
	}
	w.cancel()
	select {
	case <-w.done:
		return &fnpb.StopWorkerResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends all workers.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	all := make([]*serviceWorker, 0, len(s.workers))
	for _, w := range s.workers {
		all = append(all, w)
	}
	s.mu.Unlock()
	for _, w := range all {
		w.cancel()
	}
	for _, w := range all {
		<-w.done
	}
}
