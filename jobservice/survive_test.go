package jobservice

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// recorder is a runner that notes what it is given. Its jobs run until they are
// cut off, drained, or finish is closed.
type recorder struct {
	durable bool
	finish  chan struct{}

	mu   sync.Mutex
	runs []*Submission
}

func newRecorder(durable bool) *recorder {
	return &recorder{durable: durable, finish: make(chan struct{})}
}

func (r *recorder) Check(*Submission) error  { return nil }
func (r *recorder) Durable(*Submission) bool { return r.durable }

func (r *recorder) Run(ctx context.Context, s *Submission, drain <-chan struct{}, rep Reporter) error {
	r.mu.Lock()
	r.runs = append(r.runs, s)
	r.mu.Unlock()
	rep.Running()
	rep.Metrics(func() (attempted, committed []*pipepb.MonitoringInfo) {
		return []*pipepb.MonitoringInfo{{Urn: "beam:metric:test"}}, nil
	})
	if s.Dir != "" {
		if err := os.MkdirAll(s.Dir, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.Dir, "wal"), []byte("x"), 0o600); err != nil {
			return err
		}
	}
	rep.Message(Basic, time.Now(), "at work")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-drain:
	case <-r.finish:
	}
	return nil
}

// last returns the newest run and how many there were.
func (r *recorder) last() (*Submission, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.runs) == 0 {
		return nil, 0
	}
	return r.runs[len(r.runs)-1], len(r.runs)
}

// serveData serves a data directory, and has it recovered.
func serveData(t *testing.T, r Runner, dir string) *fixture {
	t.Helper()
	data, err := OpenDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = data.Close() }) // after the service is closed
	f := serveConfig(t, Config{Runner: r, Data: data, Endpoint: "localhost:7", Log: testLog()})
	if err := f.service.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	return f
}

// crash returns a copy of a data directory: what a server finds that is started
// after the one before it was killed now.
func crash(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func inBubble(t *testing.T, test func(t *testing.T, dir string)) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	synctest.Test(t, func(t *testing.T) { test(t, dir) })
}

// submit runs a job and waits until it is at work.
func (f *fixture) submit(opts map[string]any) string {
	f.t.Helper()
	id := must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline(), PipelineOptions: options(opts)})).GetPreparationId()
	f.run(id)
	synctest.Wait()
	return id
}

func TestADurableJobGoesOnAfterACrash(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		before := serveData(t, newRecorder(true), dir)
		id := before.submit(map[string]any{"beam:option:job_name:v1": "Access Log"})
		first, _ := before.service.runner.(*recorder).last()
		wantEqual(t, "epoch", first.Epoch, 1)
		wantEqual(t, "resumed", first.Resumed, false)
		wantEqual(t, "dir", first.Dir, filepath.Join(dir, "jobs", id, "state"))

		dir = crash(t, dir)
		again := newRecorder(true)
		f := serveData(t, again, dir)
		synctest.Wait()
		second, n := again.last()
		wantEqual(t, "runs", n, 1)
		wantEqual(t, "id", string(second.ID), id)
		wantEqual(t, "name", second.Name, "Access Log")
		wantEqual(t, "epoch", second.Epoch, 2)
		wantEqual(t, "resumed", second.Resumed, true)
		wantEqual(t, "dir", second.Dir, filepath.Join(dir, "jobs", id, "state"))
		if !proto.Equal(second.Pipeline, first.Pipeline) || !proto.Equal(second.Options, first.Options) {
			t.Error("the pipeline or its options have changed")
		}
		close(again.finish)
		wantEqual(t, "messages", f.messages(id), []string{"STOPPED", "STARTING", "RUNNING", "basic: at work",
			"STARTING", "basic: the job goes on from the state that is kept of it (run 2)", "RUNNING", "basic: at work", "DONE"})
		wantEqual(t, "states", f.states(id), states{stopped, starting, running, starting, running, done})
		synctest.Wait()
		if _, err := os.Stat(second.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the state of an ended job is kept: %v", err)
		}
	})
}

