package fnapi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi"
	"fresnel/fnapi/boot"
	"fresnel/internal/beam"
)

// These tests run against Beam's own Python harness. They need the virtual
// environment that the Makefile makes, and are skipped without it.

func python(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("no .venv with apache-beam: run make to get one")
	}
	return path
}

// loopback serves workers as threads, as the client of a LOOPBACK job does.
const loopback = `
import sys, time
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer as Pool
_, server = Pool.start(port=int(sys.argv[1]), state_cache_size=100 << 20, data_buffer_time_limit_ms=0)
sys.stdin.read()
`

// startPython runs a program in the virtual environment until the test ends.
func startPython(t testing.TB, args ...string) {
	t.Helper()
	exe := python(t)
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(exe)+string(os.PathListSeparator)+os.Getenv("PATH"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Wait() // it was interrupted
	})
}

var descriptorsOnce = sync.OnceValues(func() (map[string]*fnpb.ProcessBundleDescriptor, error) {
	dir, err := os.MkdirTemp("", "fresnel-descriptors")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if out, err := exec.Command("../.venv/bin/python", "testdata/descriptors.py", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pb"))
	if err != nil {
		return nil, err
	}
	all := make(map[string]*fnpb.ProcessBundleDescriptor)
	for _, f := range files {
		wire, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		d := &fnpb.ProcessBundleDescriptor{}
		if err := proto.Unmarshal(wire, d); err != nil {
			return nil, err
		}
		all[strings.TrimSuffix(filepath.Base(f), ".pb")] = d
	}
	return all, nil
})

// pythonStage is the stage of a DoFn in testdata/descriptors.py.
func pythonStage(t testing.TB, name string) *fnapi.Descriptor {
	t.Helper()
	all, err := descriptorsOnce()
	if err != nil {
		t.Fatal(err)
	}
	return &fnapi.Descriptor{ID: fmt.Sprintf("%s-%d", name, serial.Add(1)), Proto: all[name]}
}

// kv encodes a pair of strings in the global window, at time 0.
func kv(key, value string) string {
	b := binary.BigEndian.AppendUint64(nil, 1<<63)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, 0x0f)
	for _, s := range []string{key, value} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return string(b)
}

// values are the values of encoded pairs.
func values(encoded string) (all []string) {
	b := []byte(encoded)
	next := func() string {
		n, size := binary.Uvarint(b)
		s := string(b[size : size+int(n)])
		b = b[size+int(n):]
		return s
	}
	for len(b) > 0 {
		b = b[13:]
		next()
		all = append(all, next())
	}
	return all
}

// pythonRig is a rig with a harness in a thread of a Python program.
func pythonRig(t testing.TB) (*rig, fnapi.Worker) {
	t.Helper()
	python(t)
	r := newRig(t, fnapi.Config{})
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	startPython(t, "-c", loopback, port)
	all, err := descriptorsOnce()
	if err != nil {
		t.Fatal(err)
	}
	env := external(address)
	for _, e := range all["Twice"].GetEnvironments() {
		env.Capabilities = e.GetCapabilities()
	}
	r.pool(fnapi.Environment{Env: env})
	return r, r.up()
}

