package boot

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/fnapi/boot/python"
)

const patience = 5 * time.Minute

// fakeRunner provisions one worker and has its files.
type fakeRunner struct {
	fnpb.UnimplementedProvisionServiceServer
	jobpb.UnimplementedArtifactRetrievalServiceServer
	endpoint string
	info     *fnpb.ProvisionInfo
	files    map[string]string // by staged name
}

func newRunner(t *testing.T) *fakeRunner {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &fakeRunner{endpoint: listener.Addr().String(), files: make(map[string]string)}
	here := &pipepb.ApiServiceDescriptor{Url: r.endpoint}
	r.info = &fnpb.ProvisionInfo{
		ControlEndpoint: here, ArtifactEndpoint: here, LoggingEndpoint: here, RunnerCapabilities: []string{"a", "b"},
		Metadata: map[string]string{"job_id": "the job"},
	}
	server := grpc.NewServer()
	fnpb.RegisterProvisionServiceServer(server, r)
	jobpb.RegisterArtifactRetrievalServiceServer(server, r)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return r
}

func (r *fakeRunner) GetProvisionInfo(ctx context.Context, _ *fnpb.GetProvisionInfoRequest) (*fnpb.GetProvisionInfoResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if id := md.Get("worker_id"); len(id) != 1 || !strings.HasPrefix(id[0], "worker") {
		return nil, fmt.Errorf("worker id %v", id)
	}
	return &fnpb.GetProvisionInfoResponse{Info: r.info}, nil
}

func (r *fakeRunner) ResolveArtifacts(_ context.Context, req *jobpb.ResolveArtifactsRequest) (*jobpb.ResolveArtifactsResponse, error) {
	return &jobpb.ResolveArtifactsResponse{Replacements: req.GetArtifacts()}, nil
}

func (r *fakeRunner) GetArtifact(req *jobpb.GetArtifactRequest, stream jobpb.ArtifactRetrievalService_GetArtifactServer) error {
	role := &pipepb.ArtifactStagingToRolePayload{}
	if err := proto.Unmarshal(req.GetArtifact().GetRolePayload(), role); err != nil {
		return err
	}
	for _, half := range []string{r.files[role.GetStagedName()], "!"} {
		if err := stream.Send(&jobpb.GetArtifactResponse{Data: []byte(half)}); err != nil {
			return err
		}
	}
	return nil
}

// stage adds a file, which is served with a "!" at its end.
func (r *fakeRunner) stage(name, text, sha string) {
	r.files[name] = text
	role, _ := proto.Marshal(&pipepb.ArtifactStagingToRolePayload{StagedName: name})
	kind, _ := proto.Marshal(&pipepb.ArtifactFilePayload{Path: "/store/" + name, Sha256: sha})
	r.info.Dependencies = append(r.info.Dependencies, &pipepb.ArtifactInformation{
		TypeUrn: typeFile, TypePayload: kind, RoleUrn: roleStagingTo, RolePayload: role,
	})
}

// fakePython is a program that answers as a Python with Beam, and as a harness
// runs the script.
func fakePython(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "python")
	text := `#!/bin/sh
case "$2" in
*importlib.metadata*) echo '{"path": "'$0'", "version": "3.11", "beam": "2.77.0", "sites": []}'; exit;;
esac
` + script
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

type printed struct {
	mu    sync.Mutex
	lines []string
}

func (p *printed) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
}

func (p *printed) has(line string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.lines, line)
}