// keptData is a data directory as a version of Fresnel left it that wrote format 1,
// with a durable job that was cut off. It is written by
//
//	FRESNEL_WRITE_DATA=1 go test ./jobservice -run DataThatWasKept
//
// which is to be done for another format only, in another directory: the ones
// before stay for as long as they are read.
const keptData = "testdata/data-1"

// TestDataThatWasKeptIsRead: the next version goes on with what this one left.
func TestDataThatWasKeptIsRead(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		if os.Getenv("FRESNEL_WRITE_DATA") != "" {
			serveData(t, newRecorder(true), dir).submit(map[string]any{"beam:option:job_name:v1": "Access Log"})
			if err := errors.Join(os.RemoveAll(keptData), os.CopyFS(keptData, os.DirFS(dir))); err != nil {
				t.Fatal(err)
			}
		}
		r := newRecorder(true)
		f := serveData(t, r, crash(t, keptData))
		synctest.Wait()
		s, n := r.last()
		if n != 1 || s.Name != "Access Log" || s.Epoch != 2 || !s.Resumed || !proto.Equal(s.Pipeline, aPipeline()) {
			t.Fatalf("%d runs, the last of %+v", n, s)
		}
		close(r.finish)
		wantEqual(t, "messages", f.messages(string(s.ID)), []string{"STOPPED", "STARTING", "RUNNING", "basic: at work",
			"STARTING", "basic: the job goes on from the state that is kept of it (run 2)", "RUNNING", "basic: at work", "DONE"})
	})
}

// However often servers come and go, no two runs have the same epoch.
// TestTheNextServerKnowsThatAJobHasState, so that it does not take state that is
// gone for none that was made yet.
func TestTheNextServerKnowsThatAJobHasState(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		before := serveData(t, newRecorder(true), dir)
		before.submit(nil)
		first, _ := before.service.runner.(*recorder).last()
		wantEqual(t, "begun, at first", first.Begun, false)
		early := crash(t, dir)
		if err := first.Began(); err != nil {
			t.Fatal(err)
		}
		for begun, dir := range map[bool]string{false: early, true: crash(t, dir)} {
			data, err := OpenDataDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			kept, err := data.Jobs()
			if err := errors.Join(err, data.Close()); err != nil || len(kept) != 1 {
				t.Fatal(kept, err)
			}
			wantEqual(t, "begun, offline", kept[0].Submission.Begun, begun)
			again := newRecorder(true)
			serveData(t, again, dir)
			synctest.Wait()
			second, _ := again.last()
			wantEqual(t, "begun", second.Begun, begun)
		}
	})
}

func TestEveryRunHasItsOwnEpoch(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		serveData(t, newRecorder(true), dir).submit(nil)
		for want := int64(2); want < 5; want++ {
			dir = crash(t, dir)
			r := newRecorder(true)
			serveData(t, r, dir)
			synctest.Wait()
			s, _ := r.last()
			wantEqual(t, "epoch", s.Epoch, want)
		}
	})
}

func TestShutdownLeavesDurableJobsToTheNextServer(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		data := must(OpenDataDir(dir))
		f := serveConfig(t, Config{Runner: newRecorder(true), Data: data, Log: testLog()})
		id := f.submit(nil)
		stream := must(f.jobs.GetMessageStream(f.ctx(), &jobpb.JobMessagesRequest{JobId: id}))
		changes := must(f.jobs.GetStateStream(f.ctx(), &jobpb.GetJobStateRequest{JobId: id}))
		if err := f.service.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		var lines []string
		m, err := stream.Recv()
		for ; err == nil; m, err = stream.Recv() {
			lines = append(lines, line(m))
		}
		wantEqual(t, "messages", lines, []string{"STOPPED", "STARTING", "RUNNING", "basic: at work",
			"warning: the job was cut off; it goes on when the server is started again"})
		wantCode(t, "end of the messages", err, codes.Unavailable, id, "goes on")
		for err = nil; err == nil; _, err = changes.Recv() {
		}
		wantCode(t, "end of the states", err, codes.Unavailable, id)
		wantEqual(t, "state", f.state(id), running)
		if err := data.Close(); err != nil {
			t.Fatal(err)
		}
		r := newRecorder(true)
		serveData(t, r, dir)
		synctest.Wait()
		if s, n := r.last(); n != 1 || s.Epoch != 2 || !s.Resumed {
			t.Errorf("%d runs, the last: %+v", n, s)
		}
	})
}

func TestShutdownEndsJobsInMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		f := serveData(t, newRecorder(false), dir)
		id := f.submit(nil)
		s, _ := f.service.runner.(*recorder).last()
		wantEqual(t, "dir", s.Dir, "")
		if err := f.service.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		want := []string{"STOPPED", "STARTING", "RUNNING", "basic: at work", "CANCELLING", "error: the server was shut down", "CANCELLED"}
		wantEqual(t, "messages", f.messages(id), want)
		next := newRecorder(false)
		after := serveData(t, next, crash(t, dir))
		wantEqual(t, "messages after it", after.messages(id), want)
		if _, n := next.last(); n != 0 {
			t.Error("it is run again")
		}
	})
}

func TestJobsThatCannotGoOnFailWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		durable bool
		options map[string]any
		want    string
	}{
		"loopback":  {true, map[string]any{"beam:option:environment_type:v1": "LOOPBACK"}, "--environment_type=PROCESS"},
		"in memory": {false, nil, "--durability=disk"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, dir string) {
				id := serveData(t, newRecorder(c.durable), dir).submit(c.options)
				dir = crash(t, dir)
				r := newRecorder(c.durable)
				f := serveData(t, r, dir)
				got := f.messages(id)
				wantEqual(t, "begin", got[:4], []string{"STOPPED", "STARTING", "RUNNING", "basic: at work"})
				if len(got) != 6 || got[5] != "FAILED" || !strings.Contains(got[4], c.want) {
					t.Errorf("messages: %q", got)
				}
				if _, n := r.last(); n != 0 {
					t.Error("it is run again")
				}
				if info := f.service.Jobs()[0]; !strings.Contains(info.Error, c.want) {
					t.Errorf("job: %+v", info)
				}
				// And it stays so.
				f = serveData(t, r, crash(t, dir))
				wantEqual(t, "messages of the third server", f.messages(id), got)
			})
		})
	}
}

func TestAnEndedJobIsShownByTheNextServer(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		f := serveData(t, r, dir)
		id := f.submit(nil)
		close(r.finish)
		want := f.messages(id)
		synctest.Wait()
		f = serveData(t, r, crash(t, dir))
		wantEqual(t, "messages", f.messages(id), want)
		wantEqual(t, "state", f.state(id), done)
		metrics := must(f.jobs.GetJobMetrics(f.ctx(), &jobpb.GetJobMetricsRequest{JobId: id})).GetMetrics()
		wantEqual(t, "metric", metrics.GetAttempted()[0].GetUrn(), "beam:metric:test")
		if _, n := r.last(); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}

// A crash may come between the last state in the log and the record that says
// that the job has ended.
func TestTheLogTellsWhetherAJobHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		f := serveData(t, r, dir)
		id := f.submit(nil)
		record := must(os.ReadFile(filepath.Join(dir, "jobs", id, "record")))
		close(r.finish)
		f.messages(id)
		synctest.Wait()
		dir = crash(t, dir)
		state := filepath.Join(dir, "jobs", id, "state")
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "jobs", id, "record"), record, 0o600), os.Mkdir(state, 0o700)); err != nil {
			t.Fatal(err)
		}
		f = serveData(t, r, dir)
		wantEqual(t, "state", f.state(id), done)
		if _, n := r.last(); n != 1 {
			t.Errorf("%d runs", n)
		}
		if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("its state is kept: %v", err)
		}
	})
}