func TestPythonHarness(t *testing.T) {
	_, w := pythonRig(t)

	t.Run("processes a bundle", func(t *testing.T) {
		d := pythonStage(t, "Twice")
		for i := range 3 {
			var out output
			result := finishWell(t, w.Start(bundle(d, &out, kv("a", "1")+kv("a", "2"))))
			if got := values(out.of("out")); strings.Join(got, " ") != "1 1 2 2" {
				t.Errorf("round %d: %v", i, got)
			}
			if len(result.Monitoring) == 0 {
				t.Error("no metrics")
			}
			infos, err := w.MonitoringInfos(context.Background(), keys(result.Monitoring))
			if err != nil || len(infos) != len(result.Monitoring) {
				t.Errorf("%d of %d short ids were resolved: %v", len(infos), len(result.Monitoring), err)
			}
		}
	})

	t.Run("shows its program's CPU time", func(t *testing.T) {
		if took, ok := w.CPU(); runtime.GOOS == "linux" && (!ok || took < 100*time.Millisecond || took > time.Hour) {
			t.Errorf("%v, %v: importing Beam alone takes a second", took, ok)
		}
	})

	t.Run("reports a traceback", func(t *testing.T) {
		_, err := finish(t, w.Start(bundle(pythonStage(t, "Fail"), &output{}, kv("a", "it"))))
		wantCode(t, err, beam.UserCode, "Traceback", "ValueError: cannot take it", "descriptors.py")
	})

	t.Run("keeps state", func(t *testing.T) {
		d, state := pythonStage(t, "Count"), &cells{}
		var out output
		for _, v := range []string{"1", "2"} {
			b := bundle(d, &out, kv("a", v))
			b.State, b.UserStateToken = state, []byte("token")
			finishWell(t, w.Start(b))
		}
		if got := strings.Join(values(out.of("out")), " "); got != "1 1,2" {
			t.Errorf("counted %s", got)
		}
	})

	t.Run("splits and reports progress", func(t *testing.T) { splitPython(t, w) })

	t.Run("finalizes", func(t *testing.T) {
		b := bundle(pythonStage(t, "Finalized"), &output{}, kv("a", "b"))
		if result := finishWell(t, w.Start(b)); !result.RequiresFinalization {
			t.Fatal("finalization is not required")
		}
		if err := w.Finalize(context.Background(), b.ID); err != nil {
			t.Error(err)
		}
		if err := w.Finalize(context.Background(), b.ID); err == nil {
			t.Error("finalized twice")
		}
	})

	t.Run("runs bundles side by side", func(t *testing.T) {
		d := pythonStage(t, "Slow")
		input := make([]string, 30)
		for i := range input {
			input[i] = kv(strings.Repeat("x", 1<<20), fmt.Sprint(i)) // more frames than the harness queues
		}
		long := w.Start(bundle(d, &output{}, input...))
		var out output
		finishWell(t, w.Start(bundle(d, &out, kv("a", "short"))))
		select {
		case <-long.Done():
			t.Error("the short bundle waited for the long one")
		default:
		}
		finishWell(t, long)
	})
}

// splitPython splits a bundle of 100 elements that take 20 ms each.
func splitPython(t *testing.T, w fnapi.Worker) {
	input := make([]string, 100)
	for i := range input {
		input[i] = kv("k", fmt.Sprint(i))
	}
	var out output
	running := w.Start(bundle(pythonStage(t, "Slow"), &out, input...))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for p := (*fnapi.Progress)(nil); p == nil || p.Consumed < 3; {
		var err error
		if p, err = running.Progress(ctx); err != nil || p == nil {
			t.Fatalf("progress %v, %v", p, err)
		}
	}
	split, err := running.Split(ctx, fnapi.SplitRequest{Source: "in", FractionOfRemaining: 0, EstimatedInput: 100})
	if err != nil || split == nil {
		t.Fatalf("split %v, %v", split, err)
	}
	finishWell(t, running)
	if got := values(out.of("out")); len(got) != int(split.LastPrimary)+1 || split.FirstResidual != split.LastPrimary+1 {
		t.Errorf("%d elements were processed after the split %+v", len(got), split)
	}
	if again, err := running.Split(ctx, fnapi.SplitRequest{Source: "in"}); again != nil || err != nil {
		t.Errorf("a bundle that is over was split: %v, %v", again, err)
	}
	if p, err := running.Progress(ctx); p != nil && p.Consumed >= 0 || err != nil {
		t.Errorf("a bundle that is over makes progress: %v, %v", p, err)
	}
}

func keys[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// TestBootedPython runs harnesses by way of "fresnel boot" (TestMain).
func TestBootedPython(t *testing.T) {
	exe := python(t)
	r := newRig(t, fnapi.Config{Executable: os.Args[0]})
	r.pool(fnapi.Environment{Env: command("fresnel boot", "FRESNEL_PYTHON="+exe), Parallelism: 1, Job: "job-1",
		Options: []byte(`{"beam:option:default_sdk_harness_log_level:v1": "DEBUG"}`)})
	w := r.up()
	var out output
	finishWell(t, w.Start(bundle(pythonStage(t, "Twice"), &out, kv("a", "1"))))
	if got := strings.Join(values(out.of("out")), " "); got != "1 1" {
		t.Errorf("output %s", got)
	}
	r.awaitLog("twice ('a', '1')")                                                    // a print
	if e := r.awaitLog("start <DoOperation do"); e.Bundle == "" || e.Location == "" { // a log entry
		t.Errorf("log entry %+v", e)
	}

	b := bundle(pythonStage(t, "Exit"), &output{}, kv("a", "1"))
	_, err := finish(t, w.Start(b))
	wantCode(t, err, beam.Unavailable)
	next := r.up()
	var again output
	finishWell(t, next.Start(bundle(pythonStage(t, "Twice"), &again, kv("a", "2"))))
}

// TestFresnelWorkerPool runs harnesses by way of "fresnel worker-pool".
func TestFresnelWorkerPool(t *testing.T) {
	service := &boot.Service{Python: python(t)}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- service.Serve(ctx, listener) }()
	r := newRig(t, fnapi.Config{})
	pool := r.pool(fnapi.Environment{Env: external(listener.Addr().String()), Parallelism: 2})
	for _, w := range []fnapi.Worker{r.up(), r.up()} {
		var out output
		finishWell(t, w.Start(bundle(pythonStage(t, "Twice"), &out, kv("a", "1"))))
		if got := strings.Join(values(out.of("out")), " "); got != "1 1" {
			t.Errorf("output %s", got)
		}
	}
	pool.Close()
	stop()
	if err := await(t, served, "end of the service"); err != nil {
		t.Error(err)
	}
}

