package fnapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"fresnel/internal/beam"
	"fresnel/internal/rpc"
)

// Config says where a server listens and how patient it is. The zero value is
// a server on a free port of the loopback interface.
type Config struct {
	// Listen is the address to listen on; "localhost:0" if empty.
	Listen string
	// Listener is used instead of Listen, if set.
	Listener net.Listener
	// Advertise is the host:port that workers are told to connect to. If empty it
	// is the port listened on at the host of Listen, or at localhost.
	Advertise string
	// Log receives what concerns no single job; slog.Default() if nil.
	Log *slog.Logger
	// Executable is the fresnel binary, which "boot" is a subcommand of; the
	// running one if empty.
	Executable string
	// Processes has DOCKER environments run in local processes, also where a Docker
	// engine answers.
	Processes bool
	// Printed, if set, receives what worker processes of jobs print to stdout. Calls
	// come from several goroutines.
	Printed func(line string)
	// StartPatience is how long a pool tries to start a first worker before it
	// fails; 30 s if zero.
	StartPatience time.Duration
	// AwayPatience is that of a pool that has had workers and whose service comes
	// back; 10 minutes if zero.
	AwayPatience time.Duration
	// ExpectPatience is how long a worker waits that was started when its job was
	// prepared, for the job to be run; 10 s if zero.
	ExpectPatience time.Duration
	// ConnectPatience is how long a worker that was started may take to open its
	// control stream, dependencies to install included; 10 minutes if zero.
	ConnectPatience time.Duration
	// OutputPatience is how long a bundle waits for output, or for the answer to a
	// split, once its response is there and nothing else arrives; 2 minutes if
	// zero.
	OutputPatience time.Duration
	// AnswerPatience is how long a worker with work may leave a question unanswered,
	// before it counts as hung, and is replaced; 5 minutes if zero, without end if
	// negative.
	AnswerPatience time.Duration
	// WorkerMemory is what one worker process may have of memory, in bytes; less than
	// 0 is no limit. If it is zero a worker may have its share while memory is short.
	WorkerMemory int64
	// KeepWarm is how long idle worker processes are kept for the next job; 5
	// minutes if zero, not at all if negative.
	KeepWarm time.Duration
	// MostWarm is how many idle worker processes are kept in all; if zero two for
	// each core, and at least 8.
	MostWarm int
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "localhost:0"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Executable == "" {
		c.Executable, _ = os.Executable()
	}
	setDuration(&c.StartPatience, 30*time.Second)
	setDuration(&c.AwayPatience, 10*time.Minute)
	setDuration(&c.ExpectPatience, 10*time.Second)
	setDuration(&c.ConnectPatience, 10*time.Minute)
	setDuration(&c.OutputPatience, 2*time.Minute)
	setDuration(&c.AnswerPatience, 5*time.Minute)
	setDuration(&c.KeepWarm, 5*time.Minute)
	if c.MostWarm == 0 {
		c.MostWarm = max(2*runtime.NumCPU(), 8)
	}
	return c
}

func setDuration(d *time.Duration, otherwise time.Duration) {
	if *d == 0 {
		*d = otherwise
	}
}

// Server serves the Fn API to harnesses and hands out pools of them.
type Server struct {
	fnpb.UnimplementedBeamFnControlServer
	fnpb.UnimplementedBeamFnDataServer
	fnpb.UnimplementedBeamFnStateServer
	fnpb.UnimplementedBeamFnLoggingServer
	fnpb.UnimplementedProvisionServiceServer
	fnpb.UnimplementedBeamFnWorkerStatusServer

	cfg         Config
	endpoint    string
	grpc        *grpc.Server
	descriptors *descriptors
	warm        *warmth
	expected    expected
	docker      dockerEngine
	instruction atomic.Int64 // numbers instructions that are not bundles

	mu      sync.Mutex
	workers map[string]*worker
	pools   map[*pool]bool
	closed  bool
	closing chan struct{} // closed with closed

	running sync.WaitGroup // pools, and workers on their way out
}

// NewServer listens and serves until Close.
func NewServer(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	listener := cfg.Listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", cfg.Listen); err != nil {
			return nil, &beam.Error{Code: beam.Unavailable, Where: cfg.Listen, What: "cannot listen for SDK harnesses", Cause: err,
				Cure: "choose a free port, or 0"}
		}
	}
	s := &Server{
		cfg:         cfg,
		endpoint:    advertised(cfg, listener),
		grpc:        grpc.NewServer(serverOptions()...),
		descriptors: newDescriptors(),
		expected:    expected{starts: make(map[expectedFor]*earlyStart)},
		workers:     make(map[string]*worker),
		pools:       make(map[*pool]bool),
		closing:     make(chan struct{}),
	}
	s.warm = newWarmth(s)
	s.register()
	go func() { _ = s.grpc.Serve(quiet(listener)) }() // ends with Close
	return s, nil
}

func advertised(cfg Config, listener net.Listener) string {
	if cfg.Advertise != "" {
		return cfg.Advertise
	}
	tcp, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return listener.Addr().String()
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil || host == "" || net.ParseIP(host).IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// serverOptions suit few clients that move much data. Python pings idle
// channels every 20 s, with or without a stream: without the enforcement
// policy it would be cut off.
func serverOptions() []grpc.ServerOption {
	return append(rpc.Recovering(),
		grpc.ForceServerCodecV2(newCodec()),
		experimental.BufferPool(&bufferPool{}),
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.InitialWindowSize(8<<20),
		grpc.InitialConnWindowSize(32<<20),
		grpc.ReadBufferSize(256<<10),
		grpc.WriteBufferSize(256<<10),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: time.Minute}),
	)
}

func (s *Server) register() {
	fnpb.RegisterBeamFnControlServer(s.grpc, s)
	fnpb.RegisterBeamFnDataServer(s.grpc, s)
	fnpb.RegisterBeamFnStateServer(s.grpc, s)
	fnpb.RegisterBeamFnLoggingServer(s.grpc, s)
	fnpb.RegisterProvisionServiceServer(s.grpc, s)
	fnpb.RegisterBeamFnWorkerStatusServer(s.grpc, s)
}

// Endpoint is the address that workers are told to connect to.
func (s *Server) Endpoint() string { return s.endpoint }

// Close ends all pools and stops their workers, warm ones too. It returns when
// processes are gone.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		close(s.closing)
	}
	s.closed = true
	pools := make([]*pool, 0, len(s.pools))
	for p := range s.pools {
		pools = append(pools, p)
	}
	s.mu.Unlock()
	for _, p := range pools {
		p.Close()
	}
	s.warm.close()
	s.running.Wait()
	s.stopServing()
}

// stopServing lets harnesses that are already ending close their streams
// themselves, for a moment: an abort would fill their users' terminals.
func (s *Server) stopServing() {
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(500 * time.Millisecond):
		s.grpc.Stop()
		<-stopped
	}
}

// newWorkerID is a name that another local user cannot guess: it is all that a
// harness shows to be let in.
func newWorkerID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "worker-" + hex.EncodeToString(b[:])
}

func (s *Server) enlist(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers[w.id] = w
}

func (s *Server) dismiss(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.workers, w.id)
}

// caller is the worker that a call's metadata names.
func (s *Server) caller(ctx context.Context) (*worker, error) {
	id := metadataValue(ctx, "worker_id")
	if id == "" {
		return nil, status.Error(codes.Unauthenticated, "the call has no worker_id in its metadata")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.workers[id]
	if !ok {
		return nil, status.Errorf(codes.PermissionDenied, "no worker with the id %q is expected", id)
	}
	return w, nil
}

func metadataValue(ctx context.Context, key string) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}
