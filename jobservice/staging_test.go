package jobservice

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// withDeps is aPipeline with environments that have these artifacts.
func withDeps(envs map[string][]*pipepb.ArtifactInformation) *pipepb.Pipeline {
	p := aPipeline()
	p.Components.Environments = map[string]*pipepb.Environment{}
	for id, deps := range envs {
		p.Components.Environments[id] = &pipepb.Environment{Urn: "beam:env:process:v1", Dependencies: deps}
	}
	return p
}

// artifactClient offers files by path, as an SDK does, and counts what it was
// asked for.
type artifactClient struct {
	files             map[string]string
	gets, resolutions int
	resolve           func([]*pipepb.ArtifactInformation) []*pipepb.ArtifactInformation
}

type offering = jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceClient

// offer answers until the server ends the stream.
func (c *artifactClient) offer(ctx context.Context, stub jobpb.ArtifactStagingServiceClient, token string) error {
	stream := must(stub.ReverseArtifactRetrievalService(ctx))
	if err := stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: token}); err != nil {
		return err
	}
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r := request.GetResolveArtifact(); r != nil {
			c.sendResolved(stream, r.GetArtifacts())
			continue
		}
		if err := c.sendFile(stream, request.GetGetArtifact().GetArtifact()); err != nil {
			return err
		}
	}
}

func (c *artifactClient) sendResolved(stream offering, deps []*pipepb.ArtifactInformation) {
	c.resolutions++
	if c.resolve != nil {
		deps = c.resolve(deps)
	}
	_ = stream.Send(&jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_ResolveArtifactResponse{
		ResolveArtifactResponse: &jobpb.ResolveArtifactsResponse{Replacements: deps}}})
}

func (c *artifactClient) sendFile(stream offering, dep *pipepb.ArtifactInformation) error {
	c.gets++
	path, _, _ := locate(dep)
	content, ok := c.files[path]
	if !ok {
		return fmt.Errorf("no file %q", path)
	}
	for len(content) > 0 {
		n := min(len(content), 100)
		chunk(stream, content[:n], false)
		content = content[n:]
	}
	chunk(stream, "", true)
	return nil
}

func chunk(stream offering, content string, last bool) {
	_ = stream.Send(&jobpb.ArtifactResponseWrapper{IsLast: last, Response: &jobpb.ArtifactResponseWrapper_GetArtifactResponse{
		GetArtifactResponse: &jobpb.GetArtifactResponse{Data: []byte(content)}}})
}

// retrieve gets an artifact as a harness does.
func (f *fixture) retrieve(dep *pipepb.ArtifactInformation) (string, error) {
	stream := must(f.retrieval.GetArtifact(f.ctx(), &jobpb.GetArtifactRequest{Artifact: dep}))
	var content bytes.Buffer
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return content.String(), nil
		}
		if err != nil {
			return "", err
		}
		content.Write(chunk.GetData())
	}
}

func (f *fixture) prepareDeps(envs map[string][]*pipepb.ArtifactInformation) *jobpb.PrepareJobResponse {
	f.t.Helper()
	return must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: withDeps(envs)}))
}

func (f *fixture) pipeline(id string) *pipepb.Pipeline {
	return must(f.jobs.GetPipeline(f.ctx(), &jobpb.GetJobPipelineRequest{JobId: id})).GetPipeline()
}

