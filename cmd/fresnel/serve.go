package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // served only with --pprof
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"

	"fresnel/connectors"
	"fresnel/connectors/expansion"
	"fresnel/connectors/kafka"
	"fresnel/connectors/mysql"
	"fresnel/connectors/sequence"
	"fresnel/fnapi"
	"fresnel/internal/cores"
	"fresnel/internal/scratch"
	"fresnel/jobservice"
	"fresnel/runner"
)

// serveConfig is what the flags of serve set; Prism's spelling is accepted.
type serveConfig struct {
	memoryLimit string
	jobPort     int
	host        string
	dataDir     string
	durability  string
	logLevel    string
	logKind     string
	serveHTTP   bool
	pprof       string
	workers     workerFlags
	// printed gets what worker processes print, nil if that is only logged.
	printed io.Writer
	// environment is where pipelines run that ask for containers.
	environment string
}

func (c *serveConfig) flags(fs *flag.FlagSet) {
	fs.IntVar(&c.jobPort, "job_port", 8073, "port of the job endpoint; 0 takes a free one")
	fs.StringVar(&c.host, "host", "localhost", "address to listen on; only this machine can connect to localhost")
	fs.StringVar(&c.dataDir, "data-dir", "", "directory for jobs and artifacts, for one server at a time; serve has a default:\n"+
		"$FRESNEL_DATA_DIR, $XDG_STATE_HOME/fresnel, or ~/.local/state/fresnel")
	fs.StringVar(&c.dataDir, "data_dir", "", sameFlag)
	fs.StringVar(&c.durability, "durability", "", "where the state of jobs lives that do not say it themselves: memory; disk, where it survives\n"+
		"the server; auto, which is disk for unbounded jobs whose workers fresnel can start (default: auto; of serve: $FRESNEL_DURABILITY)")
	fs.StringVar(&c.memoryLimit, "memory-limit", "", "what the server should keep to, for example 512MB: data of jobs beyond a part of it lives in temporary\n"+
		"files ($TMPDIR); 0 is no limit (default: half of the machine's or control group's memory)")
	c.workers.flags(fs)
	fs.StringVar(&c.logLevel, "log_level", "info", "least level that is logged: debug, info, warn, error")
	fs.StringVar(&c.logKind, "log_kind", "text", "form of the log: text (or dev), json")
	fs.BoolVar(&c.serveHTTP, "serve_http", true, "accepted for Prism's command line; there is no web page yet")
	fs.StringVar(&c.pprof, "pprof", "", "address to serve Go profiles on, for example localhost:6060")
}

func serve(ctx context.Context, args []string) error {
	var c serveConfig
	fs := flag.NewFlagSet("fresnel serve", flag.ContinueOnError)
	c.flags(fs)
	fs.StringVar(&c.environment, "environment", "docker", "where pipelines that ask for DOCKER run: docker (local processes where Docker does not answer), process")
	untilClosed := fs.Bool("until_stdin_closes", false, "end with standard input, which closes when the program that started the server ends in whatever way")
	if err := parse(fs, args); err != nil {
		return err
	}
	c.durability = cmp.Or(c.durability, os.Getenv("FRESNEL_DURABILITY"))
	s, err := startServer(c, choosePlace(c.dataDir))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "fresnel: job endpoint %s\n", s.endpoint)
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	case <-closed(os.Stdin, *untilClosed):
	}
	s.close()
	return err
}

// closed is closed when input is, if that matters.
func closed(input io.Reader, matters bool) <-chan struct{} {
	if !matters {
		return nil
	}
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, input) // what cannot be read is closed too
		close(end)
	}()
	return end
}

// server is a running Fresnel.
type server struct {
	endpoint  string
	failed    chan error
	jobs      *jobservice.Service
	harnesses *fnapi.Server
	grpc      *grpc.Server
	data      *jobservice.DataDir // nil: jobs live in memory
	temp      string              // for artifacts, where there is no data directory
	// removeTemp is nil until it is made.
	removeTemp func()
}