func TestADrainGoesOnAfterACrash(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		busy := make(chan struct{})
		runner := fakeRunner{durable: true, run: func(ctx context.Context, _ *Submission, _ <-chan struct{}, _ Reporter) error {
			select {
			case <-ctx.Done():
			case <-busy:
			}
			return ctx.Err()
		}}
		f := serveData(t, runner, dir)
		id := f.submit(nil)
		f.drain(id)
		f = serveData(t, newRecorder(true), crash(t, dir))
		wantEqual(t, "states", f.states(id), states{stopped, starting, running, draining, draining, drained})
		close(busy)
	})
}

func TestACancellationIsFinishedAfterACrash(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		busy := make(chan struct{})
		runner := fakeRunner{durable: true, run: func(context.Context, *Submission, <-chan struct{}, Reporter) error {
			<-busy
			return nil
		}}
		f := serveData(t, runner, dir)
		id := f.submit(nil)
		f.cancel(id)
		r := newRecorder(true)
		f = serveData(t, r, crash(t, dir))
		wantEqual(t, "states", f.states(id), states{stopped, starting, running, cancelling, cancelled})
		if _, n := r.last(); n != 0 {
			t.Error("it is run again")
		}
		close(busy)
	})
}

func (f *fixture) stop(id string) (jobpb.JobState_Enum, error) {
	resp := &jobpb.CancelJobResponse{}
	err := f.conn.Invoke(f.ctx(), StopMethod, &jobpb.CancelJobRequest{JobId: id}, resp)
	return resp.GetState(), err
}

func TestAStoppedJobWaitsForAnotherRun(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		f := serveData(t, r, dir)
		id := f.submit(nil)
		stream := must(f.jobs.GetMessageStream(f.ctx(), &jobpb.JobMessagesRequest{JobId: id}))
		wantEqual(t, "answer", must(f.stop(id)), running)
		want := []string{"STOPPED", "STARTING", "RUNNING", "basic: at work",
			"error: the job was stopped on request; its state is kept, and another Run of it goes on from there", "STOPPED"}
		wantEqual(t, "messages", readMessages(t, stream), want)
		wantEqual(t, "stop again", must(f.stop(id)), stopped)
		time.Sleep(2 * time.Hour) // of the bubble: jobs that were only prepared are given up
		f.service.tidy()

		dir = crash(t, dir)
		r = newRecorder(true)
		f = serveData(t, r, dir)
		synctest.Wait()
		if _, n := r.last(); n != 0 {
			t.Fatal("it is run without being asked")
		}
		wantEqual(t, "messages after a restart", f.messages(id), want)
		if info := f.service.Jobs()[0]; !info.Kept || !info.Durable || info.State != stopped {
			t.Errorf("job: %+v", info)
		}
		f.run(id)
		synctest.Wait()
		s, _ := r.last()
		wantEqual(t, "epoch", s.Epoch, 2)
		wantEqual(t, "resumed", s.Resumed, true)
		if _, err := os.Stat(filepath.Join(s.Dir, "wal")); err != nil {
			t.Errorf("its state is gone: %v", err)
		}
		close(r.finish)
		wantEqual(t, "end", f.messages(id)[6:], []string{"STARTING",
			"basic: the job goes on from the state that is kept of it (run 2)", "RUNNING", "basic: at work", "DONE"})
	})
}

func TestAStoppedJobCanBeCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		f := serveData(t, r, dir)
		id := f.submit(nil)
		s, _ := r.last()
		must(f.stop(id))
		synctest.Wait()
		wantEqual(t, "cancel", f.cancel(id), cancelled)
		if _, err := os.Stat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("its state is kept: %v", err)
		}
		f = serveData(t, r, crash(t, dir))
		wantEqual(t, "state after a restart", f.state(id), cancelled)
	})
}

func TestOnlyRunningDurableJobsCanBeStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		f := serveData(t, newRecorder(false), dir)
		id := f.submit(nil)
		_, err := f.stop(id)
		wantCode(t, "in memory", err, codes.FailedPrecondition, id, "--durability=disk")
		_, err = f.stop(f.prepare())
		wantCode(t, "before Run", err, codes.FailedPrecondition)
		_, err = f.stop("nobody's")
		wantCode(t, "unknown", err, codes.NotFound)
	})
}

func TestWhatCannotBeReadIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		f := serveData(t, newRecorder(true), dir)
		id, other := f.submit(nil), f.submit(nil)
		whole := must(os.ReadFile(filepath.Join(dir, "jobs", id, "record")))
		for n := range whole {
			if _, _, err := decodeRecord(beam.JobID(id), whole[:n], f.service.data.seal); err == nil {
				t.Errorf("a record cut to %d of %d bytes is read", n, len(whole))
			}
		}
		if _, _, err := decodeRecord(beam.JobID(other), whole, f.service.data.seal); err == nil {
			t.Error("another job's record is read")
		}
		dir = crash(t, dir)
		damaged := filepath.Join(dir, "jobs", id, "record")
		half := whole[:len(whole)/2]
		artifact := filepath.Join(dir, "artifacts", "sha256", "of the damaged job, maybe")
		if err := errors.Join(os.WriteFile(damaged, half, 0o600), os.MkdirAll(filepath.Dir(artifact), 0o700),
			os.WriteFile(artifact, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		f = serveData(t, newRecorder(true), dir)
		synctest.Wait()
		wantEqual(t, "the other job", f.state(other), running)
		wantEqual(t, "jobs", len(f.service.Jobs()), 1)
		if !reflect.DeepEqual(must(os.ReadFile(damaged)), half) {
			t.Error("the damaged record has changed")
		}
		if _, err := os.Stat(artifact); err != nil {
			t.Error("an artifact that the damaged job may need is removed")
		}
	})
}

func TestForgottenJobsLeaveTheDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		close(r.finish)
		f := serveData(t, r, dir)
		f.service.keep.ended = 2
		for range 4 {
			f.submit(nil)
			time.Sleep(time.Second) // of the bubble
		}
		wantEqual(t, "directories", len(must(os.ReadDir(filepath.Join(dir, "jobs")))), 2)
	})
}

func TestNobodyElseCanReadTheDataDirectory(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		f := serveData(t, r, dir)
		f.submit(nil)
		files := 0
		if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			files++
			if info := must(e.Info()); info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v", path, info.Mode())
			}
			return nil
		}); err != nil || files < 8 {
			t.Errorf("%d files, %v", files, err)
		}
	})
}

func TestPasswordsAreNotInClearOnTheDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		const secret = "correct horse battery staple"
		f := serveData(t, newRecorder(true), dir)
		pipeline := aPipeline()
		pipeline.Components.Transforms["t"].Spec.Payload = []byte("password=" + secret)
		id := must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: pipeline,
			PipelineOptions: options(map[string]any{"sasl": secret})})).GetPreparationId()
		f.run(id)
		synctest.Wait()
		if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && strings.Contains(string(must(os.ReadFile(path))), secret) {
				t.Errorf("%s tells the password", path)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestAJobThatCannotBeWrittenFails(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := newRecorder(true)
		f := serveData(t, r, dir)
		if err := errors.Join(os.Remove(filepath.Join(dir, "jobs")), os.WriteFile(filepath.Join(dir, "jobs"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		id := f.prepare()
		_, err := f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: id})
		wantCode(t, "Run", err, codes.ResourceExhausted, "--durability=memory")
		wantEqual(t, "states", f.states(id), states{stopped, starting, failed})
		if _, n := r.last(); n != 0 {
			t.Error("it is run")
		}
	})
}