func TestStagedArtifactsReachTheRunnerAndTheHarness(t *testing.T) {
	files := map[string]string{"/client/a.whl": strings.Repeat("wheel", 1000), "/client/b.txt": ""}
	submitted := make(chan *Submission, 1)
	bubble(t, fakeRunner{run: func(_ context.Context, s *Submission, _ <-chan struct{}, _ Reporter) error {
		submitted <- s
		return nil
	}}, func(f *fixture) {
		a, b := stagedAs("a.whl"), stagedAs("b.txt")
		pypi := &pipepb.ArtifactInformation{TypeUrn: urnPyPI}
		resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"one": {a, b, pypi}, "two": {a}, "none": nil})
		client := &artifactClient{files: files}
		if err := client.offer(f.ctx(), f.staging, resp.GetStagingSessionToken()); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "transfers", client.gets, 2)
		wantEqual(t, "resolutions", client.resolutions, 2)
		f.run(resp.GetPreparationId())
		wantEqual(t, "messages", f.messages(resp.GetPreparationId()), []string{"STOPPED", "STARTING", "RUNNING", "DONE"})

		envs := (<-submitted).Pipeline.GetComponents().GetEnvironments()
		wantEqual(t, "environments", len(envs), 3)
		wantEqual(t, "URN", envs["none"].GetUrn(), "beam:env:process:v1")
		for i, want := range []string{"/client/a.whl", "/client/b.txt"} {
			dep := envs["one"].GetDependencies()[i]
			path, sum, _ := locate(dep)
			wantEqual(t, "hash", sum, sumOf(files[want]))
			wantEqual(t, "file", string(must(os.ReadFile(path))), files[want])
			wantEqual(t, "name", artifactName(dep), filepath.Base(want))
			wantEqual(t, "retrieved", must(f.retrieve(dep)), files[want])
		}
		wantEqual(t, "by name", envs["one"].GetDependencies()[2].GetTypeUrn(), urnPyPI)
		wantEqual(t, "shared", envs["two"].GetDependencies()[0].GetTypePayload(), envs["one"].GetDependencies()[0].GetTypePayload())
	})
}

func TestStagingSendsHeadersBeforeItKnowsTheJob(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		stream := must(f.staging.ReverseArtifactRetrievalService(f.ctx()))
		must(stream.Header()) // blocks until they come
		_ = stream.CloseSend()
		_, err := stream.Recv()
		wantEqual(t, "end", err, io.EOF)
	})
}

func TestWhatTheStoreHasIsNotAskedFor(t *testing.T) {
	dep := stagedAs("a")
	dep.TypePayload = must(proto.Marshal(&pipepb.ArtifactFilePayload{Path: "/client/a", Sha256: strings.ToUpper(sumOf("content"))}))
	bubble(t, fakeRunner{}, func(f *fixture) {
		client := &artifactClient{files: map[string]string{"/client/a": "content"}}
		for i := range 3 {
			if i == 2 { // as after a restart
				f.service.store.verified = map[string]bool{}
			}
			resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {dep}})
			if err := client.offer(f.ctx(), f.staging, resp.GetStagingSessionToken()); err != nil {
				t.Fatal(err)
			}
		}
		wantEqual(t, "transfers", client.gets, 1)
	})
}

func TestATornFileOfTheStoreIsReceivedAnew(t *testing.T) {
	dep := stagedAs("a")
	dep.TypePayload = must(proto.Marshal(&pipepb.ArtifactFilePayload{Path: "/client/a", Sha256: sumOf("content")}))
	bubble(t, fakeRunner{}, func(f *fixture) {
		path := f.service.store.path(sumOf("content"))
		_ = os.MkdirAll(filepath.Dir(path), 0o700)
		_ = os.WriteFile(path, []byte("conte"), 0o600)
		resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {dep}})
		client := &artifactClient{files: map[string]string{"/client/a": "content"}}
		if err := client.offer(f.ctx(), f.staging, resp.GetStagingSessionToken()); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "file", string(must(os.ReadFile(path))), "content")
	})
}

func TestStagingRefusesWithTheArtifactsName(t *testing.T) {
	wrongSum := stagedAs("a.jar")
	wrongSum.TypePayload = must(proto.Marshal(&pipepb.ArtifactFilePayload{Path: "/client/a", Sha256: sumOf("other")}))
	garbage := &pipepb.ArtifactInformation{TypeUrn: urnFile, TypePayload: []byte("\xff\xff")}
	missing := stagedAs("gone.txt")
	for name, c := range map[string]struct {
		dep  *pipepb.ArtifactInformation
		code codes.Code
		text string
	}{
		"wrong hash":      {wrongSum, codes.InvalidArgument, "a.jar: bad data: the content's SHA-256"},
		"garbage payload": {garbage, codes.InvalidArgument, "does not parse"},
		"file is missing": {missing, codes.Unknown, "no file"}, // the client's own error
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, fakeRunner{}, func(f *fixture) {
				resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {c.dep}})
				client := &artifactClient{files: map[string]string{"/client/a": "content"}}
				ctx, cancel := context.WithCancel(f.ctx())
				err := client.offer(ctx, f.staging, resp.GetStagingSessionToken())
				cancel()
				synctest.Wait()
				wantCode(t, "offer", err, c.code, c.text)
				wantEmpty(t, filepath.Join(f.dir, "upload"))
				// The client may try again, or run without.
				if err := client.offer(f.ctx(), f.staging, resp.GetStagingSessionToken()); err == nil {
					t.Error("the second attempt is no error")
				}
			})
		})
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) || len(left) > 0 {
		t.Errorf("%s: left %v, %v", dir, left, err)
	}
}

