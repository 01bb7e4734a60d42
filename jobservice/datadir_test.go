package jobservice

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

func TestADirectoryThatIsNotOursIsLeftAlone(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := errors.Join(os.Chmod(home, 0o755), os.WriteFile(filepath.Join(home, "letters"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(home); err == nil || !strings.Contains(err.Error(), home) {
		t.Errorf("%v", err)
	}
	if info := must(os.Stat(home)); info.Mode().Perm() != 0o755 {
		t.Errorf("its mode is %v now", info.Mode())
	}
	wantEqual(t, "files", len(must(os.ReadDir(home))), 1)
}

func TestADirectoryThatNobodyElseMayReadIsMadeSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data := must(OpenDataDir(dir))
	defer data.Close()
	wantEqual(t, "mode", must(os.Stat(dir)).Mode().Perm(), fs.FileMode(0o700))
}

func TestWhatOpenDataDirRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, content, want string }{
		"another version": {"version", "fresnel data 2\n", "another version"},
		"a damaged key":   {"key", "short", "damaged"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDataDir(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// And it is not locked.
		if err := os.Remove(filepath.Join(dir, c.file)); err != nil {
			t.Fatal(err)
		}
		if err := must(OpenDataDir(dir)).Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAFileIsReplacedAsAWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"a longer text", "short"} {
		// A server that was killed may have left this.
		if err := os.WriteFile(path+newSuffix, []byte("the rest of something very long"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := replaceFile(path, []byte(content), true); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "content", string(must(os.ReadFile(path))), content)
	}
	if err := replaceFile(filepath.Join(path, "below"), nil, true); err == nil {
		t.Error("a file in a file is written")
	}
	wantEqual(t, "files", len(must(os.ReadDir(filepath.Dir(path)))), 1)
}

// stageFor prepares a job with one embedded artifact of this content, stages and runs it.
func (f *fixture) stageFor(content string) string {
	f.t.Helper()
	payload := must(proto.Marshal(&pipepb.EmbeddedFilePayload{Data: []byte(content)}))
	p := aPipeline()
	p.Components.Environments = map[string]*pipepb.Environment{"e": {
		Dependencies: []*pipepb.ArtifactInformation{{TypeUrn: urnEmbedded, TypePayload: payload}}}}
	prepared := must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: p}))
	stream := must(f.staging.ReverseArtifactRetrievalService(f.ctx()))
	if err := stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: prepared.GetStagingSessionToken()}); err != nil {
		f.t.Fatal(err)
	}
	asked := must(stream.Recv()).GetResolveArtifact().GetArtifacts()
	if err := stream.Send(&jobpb.ArtifactResponseWrapper{Response: &jobpb.ArtifactResponseWrapper_ResolveArtifactResponse{
		ResolveArtifactResponse: &jobpb.ResolveArtifactsResponse{Replacements: asked}}}); err != nil {
		f.t.Fatal(err)
	}
	_, _ = stream.Recv() // its end
	f.run(prepared.GetPreparationId())
	synctest.Wait()
	return prepared.GetPreparationId()
}

func TestArtifactsLiveAsLongAsAJobThatNamesThem(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		f := serveData(t, r, dir)
		first := f.stageFor("first")
		time.Sleep(time.Second) // of the bubble: so the first is the older
		second := f.stageFor("second")
		stored := func(dir string) int { return len(must(os.ReadDir(filepath.Join(dir, "artifacts", "sha256")))) }
		wantEqual(t, "artifacts", stored(dir), 2)
		dir = crash(t, dir)
		for _, rubbish := range []string{"sha256/" + strings.Repeat("0", 64), "upload/1"} {
			if err := os.WriteFile(filepath.Join(dir, "artifacts", rubbish), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r = newRecorder(true)
		f = serveData(t, r, dir)
		synctest.Wait()
		wantEqual(t, "artifacts after a crash", stored(dir), 2)
		s, _ := r.last()
		dep := s.Pipeline.GetComponents().GetEnvironments()["e"].GetDependencies()[0]
		content := must(must(f.retrieval.GetArtifact(f.ctx(), &jobpb.GetArtifactRequest{Artifact: dep})).Recv()).GetData()
		if text := string(content); text != "first" && text != "second" {
			t.Errorf("the artifact is %q", text)
		}
		if _, err := os.Stat(filepath.Join(dir, "artifacts", "upload", "1")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an upload that was cut off is kept: %v", err)
		}
		f.service.keep.ended = 1
		f.cancel(first)
		f.cancel(second)
		synctest.Wait()
		wantEqual(t, "artifacts of the job that is left", stored(dir), 1)
		wantEqual(t, "state of the job that is left", f.state(second), cancelled)
	})
}
