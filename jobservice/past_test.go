package jobservice

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// wantPast checks that an ended job is kept as bytes, and told as it was.
func (f *fixture) wantPast(id string) {
	f.t.Helper()
	j := must(f.service.find(id))
	if j.past == nil || j.pipeline != nil || j.options != nil || j.final != nil {
		f.t.Fatal("an ended job has its messages in memory")
	}
	if j.dir != nil && (j.past.pipeline != nil || j.dir.record.request != nil) {
		f.t.Error("the pipeline is in memory and on disk")
	}
	got := must(f.jobs.GetPipeline(f.ctx(), &jobpb.GetJobPipelineRequest{JobId: id})).GetPipeline()
	if !proto.Equal(got, aPipeline()) {
		f.t.Errorf("pipeline: %v", got)
	}
	infos := must(f.jobs.GetJobs(f.ctx(), &jobpb.GetJobsRequest{})).GetJobInfo()
	wantEqual(f.t, "option", infos[0].GetPipelineOptions().GetFields()["beam:option:job_name:v1"].GetStringValue(), "past")
	metrics := must(f.jobs.GetJobMetrics(f.ctx(), &jobpb.GetJobMetricsRequest{JobId: id})).GetMetrics()
	wantEqual(f.t, "metric", metrics.GetAttempted()[0].GetUrn(), "beam:metric:test")
}

var pastName = map[string]any{"beam:option:job_name:v1": "past"}

func TestEndedJobsTakeLittleMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		close(r.finish)
		f := serveData(t, r, dir)
		id := f.submit(pastName)
		f.wantPast(id)
		f = serveData(t, r, crash(t, dir))
		f.wantPast(id)
		j := must(f.service.find(id))
		if err := os.Remove(j.dir.recordPath()); err != nil {
			t.Fatal(err)
		}
		if _, err := f.jobs.GetPipeline(f.ctx(), &jobpb.GetJobPipelineRequest{JobId: id}); err == nil {
			t.Error("a pipeline without a record is told")
		}
	})
}

func TestEndedJobsTakeLittleMemoryWhereNoneIsOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(false)
		close(r.finish)
		f := serve(t, r, dir)
		f.wantPast(f.submit(pastName))
	})
}

// The artifacts of a job that has ended stay as long as it is shown.
func TestArtifactsOfEndedJobsAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		close(r.finish)
		f := serveData(t, r, dir)
		stored := func(dir string) int { return len(must(os.ReadDir(filepath.Join(dir, "artifacts", "sha256")))) }
		f.stageFor("first")
		f.service.sweep()
		wantEqual(t, "artifacts", stored(dir), 1)
		dir = crash(t, dir)
		f = serveData(t, r, dir)
		wantEqual(t, "artifacts after a crash", stored(dir), 1)
		f.service.keep.ended = 1
		time.Sleep(time.Second) // of the bubble: so the first is the older
		f.stageFor("second")
		wantEqual(t, "artifacts of the job that is left", stored(dir), 1)
	})
}

func TestWhatIsBesideAnUnreadablePipelineIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		f := serveData(t, newRecorder(true), dir)
		r := record{recordHead: recordHead{ID: "x", Phase: phaseRuns}, request: &jobpb.PrepareJobRequest{}}
		content := must(r.encode(f.service.data.seal))
		job := filepath.Join(crash(t, dir), "jobs", "x")
		if err := errors.Join(os.Mkdir(job, 0o700), os.WriteFile(filepath.Join(job, "record"), content, 0o600)); err != nil {
			t.Fatal(err)
		}
		f = serveData(t, newRecorder(true), filepath.Dir(filepath.Dir(job)))
		wantEqual(t, "jobs", len(f.service.Jobs()), 0)
		wantEqual(t, "files", len(must(os.ReadDir(job))), 1)
	})
}

func TestWhatIsCutOffHasNoPast(t *testing.T) {
	t.Parallel()
	stored := func(content string) []*pipepb.ArtifactInformation {
		return []*pipepb.ArtifactInformation{{TypeUrn: urnFile,
			TypePayload: must(proto.Marshal(&pipepb.ArtifactFilePayload{Path: "/client/" + content, Sha256: sumOf(content)}))}}
	}
	deps := map[string][]*pipepb.ArtifactInformation{"e": stored("a"), "f": stored("b")}
	request := must(proto.Marshal(&jobpb.PrepareJobRequest{Pipeline: withDeps(deps)}))
	wantEqual(t, "artifacts", len(must(pastOf(request)).artifacts), 2)
	for i := 1; i < len(request); i++ {
		if _, err := pastOf(request[:i]); err == nil {
			t.Errorf("%d of %d bytes are read", i, len(request))
		}
	}
}