func TestAJobThatAskedForTheDiskIsToldThatThereIsNone(t *testing.T) {
	bubble(t, fakeRunner{durable: true}, func(f *fixture) {
		id := f.submit(map[string]any{"beam:option:durability:v1": "disk"})
		if got := f.messages(id)[2]; !strings.Contains(got, "warning: --durability=disk") {
			t.Errorf("%q", got)
		}
	})
}

// halting is a runner that comes to a rest when it is asked to, and takes over
// what it is to begin with.
type halting struct{ *recorder }

func (h halting) Run(ctx context.Context, s *Submission, drain <-chan struct{}, rep Reporter) error {
	if s.From != nil {
		if _, err := os.Stat(filepath.Join(s.From.Dir, "wal")); err != nil {
			return err
		}
		s.Took()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.Halt:
			cancel()
		case <-ctx.Done():
		}
	}()
	return h.recorder.Run(ctx, s, drain, rep)
}

func (f *fixture) halt(id string) (jobpb.JobState_Enum, error) {
	resp := &jobpb.CancelJobResponse{}
	err := f.conn.Invoke(f.ctx(), HaltMethod, &jobpb.CancelJobRequest{JobId: id}, resp)
	return resp.GetState(), err
}

// TestAJobBeginsWithTheStateOfAnother: it moves, once the new job has it; the old
// one's directory goes, and nobody can run that any more.
func TestAJobBeginsWithTheStateOfAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := halting{newRecorder(true)}
		f := serveData(t, r, dir)
		old := f.submit(nil)
		_, err := f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline(), PipelineOptions: options(map[string]any{"restore_from": old})})
		wantCode(t, "of a job that runs", err, codes.FailedPrecondition, "stop it first", "--savepoint")
		must(f.halt(old))
		synctest.Wait()
		wantEqual(t, "states", f.states(old), states{stopped, starting, running, stopped})
		id := f.submit(map[string]any{"restore_from": old})
		wantEqual(t, "states of the old job", f.states(old), states{stopped, starting, running, stopped, jobpb.JobState_UPDATED})
		if s, _ := r.last(); string(s.ID) != id || s.From == nil || string(s.From.ID) != old || s.Epoch != 2 {
			t.Errorf("the new job is run as %+v", s)
		}
		if _, err := os.Stat(filepath.Join(dir, "jobs", old, "state")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the old job's state is left: %v", err)
		}
		_, err = f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: old})
		wantCode(t, "another run of the old job", err, codes.FailedPrecondition, "goes on from the state of")
		wantEqual(t, "states of the old job", f.states(old), states{stopped, starting, running, stopped, jobpb.JobState_UPDATED})
		close(r.finish)
	})
}

// TestAStateIsTakenOnce: a job that another begins with is not run meanwhile, also
// after a crash, and is there again if that comes to nothing.
func TestAStateIsTakenOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		first := newRecorder(true) // takes nothing over
		f := serveData(t, first, dir)
		old := f.submit(nil)
		must(f.stop(old))
		synctest.Wait()
		id := f.submit(map[string]any{"restore_from": "job"})
		_, err := f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: old})
		wantCode(t, "run", err, codes.FailedPrecondition, "goes on from the state of")
		second := newRecorder(true)
		g := serveData(t, second, crash(t, dir))
		synctest.Wait()
		if s, _ := second.last(); s == nil || string(s.ID) != id || s.From == nil || string(s.From.ID) != old {
			t.Errorf("the next server runs %+v", s)
		}
		_, err = g.jobs.Run(g.ctx(), &jobpb.RunJobRequest{PreparationId: old})
		wantCode(t, "run", err, codes.FailedPrecondition, "goes on from the state of")
		_, err = g.service.Cancel(beam.JobID(id))
		wantEqual(t, "cancel", err, nil)
		synctest.Wait()
		_, err = g.jobs.Run(g.ctx(), &jobpb.RunJobRequest{PreparationId: old})
		wantEqual(t, "run", err, nil)
		close(first.finish)
		close(second.finish)
		synctest.Wait()
	})
}
