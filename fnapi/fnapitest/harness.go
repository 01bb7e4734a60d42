// Package fnapitest is a Beam SDK harness for tests, scripted in Go: it
// connects to a Fn API server like any harness, runs a function of the test
// for each bundle, and dies when it is told to. A Pool serves such harnesses
// as an EXTERNAL environment.
//
//	pool := fnapitest.StartPool(t, fnapitest.Echo)
//	server.Pool(ctx, fnapi.Environment{Env: pool.Environment()}, events)
package fnapitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

// Script runs one bundle. Its error is what the harness reports, as a Python
// harness reports a traceback.
type Script func(b *Bundle) error

// Option changes how a harness behaves.
type Option func(*Harness)

// OnFinalize is called with the bundle's id when it is to be finalized.
func OnFinalize(f func(bundle string) error) Option {
	return func(h *Harness) { h.finalize = f }
}

// Infos are what the harness's short ids stand for.
func Infos(infos map[string]*pipepb.MonitoringInfo) Option {
	return func(h *Harness) { h.infos = infos }
}

// Deaf has the harness answer no question about short ids, like one that hangs.
func Deaf() Option {
	return func(h *Harness) { h.deaf = true }
}

// Leaving is called when the control stream has ended, before the harness ends the
// others.
func Leaving(f func()) Option {
	return func(h *Harness) { h.leaving = f }
}

// Harness is one SDK harness.
type Harness struct {
	ID string

	script   Script
	finalize func(string) error
	infos    map[string]*pipepb.MonitoringInfo
	ctx      context.Context
	cancel   context.CancelFunc
	conn     *grpc.ClientConn
	control  fnpb.BeamFnControlClient
	goes     sync.WaitGroup

	leaving     func()
	deaf        bool
	sendControl func(*fnpb.InstructionResponse) error

	mu          sync.Mutex
	descriptors map[string]*fnpb.ProcessBundleDescriptor
	bundles     map[string]*Bundle // that run
	early       map[string]*Bundle // whose data came before the instruction
	finished    map[string]bool
	streams     map[string]*dataStream
	state       *stateStream
	fetched     int
	told        int
	asked       map[string]int // MonitoringInfos requests by id
}

// Start connects a harness to the Fn API server at endpoint, as the worker id.
// It ends with the test, or with Kill, or when the server ends its control
// stream.
func Start(t testing.TB, endpoint, id string, script Script, options ...Option) *Harness {
	t.Helper()
	h, err := Connect(endpoint, id, script, options...)
	if err != nil {
		t.Fatalf("the scripted harness cannot connect: %v", err)
	}
	t.Cleanup(h.Kill)
	return h
}

// Connect is Start for callers that are not tests.
func Connect(endpoint, id string, script Script, options ...Option) (*Harness, error) {
	h := &Harness{
		ID: id, script: script,
		descriptors: make(map[string]*fnpb.ProcessBundleDescriptor),
		bundles:     make(map[string]*Bundle),
		early:       make(map[string]*Bundle),
		finished:    make(map[string]bool),
		streams:     make(map[string]*dataStream),
		asked:       make(map[string]int),
		leaving:     func() {},
	}
	for _, o := range options {
		o(h)
	}
	h.ctx, h.cancel = context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "worker_id", id))
	if err := h.dial(endpoint); err != nil {
		h.Kill()
		return nil, err
	}
	return h, nil
}

func (h *Harness) dial(endpoint string) (err error) {
	const unlimited = 1 << 30
	h.conn, err = grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(unlimited), grpc.MaxCallSendMsgSize(unlimited)))
	if err != nil {
		return err
	}
	h.control = fnpb.NewBeamFnControlClient(h.conn)
	stream, err := h.control.Control(h.ctx)
	if err != nil {
		return err
	}
	var sending sync.Mutex
	h.sendControl = func(resp *fnpb.InstructionResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(resp)
	}
	h.spawn(func() { h.readControl(stream) })
	return nil
}

// spawn runs f unless the harness is dead, and Kill waits for it.
func (h *Harness) spawn(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return
	}
	h.goes.Go(f)
}

// Kill ends the harness as a killed process ends: connections break.
func (h *Harness) Kill() {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	if h.conn != nil {
		_ = h.conn.Close()
	}
	h.goes.Wait()
}

// Done is closed when the harness has ended.
func (h *Harness) Done() <-chan struct{} { return h.ctx.Done() }

// Fetched counts the bundle descriptors that were asked for.
func (h *Harness) Fetched() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fetched
}

// Asked counts the requests for what a short id stands for.
func (h *Harness) Asked(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[id]
}

// Respond sends any message on the control stream, for tests of nonsense.
func (h *Harness) Respond(resp *fnpb.InstructionResponse) error { return h.sendControl(resp) }

func (h *Harness) readControl(stream fnpb.BeamFnControl_ControlClient) {
	defer h.cancel()
	defer h.leaving()
	for {
		req, err := stream.Recv()
		if err != nil {
			return
		}
		h.instruct(req)
	}
}

func (h *Harness) instruct(req *fnpb.InstructionRequest) {
	id := req.GetInstructionId()
	if r, ok := req.GetRequest().(*fnpb.InstructionRequest_ProcessBundle); ok {
		b := h.newBundle(id, r.ProcessBundle)
		h.spawn(func() { h.process(b) })
		return
	}
	if r, ok := req.GetRequest().(*fnpb.InstructionRequest_Register); ok {
		h.reply(id, h.register(r.Register)) // before what comes next, as Python does it
		return
	}
	if h.deaf && req.GetMonitoringInfos() != nil {
		return
	}
	h.spawn(func() { h.reply(id, h.answer(req)) })
}