func TestHarnessGetsWhatItIsConfiguredWith(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	options, err := structpb.NewStruct(map[string]any{"beam:option:max_cache_memory_usage_mb:v1": "0", "beam:option:x:v1": "y"})
	if err != nil {
		t.Fatal(err)
	}
	r.info.PipelineOptions = options
	r.stage("pickled_main_session", "session", "")
	r.stage("deep/file", "deep", "")
	dir := t.TempDir()
	var out printed
	err = Run(context.Background(), Config{
		ID: "worker-1", Provision: r.endpoint, Dir: dir, Print: out.add,
		Python: fakePython(t, `
echo "id $WORKER_ID job $JOB_ID capabilities $RUNNER_CAPABILITIES"
echo "control $CONTROL_API_SERVICE_DESCRIPTOR logging $LOGGING_API_SERVICE_DESCRIPTOR"
echo "session $(cat $SEMI_PERSISTENT_DIRECTORY/staged/pickled_main_session)"
echo "deep $(cat $SEMI_PERSISTENT_DIRECTORY/staged/deep/file)"
echo "options $(cat $PIPELINE_OPTIONS_FILE)"
`),
	})
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf(`url: "%s"`, r.endpoint)
	for _, want := range []string{
		"id worker-1 job the job capabilities a b", "control " + at + " logging " + at, "session session!", "deep deep!",
		`options {"beam:option:max_cache_memory_usage_mb:v1":"100","beam:option:x:v1":"y"}`,
	} {
		if !out.has(want) {
			t.Errorf("printed %q, without %q", out.lines, want)
		}
	}
}

// TestOptionsAreForTheirOwnerAlone, since they may hold passwords, and do not stay:
// neither in a directory of the harness's own nor in one that is given, where
// anybody may have left a file of that name.
func TestOptionsAreForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	given := t.TempDir()
	if err := os.WriteFile(filepath.Join(given, optionsFile), []byte("old"), 0o644); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(given, optionsFile), 0o644); err != nil { //nolint:gosec // whatever the umask
		t.Fatal(err)
	}
	for _, dir := range []string{"", given} {
		for _, status := range []string{"0", "3"} {
			var out printed
			err := Run(t.Context(), Config{ID: "worker-1", Provision: r.endpoint, Dir: dir, Print: out.add, Python: fakePython(t, `
echo $PIPELINE_OPTIONS_FILE
ls -ld $PIPELINE_OPTIONS_FILE | cut -c 1-10
ls -ld $SEMI_PERSISTENT_DIRECTORY | cut -c 1-10
exit `+status)})
			if (err != nil) != (status != "0") || len(out.lines) < 3 {
				t.Fatalf("status %s: %v, %q", status, err, out.lines)
			}
			if out.lines[1] != "-rw-------" || dir == "" && out.lines[2] != "drwx------" {
				t.Errorf("others can read the options: %q", out.lines)
			}
			if _, err := os.Lstat(out.lines[0]); filepath.Base(out.lines[0]) != optionsFile || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the options stay in %q: %v", out.lines[0], err)
			}
		}
	}
}