// startServer starts a server that keeps its jobs in p.
func startServer(c serveConfig, p place) (*server, error) {
	log, err := newLog(c)
	if err != nil {
		return nil, err
	}
	if c.durability, err = checkDurability(c.durability); err != nil {
		return nil, err
	}
	s := &server{failed: make(chan error, 1)}
	if err := s.start(c, p, log); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) start(c serveConfig, p place, log *slog.Logger) error {
	lis, err := net.Listen("tcp", net.JoinHostPort(c.host, fmt.Sprint(c.jobPort)))
	if err != nil {
		return fmt.Errorf("cannot listen for jobs: %w (choose another port with --job_port)", err)
	}
	s.endpoint = fmt.Sprintf("%s:%d", c.host, lis.Addr().(*net.TCPAddr).Port)
	if err := s.build(c, p, log); err != nil {
		lis.Close()
		return err
	}
	// Clients that come meanwhile wait: the port is open.
	if err := s.jobs.Recover(context.Background()); err != nil {
		lis.Close()
		return err
	}
	go func() { s.failed <- s.grpc.Serve(lis) }()
	s.serveIPv6(c.host, lis)
	if c.pprof != "" {
		go func() { log.Error("profiles", "error", http.ListenAndServe(c.pprof, nil)) }()
	}
	return nil
}

// build makes the parts of the server; only harnesses can connect yet.
func (s *server) build(c serveConfig, p place, log *slog.Logger) error {
	var err error
	if s.data, err = p.open(c.durability, log); err != nil {
		return err
	}
	if s.temp, s.removeTemp, err = scratch.Dir("fresnel-serve-"); err != nil {
		return err
	}
	harnesses := fnapi.Config{Listen: net.JoinHostPort(literal(c.host), "0"), Log: log, Processes: strings.EqualFold(c.environment, "process")}
	if err = c.workers.configure(&harnesses); err != nil {
		return err
	}
	if c.printed != nil {
		harnesses.Printed = func(line string) { _, _ = io.WriteString(c.printed, line+"\n") } // as print does
	}
	if s.harnesses, err = fnapi.NewServer(harnesses); err != nil {
		return err
	}
	limit, err := limitMemory(c.memoryLimit)
	if err != nil {
		return err
	}
	cores.Govern()
	kafka, mysql, sequence := kafka.New(log), mysql.New(log), sequence.New()
	r := runner.New(runner.Config{Harnesses: s.harnesses, Log: log, Connectors: []connectors.Connector{kafka, mysql, sequence}, Durability: c.durability, MemoryLimit: limit,
		StuckAfter: orNever(c.workers.stuckAfter), StuckLimit: c.workers.stuckLimit})
	s.jobs = jobservice.New(jobservice.Config{Runner: r, ArtifactDir: filepath.Join(s.temp, "artifacts"), Data: s.data, Log: log,
		Endpoint: s.endpoint, Expansion: expansion.New(kafka, mysql, sequence)})
	s.grpc = grpc.NewServer(jobservice.ServerOptions()...)
	s.jobs.Register(s.grpc)
	return nil
}

// literal spares harnesses on this machine the look-up of its name.
func literal(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	return host
}

// serveIPv6 listens at the other loopback address too, where there is one:
// clients that look localhost up may try it first.
func (s *server) serveIPv6(host string, lis net.Listener) {
	if host != "localhost" {
		return
	}
	_, port, _ := net.SplitHostPort(lis.Addr().String()) // a listener's address has a port
	if other, err := net.Listen("tcp6", net.JoinHostPort("::1", port)); err == nil {
		go func() { _ = s.grpc.Serve(other) }() // ends with the server
	}
}

// close ends what start began, as far as it came.
func (s *server) close() {
	ended := true
	if s.jobs != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		ended = s.jobs.Close(ctx) == nil // what does not end in time ends with the process
		stopGracefully(s.grpc)
	}
	if s.harnesses != nil {
		s.harnesses.Close()
	}
	if s.data != nil && ended {
		_ = s.data.Close() // else, or if that fails, it is unlocked when the process ends
	}
	if s.removeTemp != nil {
		s.removeTemp()
	}
}

// stopGracefully lets clients read their last messages, for a short time.
func stopGracefully(g *grpc.Server) {
	t := time.AfterFunc(2*time.Second, g.Stop)
	defer t.Stop()
	g.GracefulStop()
}

func newLog(c serveConfig) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, fmt.Errorf("--log_level %q is none of debug, info, warn, error", c.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	if strings.HasPrefix(c.logKind, "json") {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
}