func TestStagingOutOfTurnIsRefused(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {stagedAs("a")}})
		token := resp.GetStagingSessionToken()
		client := &artifactClient{files: map[string]string{"/client/a": "content"}}
		for _, wrong := range []string{"", "nonsense", resp.GetPreparationId()} {
			wantCode(t, "token "+wrong, client.offer(f.ctx(), f.staging, wrong), codes.NotFound)
		}
		stalled, cancel := context.WithCancel(f.ctx())
		stream := must(f.staging.ReverseArtifactRetrievalService(stalled))
		_ = stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: token})
		must(stream.Recv())
		wantCode(t, "a second stream", client.offer(f.ctx(), f.staging, token), codes.FailedPrecondition)
		_, err := f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: resp.GetPreparationId()})
		wantCode(t, "Run while staging", err, codes.FailedPrecondition)
		cancel()
		synctest.Wait()
		f.run(resp.GetPreparationId())
		wantCode(t, "after Run", client.offer(f.ctx(), f.staging, token), codes.FailedPrecondition)
	})
}

func TestClientsThatAnswerNonsense(t *testing.T) {
	resolved := &jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_ResolveArtifactResponse{
		ResolveArtifactResponse: &jobpb.ResolveArtifactsResponse{Replacements: []*pipepb.ArtifactInformation{stagedAs("a")}}}}
	data := &jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_GetArtifactResponse{}}
	for name, answers := range map[string][]*jobpb.ArtifactResponseWrapper{
		"nothing":               {},
		"nothing after resolve": {resolved},
		"data for resolve":      {data},
		"resolve for data":      {resolved, resolved},
		"empty":                 {{}},
		"no end":                {resolved, data, data},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, fakeRunner{}, func(f *fixture) {
				resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {stagedAs("a")}})
				stream := must(f.staging.ReverseArtifactRetrievalService(f.ctx()))
				_ = stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: resp.GetStagingSessionToken()})
				for _, answer := range answers {
					_ = stream.Send(answer)
				}
				_ = stream.CloseSend()
				var err error
				for err == nil {
					_, err = stream.Recv()
				}
				wantCode(t, "stream", err, codes.InvalidArgument)
			})
		})
	}
}

func TestAJobRunsWithoutStagingWithAWarning(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		id := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {stagedAs("a")}}).GetPreparationId()
		f.run(id)
		wantEqual(t, "messages", f.messages(id), []string{"STOPPED",
			"warning: 1 artifacts of environment e were not staged: workers that Fresnel starts cannot get them",
			"STARTING", "RUNNING", "DONE"})
		_, err := f.retrieve(f.pipeline(id).GetComponents().GetEnvironments()["e"].GetDependencies()[0])
		wantCode(t, "GetArtifact", err, codes.NotFound, "a was not staged")
	})
}

func TestEmbeddedArtifactsNeedNoClient(t *testing.T) {
	content := strings.Repeat("x", 5<<20)
	embedded := &pipepb.ArtifactInformation{TypeUrn: urnEmbedded, TypePayload: must(proto.Marshal(&pipepb.EmbeddedFilePayload{Data: []byte(content)}))}
	bubble(t, fakeRunner{}, func(f *fixture) {
		wantEqual(t, "retrieved as it is", must(f.retrieve(embedded)), content)
		resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {{TypeUrn: "sdk:own"}}})
		client := &artifactClient{resolve: func([]*pipepb.ArtifactInformation) []*pipepb.ArtifactInformation {
			return []*pipepb.ArtifactInformation{embedded}
		}}
		if err := client.offer(f.ctx(), f.staging, resp.GetStagingSessionToken()); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "transfers", client.gets, 0)
		dep := f.pipeline(resp.GetPreparationId()).GetComponents().GetEnvironments()["e"].GetDependencies()[0]
		wantEqual(t, "type", dep.GetTypeUrn(), urnFile)
		wantEqual(t, "retrieved", must(f.retrieve(dep)), content)
	})
}

