package fnapitest

import (
	"context"
	"net"
	"sync"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Pool is a BeamFnExternalWorkerPool service whose workers are scripted
// harnesses.
type Pool struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer
	Address string

	script  Script
	options []Option
	server  *grpc.Server

	mu       sync.Mutex
	workers  []*Harness
	requests []*fnpb.StartWorkerRequest
	stopped  []string
	refuse   string
	pretend  bool
	started  chan *Harness
}

// StartPool serves until the test ends.
func StartPool(t testing.TB, script Script, options ...Option) *Pool {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Pool{
		Address: listener.Addr().String(), script: script, options: options,
		server: grpc.NewServer(), started: make(chan *Harness, 1000),
	}
	fnpb.RegisterBeamFnExternalWorkerPoolServer(p.server, p)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = p.server.Serve(listener) // ends with Stop
	}()
	t.Cleanup(func() {
		p.Stop()
		<-served
	})
	return p
}

// Environment is the EXTERNAL environment of this pool.
func (p *Pool) Environment(capabilities ...string) *pipepb.Environment {
	payload, err := proto.Marshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: p.Address}})
	if err != nil {
		panic(err) // a message of two strings
	}
	return &pipepb.Environment{Urn: "beam:env:external:v1", Payload: payload, Capabilities: capabilities}
}

// Refuse has StartWorker answer with an error from now on; "" ends that.
func (p *Pool) Refuse(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = why
}

// Pretend has StartWorker answer that all is well and do nothing.
func (p *Pool) Pretend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pretend = true
}

// Started delivers each harness once it is connected.
func (p *Pool) Started() <-chan *Harness { return p.started }

// Requests are the StartWorker requests so far.
func (p *Pool) Requests() []*fnpb.StartWorkerRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*fnpb.StartWorkerRequest(nil), p.requests...)
}

// Stopped are the workers that were asked to stop.
func (p *Pool) Stopped() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.stopped...)
}

// Stop ends the service and kills its workers.
func (p *Pool) Stop() {
	p.server.Stop()
	p.mu.Lock()
	workers := p.workers
	p.workers = nil
	p.mu.Unlock()
	for _, h := range workers {
		h.Kill()
	}
}

// StartWorker is the service's method.
func (p *Pool) StartWorker(_ context.Context, req *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	p.mu.Lock()
	p.requests = append(p.requests, req)
	refuse, pretend := p.refuse, p.pretend
	p.mu.Unlock()
	if refuse != "" || pretend {
		return &fnpb.StartWorkerResponse{Error: refuse}, nil
	}
	h, err := Connect(req.GetControlEndpoint().GetUrl(), req.GetWorkerId(), p.script, p.options...)
	if err != nil {
		return &fnpb.StartWorkerResponse{Error: err.Error()}, nil //nolint:nilerr // the protocol's way to say it
	}
	p.mu.Lock()
	p.workers = append(p.workers, h)
	p.mu.Unlock()
	select {
	case p.started <- h:
	default:
	}
	return &fnpb.StartWorkerResponse{}, nil
}

// StopWorker is the service's method.
func (p *Pool) StopWorker(_ context.Context, req *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	p.mu.Lock()
	p.stopped = append(p.stopped, req.GetWorkerId())
	var leaving *Harness
	for _, h := range p.workers {
		if h.ID == req.GetWorkerId() {
			leaving = h
		}
	}
	p.mu.Unlock()
	if leaving != nil {
		leaving.Kill()
	}
	return &fnpb.StopWorkerResponse{}, nil
}