// TestAGoBinaryIsItsOwnHarness: it is run as the boot program of Beam's Go
// container runs it, and no Python is looked for.
func TestAGoBinaryIsItsOwnHarness(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	r.stage("other", "", "")
	r.stage("go-pipeline", "#!/bin/sh\necho $0 $@\ncat $PIPELINE_OPTIONS_FILE\nexit 0 #", "")
	r.info.Dependencies[1].RoleUrn = RoleGoWorker
	options, err := structpb.NewStruct(map[string]any{"beam:option:go_options:v1": map[string]any{"options": map[string]any{"a": "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.info.PipelineOptions = options
	dir := t.TempDir()
	var out printed
	if err := Run(t.Context(), Config{ID: "worker-1", Provision: r.endpoint, Dir: dir, Print: out.add, Python: "/no/python"}); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%[1]s/staged/1-go-pipeline --worker=true --id=worker-1 --logging_endpoint=%[2]s --control_endpoint=%[2]s --semi_persist_dir=%[1]s", dir, r.endpoint)
	if !out.has(want) {
		t.Errorf("the binary printed %q, want %q", out.lines, want)
	}
	if all := strings.Join(out.lines, ""); !strings.Contains(all, `"beam:option:go_options:v1":{"options":{"a":"b"}}`) {
		t.Errorf("the binary has no options: %q", all)
	}
}

func TestUsersCacheSizeIsKept(t *testing.T) {
	t.Parallel()
	const name = "beam:option:max_cache_memory_usage_mb:v1"
	for _, c := range []struct{ set, want any }{{nil, "100"}, {"0", "100"}, {0.0, "100"}, {"7", "7"}, {7.0, 7.0}} {
		options := map[string]any{}
		if c.set != nil {
			options[name] = c.set
		}
		if got := withCache(options)[name]; got != c.want {
			t.Errorf("%v became %v, want %v", c.set, got, c.want)
		}
	}
}

func TestFailingHarnessGivesItsStatus(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	err := Run(context.Background(), Config{ID: "worker-1", Provision: r.endpoint, Python: fakePython(t, "exit 7")})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("error %v", err)
	}
}

func TestHarnessEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	ctx, cancel := context.WithCancel(context.Background())
	err := Run(ctx, Config{ID: "worker-1", Provision: r.endpoint, Python: fakePython(t, "exec sleep 1000"), Started: cancel})
	if err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeFetchedIsNamed(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("text!"))
	for name, c := range map[string]struct{ staged, sha, want string }{
		"good":              {"file", hex.EncodeToString(sum[:]), ""},
		"altered":           {"file", strings.Repeat("0", 64), "SHA-256"},
		"out of the dir":    {"../file", "", "outside"},
		"an absolute path":  {"/etc/passwd", "", "outside"},
		"without any name":  {"", "", "outside"},
		"a name of the dir": {"a/../../b", "", "outside"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t)
			r.stage(c.staged, "text", c.sha)
			err := Run(context.Background(), Config{ID: "worker-1", Provision: r.endpoint, Python: fakePython(t, "exit 0")})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestTheInterpreterAskedForIsTheFirstNamed(t *testing.T) {
	t.Setenv("FRESNEL_PYTHON", "")
	if got := asked("flag", map[string]any{"fresnel_python": "option"}); got != "flag" {
		t.Error(got)
	}
	if got := asked("", map[string]any{"beam:option:fresnel_python:v1": "option"}); got != "option" {
		t.Error(got)
	}
	t.Setenv("FRESNEL_PYTHON", "variable")
	if got := asked("", map[string]any{"fresnel_python": "option"}); got != "variable" {
		t.Error(got)
	}
}

func TestVersionsAreReadFromTheNameOfAnImage(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]python.Wanted{
		"apache/beam_python3.12_sdk:2.60.0":                 {Python: "3.12", Beam: "2.60.0"},
		"registry.example/apache/beam_python3.9_sdk:2.61.0": {Python: "3.9", Beam: "2.61.0"},
		"apache/beam_java17_sdk:2.77.0":                     {},
		"":                                                  {},
	} {
		if got := WantedBy(image); got != want {
			t.Errorf("%q: %+v, want %+v", image, got, want)
		}
	}
}

func TestAPlainHarnessHasNothingInstalled(t *testing.T) {
	for _, plain := range []string{"", "1"} {
		t.Setenv(PlainHarness, plain)
		program := harnessProgram()
		for name := range modules {
			if strings.Contains(program, name+".install()") != (plain == "") {
				t.Errorf("with %q: %s", plain, program)
			}
		}
	}
}

func TestDependenciesAreSorted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := "one.whl\n\n../escape.whl\ntwo.tar.gz\n"
	if err := os.WriteFile(filepath.Join(dir, extraPackagesFile), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []file{{name: workflowFile}, {name: "one.whl"}, {name: extraPackagesFile}, {name: sdkFile}, {name: requirementsFile}, {name: "more.txt", requirements: true},
		{name: "pickled_main_session", sha256: "1"}, {name: "apache_beam-2.60.0-cp311.whl"}}
	n := dependencies(files, dir)
	if got := strings.Join(n.packages, " "); got != "one.whl two.tar.gz workflow.tar.gz" {
		t.Errorf("packages %s", got)
	}
	if got := strings.Join(n.sdk, " "); got != "apache_beam-2.60.0-cp311.whl dataflow_python_sdk.tar" {
		t.Errorf("Beam %s", got)
	}
	if got := strings.Join(n.requirements, " "); got != "requirements.txt more.txt" {
		t.Errorf("requirements %s", got)
	}
	if !dependencies([]file{{name: "pickled_main_session"}}, dir).none() {
		t.Error("a main session is nothing to install")
	}
	files[6].sha256 = "2"
	slices.Reverse(files)
	if dependencies(files[:], dir).hash != n.hash {
		t.Error("another main session, or another order, is another hash")
	}
	slices.Reverse(files)
	files[0].sha256 = "other"
	if dependencies(files, dir).hash == n.hash {
		t.Error("other content has the same hash")
	}
}

func TestAnArchivePackedAgainIsTheSame(t *testing.T) {
	t.Parallel()
	pack := func(word string, at int64) string {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, workflowFile))
		if err != nil {
			t.Fatal(err)
		}
		z := gzip.NewWriter(f)
		z.ModTime = time.Unix(at, 0)
		a := tar.NewWriter(z)
		err = a.WriteHeader(&tar.Header{Name: "p/module.py", Size: int64(len(word)), Mode: 0o644, ModTime: time.Unix(at, 0)})
		_, write := a.Write([]byte(word))
		if err := errors.Join(err, write, a.Close(), z.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		return dependencies([]file{{name: workflowFile, sha256: fmt.Sprint(at)}}, dir).hash
	}
	first := pack("one", 1000)
	if pack("one", 2000) != first {
		t.Error("the time of packing counts")
	}
	if pack("two", 1000) == first {
		t.Error("the content does not count")
	}
}

func TestServiceStartsAndStopsWorkers(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	var out printed
	s := &Service{Python: fakePython(t, `echo up; exec sleep 1000`), Print: func(worker, line string) { out.add(worker + " " + line) }}
	t.Cleanup(s.Close)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req := &fnpb.StartWorkerRequest{WorkerId: "worker-1", ProvisionEndpoint: &pipepb.ApiServiceDescriptor{Url: r.endpoint}}
	if resp, err := s.StartWorker(ctx, req); err != nil || resp.GetError() != "" {
		t.Fatal(resp, err)
	}
	if resp, err := s.StartWorker(ctx, req); err != nil || !strings.Contains(resp.GetError(), "already") {
		t.Errorf("a second worker of the same id: %v, %v", resp, err)
	}
	for deadline := time.Now().Add(patience); !out.has("worker-1 up"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker does not print")
		}
	}
	for range 2 {
		if _, err := s.StopWorker(ctx, &fnpb.StopWorkerRequest{WorkerId: "worker-1"}); err != nil {
			t.Error(err)
		}
	}
	if resp, err := s.StartWorker(ctx, req); err != nil || resp.GetError() != "" {
		t.Errorf("the worker's successor: %v, %v", resp, err)
	}
	s.Close()
	if resp, _ := s.StartWorker(ctx, req); !strings.Contains(resp.GetError(), "closing") {
		t.Errorf("after Close: %v", resp)
	}
}

func TestServiceTellsWhyAWorkerDoesNotStart(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	s := &Service{Python: "/no/such/python"}
	t.Cleanup(s.Close)
	resp, err := s.StartWorker(context.Background(), &fnpb.StartWorkerRequest{
		WorkerId: "worker-1", ProvisionEndpoint: &pipepb.ApiServiceDescriptor{Url: r.endpoint},
	})
	if err != nil || !strings.Contains(resp.GetError(), "/no/such/python") {
		t.Errorf("answer %v, %v", resp, err)
	}
}