// TestBootInstallsDependencies stages a requirements file and the wheel that it
// asks for.
func TestBootInstallsDependencies(t *testing.T) {
	exe := python(t)
	artifacts := serveArtifacts(t, map[string][]byte{
		"requirements.txt": []byte("fresnel-probe==1.0\n"),
		"fresnel_probe-1.0-py3-none-any.whl": zipped(t, map[string]string{
			"fresnel_probe.py":                     "WORD = 'installed'\n",
			"fresnel_probe-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
			"fresnel_probe-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: fresnel-probe\nVersion: 1.0\n",
			"fresnel_probe-1.0.dist-info/RECORD":   "",
		}),
	})
	env := command("fresnel boot", "FRESNEL_PYTHON="+exe, "XDG_CACHE_HOME="+t.TempDir())
	env.Dependencies = artifacts.list
	for round, installs := range []int{1, 0} {
		workers := 2 - round
		r := newRig(t, fnapi.Config{Executable: os.Args[0]})
		r.pool(fnapi.Environment{Env: env, Parallelism: workers, RetrievalEndpoint: artifacts.endpoint})
		for range workers {
			var out output
			finishWell(t, r.up().Start(bundle(pythonStage(t, "Probe"), &out, kv("a", "1"))))
			if got := strings.Join(values(out.of("out")), " "); got != "installed" {
				t.Errorf("output %s", got)
			}
		}
		n := 0
		for _, e := range r.logged() {
			if strings.Contains(e.Message, "Successfully installed fresnel-probe") {
				n++
			}
		}
		if n != installs {
			t.Errorf("round %d: installed %d times, want %d", round, n, installs)
		}
		r.server.Close()
	}
}

// zipped is a zip archive, as a wheel is.
func zipped(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// artifactServer is an ArtifactRetrievalService of a few files.
type artifactServer struct {
	jobpb.UnimplementedArtifactRetrievalServiceServer
	endpoint string
	list     []*pipepb.ArtifactInformation
	files    map[string][]byte
}

func serveArtifacts(t *testing.T, files map[string][]byte) *artifactServer {
	t.Helper()
	s := &artifactServer{files: files}
	for name := range files {
		role, _ := proto.Marshal(&pipepb.ArtifactStagingToRolePayload{StagedName: name})
		kind, _ := proto.Marshal(&pipepb.ArtifactFilePayload{Path: name})
		s.list = append(s.list, &pipepb.ArtifactInformation{
			TypeUrn: "beam:artifact:type:file:v1", TypePayload: kind,
			RoleUrn: "beam:artifact:role:staging_to:v1", RolePayload: role,
		})
	}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s.endpoint = listener.Addr().String()
	server := grpc.NewServer()
	jobpb.RegisterArtifactRetrievalServiceServer(server, s)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return s
}

func (s *artifactServer) ResolveArtifacts(_ context.Context, req *jobpb.ResolveArtifactsRequest) (*jobpb.ResolveArtifactsResponse, error) {
	return &jobpb.ResolveArtifactsResponse{Replacements: req.GetArtifacts()}, nil
}

func (s *artifactServer) GetArtifact(req *jobpb.GetArtifactRequest, stream jobpb.ArtifactRetrievalService_GetArtifactServer) error {
	role := &pipepb.ArtifactStagingToRolePayload{}
	if err := proto.Unmarshal(req.GetArtifact().GetRolePayload(), role); err != nil {
		return err
	}
	return stream.Send(&jobpb.GetArtifactResponse{Data: s.files[role.GetStagedName()]})
}