func (h *Harness) register(req *fnpb.RegisterRequest) *fnpb.InstructionResponse {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, desc := range req.GetProcessBundleDescriptor() {
		h.descriptors[desc.GetId()] = desc
		h.told++
	}
	return &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_Register{Register: &fnpb.RegisterResponse{}}}
}

// Told counts the bundle descriptors that came without being asked for.
func (h *Harness) Told() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told
}

func (h *Harness) reply(id string, resp *fnpb.InstructionResponse) {
	if h.ctx.Err() != nil {
		return // the dead do not talk
	}
	resp.InstructionId = id
	_ = h.sendControl(resp) // a stream that is gone needs no answer
}

func (h *Harness) answer(req *fnpb.InstructionRequest) *fnpb.InstructionResponse {
	switch r := req.GetRequest().(type) {
	case *fnpb.InstructionRequest_ProcessBundleSplit:
		return h.split(r.ProcessBundleSplit)
	case *fnpb.InstructionRequest_ProcessBundleProgress:
		return h.progress(r.ProcessBundleProgress)
	case *fnpb.InstructionRequest_FinalizeBundle:
		return h.finalizeBundle(r.FinalizeBundle)
	case *fnpb.InstructionRequest_MonitoringInfos:
		return h.monitoringInfos(r.MonitoringInfos)
	}
	return failure(fmt.Errorf("the scripted harness cannot answer %T", req.GetRequest()))
}

func failure(err error) *fnpb.InstructionResponse {
	return &fnpb.InstructionResponse{Error: err.Error()}
}

func (h *Harness) split(req *fnpb.ProcessBundleSplitRequest) *fnpb.InstructionResponse {
	b := h.bundle(req.GetInstructionId())
	if b == nil {
		return failure(fmt.Errorf("unknown process bundle id %s", req.GetInstructionId()))
	}
	resp := &fnpb.ProcessBundleSplitResponse{}
	if f := b.onSplit(); f != nil {
		resp = f(req)
	}
	return &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_ProcessBundleSplit{ProcessBundleSplit: resp}}
}

func (h *Harness) progress(req *fnpb.ProcessBundleProgressRequest) *fnpb.InstructionResponse {
	b := h.bundle(req.GetInstructionId())
	if b == nil {
		return failure(fmt.Errorf("unknown process bundle id %s", req.GetInstructionId()))
	}
	resp := &fnpb.ProcessBundleProgressResponse{}
	if f := b.onProgress(); f != nil {
		resp = f()
	}
	return &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_ProcessBundleProgress{ProcessBundleProgress: resp}}
}

func (h *Harness) finalizeBundle(req *fnpb.FinalizeBundleRequest) *fnpb.InstructionResponse {
	if h.finalize == nil {
		return failure(fmt.Errorf("bundle %s is not in a finalizable state", req.GetInstructionId()))
	}
	if err := h.finalize(req.GetInstructionId()); err != nil {
		return failure(err)
	}
	return &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_FinalizeBundle{FinalizeBundle: &fnpb.FinalizeBundleResponse{}}}
}

func (h *Harness) monitoringInfos(req *fnpb.MonitoringInfosMetadataRequest) *fnpb.InstructionResponse {
	known := make(map[string]*pipepb.MonitoringInfo)
	h.mu.Lock()
	for _, id := range req.GetMonitoringInfoId() {
		h.asked[id]++
		if info, ok := h.infos[id]; ok {
			known[id] = info
		}
	}
	h.mu.Unlock()
	return &fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_MonitoringInfos{
		MonitoringInfos: &fnpb.MonitoringInfosMetadataResponse{MonitoringInfo: known},
	}}
}

func (h *Harness) descriptor(id string) (*fnpb.ProcessBundleDescriptor, error) {
	h.mu.Lock()
	desc, ok := h.descriptors[id]
	h.mu.Unlock()
	if ok {
		return desc, nil
	}
	desc, err := h.control.GetProcessBundleDescriptor(h.ctx, &fnpb.GetProcessBundleDescriptorRequest{ProcessBundleDescriptorId: id})
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetched++
	h.descriptors[id] = desc
	return desc, nil
}

// Log sends log entries.
func (h *Harness) Log(entries ...*fnpb.LogEntry) error {
	stream, err := fnpb.NewBeamFnLoggingClient(h.conn).Logging(h.ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&fnpb.LogEntry_List{LogEntries: entries}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for err == nil { // the server ends the stream once it has all
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Provision asks for the provision info, as a container does at start.
func (h *Harness) Provision() (*fnpb.ProvisionInfo, error) {
	resp, err := fnpb.NewProvisionServiceClient(h.conn).GetProvisionInfo(h.ctx, &fnpb.GetProvisionInfoRequest{})
	return resp.GetInfo(), err
}

// dataStreamOf reads field 6 of a ProcessBundleRequest, which the Go protos
// do not have.
func dataStreamOf(req *fnpb.ProcessBundleRequest) string {
	unknown := req.ProtoReflect().GetUnknown()
	for len(unknown) > 0 {
		num, typ, n := protowire.ConsumeTag(unknown)
		if n < 0 {
			return ""
		}
		unknown = unknown[n:]
		if num == 6 && typ == protowire.BytesType {
			name, _ := protowire.ConsumeString(unknown)
			return name
		}
		if n = protowire.ConsumeFieldValue(num, typ, unknown); n < 0 {
			return ""
		}
		unknown = unknown[n:]
	}
	return ""
}