// Not in a bubble: this one uses the network.
func TestURLsAreDownloadedByTheServer(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a.jar" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "jar")
	}))
	defer web.Close()
	byURL := func(url, sum string) *pipepb.ArtifactInformation {
		return &pipepb.ArtifactInformation{TypeUrn: urnURL, TypePayload: must(proto.Marshal(&pipepb.ArtifactUrlPayload{Url: url, Sha256: sum}))}
	}
	f := serve(t, fakeRunner{}, t.TempDir())
	stage := func(dep *pipepb.ArtifactInformation) error {
		resp := f.prepareDeps(map[string][]*pipepb.ArtifactInformation{"e": {dep}})
		client := &artifactClient{files: map[string]string{"file:///a.jar": "jar"}}
		return client.offer(f.ctx(), f.staging, resp.GetStagingSessionToken())
	}
	for _, url := range []string{web.URL + "/a.jar", "file:///a.jar"} { // the second is the client's
		if err := stage(byURL(url, sumOf("jar"))); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	wantCode(t, "missing", stage(byURL(web.URL+"/b.jar", "")), codes.Unavailable, "b.jar", "404")
	wantCode(t, "not a URL", stage(byURL("http://a\x00b", "")), codes.InvalidArgument)
	wantCode(t, "wrong hash", stage(byURL(web.URL+"/a.jar", sumOf("other"))), codes.InvalidArgument, "SHA-256")
}

func TestRetrievalServesTheStoreOnly(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		secret := filepath.Join(f.dir, "secret")
		_ = os.WriteFile(secret, []byte("secret"), 0o600)
		for _, payload := range []*pipepb.ArtifactFilePayload{
			{Path: secret}, {Path: "/etc/passwd"}, {}, {Sha256: "../../secret"}, {Path: "..", Sha256: sumOf("no")},
		} {
			dep := &pipepb.ArtifactInformation{TypeUrn: urnFile, TypePayload: must(proto.Marshal(payload))}
			_, err := f.retrieve(dep)
			wantCode(t, payload.String(), err, codes.NotFound)
		}
		_, err := f.retrieve(nil)
		wantCode(t, "nil", err, codes.NotFound)
		_, err = f.retrieve(&pipepb.ArtifactInformation{TypeUrn: urnEmbedded, TypePayload: []byte("\xff")})
		wantCode(t, "garbage", err, codes.InvalidArgument)
		deps := []*pipepb.ArtifactInformation{stagedAs("a")}
		replaced := must(f.retrieval.ResolveArtifacts(f.ctx(), &jobpb.ResolveArtifactsRequest{Artifacts: deps})).GetReplacements()
		wantEqual(t, "resolved", proto.Equal(replaced[0], deps[0]), true)
	})
}

func TestTheStoreIsTheOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made")
	_ = os.MkdirAll(filepath.Join(dir, "sha256"), 0o777)
	up := must(newStore(dir).create())
	_, _ = io.WriteString(up, "content")
	a := must(up.commit(""))
	for path, want := range map[string]os.FileMode{filepath.Join(dir, "sha256"): 0o700, filepath.Join(dir, "upload"): 0o700, a.path: 0o600} {
		if got := must(os.Stat(path)).Mode().Perm(); got != want {
			t.Errorf("%s has mode %v", path, got)
		}
	}
}

func TestAStoreThatCannotBeWrittenSaysSo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	_ = os.WriteFile(file, nil, 0o600)
	_, err := newStore(file).create()
	wantCode(t, "a file for a directory", statusOf(err), codes.ResourceExhausted, file)
	_, err = newStore("").create()
	wantCode(t, "no directory", statusOf(err), codes.Internal, "no directory")
}
