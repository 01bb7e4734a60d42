package jobservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/internal/beam"
)

type states = []jobpb.JobState_Enum

func TestAJobGoesThroughItsStates(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		id := f.prepare()
		wantEqual(t, "prepared", f.state(id), stopped)
		f.run(id)
		wantEqual(t, "states", f.states(id), states{stopped, starting, running, done})
		wantEqual(t, "messages", f.messages(id), []string{"STOPPED", "STARTING", "RUNNING", "DONE"})
		wantEqual(t, "at the end", f.state(id), done)
	})
}

func TestStreamsAskedBeforeRunFollowTheJob(t *testing.T) {
	bubble(t, fakeRunner{run: func(_ context.Context, _ *Submission, _ <-chan struct{}, r Reporter) error {
		r.Message(Basic, time.Now(), "hello")
		return nil
	}}, func(f *fixture) {
		id := f.prepare()
		messages := must(f.jobs.GetMessageStream(f.ctx(), &jobpb.JobMessagesRequest{JobId: id}))
		wantEqual(t, "first message", line(must(messages.Recv())), "STOPPED")
		changes := must(f.jobs.GetStateStream(f.ctx(), &jobpb.GetJobStateRequest{JobId: id}))
		wantEqual(t, "first state", must(changes.Recv()).GetState(), stopped)
		f.run(id)
		wantEqual(t, "messages", readMessages(t, messages), []string{"STARTING", "RUNNING", "basic: hello", "DONE"})
		for range 3 {
			must(changes.Recv())
		}
		_, err := changes.Recv()
		wantEqual(t, "end of the state stream", err, io.EOF)
	})
}

// Beam's Go client logs what it is told with the logger that its LOOPBACK harness
// sends to us.
func TestWhatAClientLogsOfItsMessagesIsNotToldAgain(t *testing.T) {
	bubble(t, fakeRunner{run: func(_ context.Context, _ *Submission, _ <-chan struct{}, r Reporter) error {
		for _, text := range []string{
			"claimed", "(time=2026-11-22T17:18:54.75931Z)(id=7)claimed", "(time=2026-11-22T17:18:54Z)... 3 messages", "(time=12)", "took (time=2026-11-22T17:18:54Z)",
		} {
			r.Message(Basic, time.Now(), text)
		}
		return nil
	}}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		wantEqual(t, "messages", f.messages(id), []string{
			"STOPPED", "STARTING", "RUNNING", "basic: claimed", "basic: (time=12)", "basic: took (time=2026-11-22T17:18:54Z)", "DONE"})
	})
}

// The Python client puts a deadline on the streams that it asks for before
// Run, and gives a longer job up when that has passed.
func TestPythonIsToldToFollowTheJobAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		python := metadata.Pairs("user-agent", "grpc-python/1.80.0 grpc-c/53.0.0 (linux; chttp2)")
		deadline, cancel := context.WithTimeout(context.Background(), 300*time.Second)
		defer cancel()
		own, cancelOwn := context.WithTimeout(context.Background(), time.Minute)
		defer cancelOwn()
		for _, c := range []struct {
			name  string
			ctx   context.Context
			agent metadata.MD
			state jobpb.JobState_Enum
			want  codes.Code
		}{
			{"before Run", deadline, python, stopped, codes.FailedPrecondition},
			{"after Run", deadline, python, starting, codes.OK},
			{"without a deadline", context.Background(), python, stopped, codes.OK},
			{"with a deadline of the caller's own", own, python, stopped, codes.OK},
			{"from another client", deadline, metadata.Pairs("user-agent", "grpc-go/1.85.0"), stopped, codes.OK},
		} {
			options, err := structpb.NewStruct(map[string]any{"beam:option:job_server_timeout:v1": "300"})
			wantEqual(t, "options", err, nil)
			j := newJob("j", "", "j", &jobpb.PrepareJobRequest{PipelineOptions: options}, testLog())
			j.state = c.state
			wantCode(t, c.name, refuseDeadline(metadata.NewIncomingContext(c.ctx, c.agent), j), c.want)
		}
	})
}

func TestTheErrorComesBeforeTheTerminalState(t *testing.T) {
	trace := "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: \u00e4\xff [while running 'My/Map']"
	bubble(t, fakeRunner{run: func(_ context.Context, _ *Submission, _ <-chan struct{}, r Reporter) error {
		r.Message(Warning, time.Now(), "bundle failed")
		return &beam.Error{Code: beam.UserCode, Where: "My/Map", Cause: errors.New(trace)}
	}}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		wantEqual(t, "messages", f.messages(id), []string{"STOPPED", "STARTING", "RUNNING", "warning: bundle failed",
			"error: user code failed in My/Map: " + strings.ToValidUTF8(trace, "\uFFFD"), "FAILED"})
		if jobs := f.service.Jobs(); !strings.Contains(jobs[0].Error, "ValueError") || !jobs[0].Ended() {
			t.Errorf("Jobs() = %+v", jobs)
		}
	})
}

func TestAPanicOfTheRunnerFailsTheJobOnly(t *testing.T) {
	for name, run := range map[string]func(){
		"panic":  func() { panic("oh no") },
		"goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, fakeRunner{run: func(context.Context, *Submission, <-chan struct{}, Reporter) error {
				run()
				return nil
			}}, func(f *fixture) {
				id := f.prepare()
				f.run(id)
				messages := f.messages(id)
				wantEqual(t, "end", messages[len(messages)-1], "FAILED")
				if last := messages[len(messages)-2]; !strings.HasPrefix(last, "error: internal error") {
					t.Errorf("last error: %q", last)
				}
				f.prepare() // still serves
			})
		})
	}
}

func TestCancelEndsARunningJob(t *testing.T) {
	bubble(t, fakeRunner{run: untilCancelled}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		synctest.Wait()
		wantEqual(t, "answer", f.cancel(id), cancelling)
		wantEqual(t, "messages", f.messages(id), []string{"STOPPED", "STARTING", "RUNNING", "CANCELLING",
			"error: the job was cancelled on request", "CANCELLED"})
		wantEqual(t, "second answer", f.cancel(id), cancelled)
		wantEqual(t, "drain of an ended job", f.drain(id), cancelled)
	})
}

func TestCancelWhileTheRunnerIsBusyIsIdempotent(t *testing.T) {
	bubble(t, fakeRunner{run: func(ctx context.Context, _ *Submission, _ <-chan struct{}, _ Reporter) error {
		<-ctx.Done()
		time.Sleep(time.Minute) // of the bubble
		return errors.New("broker went away")
	}}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		for range 3 {
			wantEqual(t, "answer", f.cancel(id), cancelling)
		}
		wantEqual(t, "drain while cancelling", f.drain(id), cancelling)
		messages := f.messages(id)
		wantEqual(t, "end", messages[len(messages)-2:], []string{
			"error: the job was cancelled on request; while it was being stopped: broker went away", "CANCELLED"})
	})
}

func TestAJobThatFinishesBeforeItsCancellationIsDone(t *testing.T) {
	bubble(t, fakeRunner{run: func(ctx context.Context, _ *Submission, _ <-chan struct{}, _ Reporter) error {
		<-ctx.Done()
		return nil
	}}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		f.cancel(id)
		got := f.states(id)
		wantEqual(t, "end", got[len(got)-1], done)
	})
}

func TestCancelBeforeRun(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		id := f.prepare()
		wantEqual(t, "answer", f.cancel(id), cancelled)
		wantEqual(t, "messages", f.messages(id), []string{"STOPPED", "error: the job was cancelled on request", "CANCELLED"})
		_, err := f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: id})
		wantCode(t, "Run", err, codes.FailedPrecondition, id)
	})
}

func TestDrain(t *testing.T) {
	bubble(t, fakeRunner{run: untilCancelled}, func(f *fixture) {
		id := f.prepare()
		_, err := f.jobs.Drain(f.ctx(), &jobpb.DrainJobRequest{JobId: id})
		wantCode(t, "before Run", err, codes.FailedPrecondition, id)
		f.run(id)
		synctest.Wait()
		wantEqual(t, "answer", f.drain(id), draining)
		wantEqual(t, "states", f.states(id), states{stopped, starting, running, draining, drained})
		wantEqual(t, "second answer", f.drain(id), drained)
		wantEqual(t, "cancel of an ended job", f.cancel(id), drained)
	})
}

func TestADrainedJobCanBeCancelled(t *testing.T) {
	bubble(t, fakeRunner{run: func(ctx context.Context, _ *Submission, drain <-chan struct{}, _ Reporter) error {
		<-drain
		<-ctx.Done()
		return ctx.Err()
	}}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		synctest.Wait()
		f.drain(id)
		f.cancel(id)
		wantEqual(t, "states", f.states(id), states{stopped, starting, running, draining, cancelling, cancelled})
	})
}

func TestRunTwiceRunsOnce(t *testing.T) {
	var runs int
	bubble(t, fakeRunner{run: func(context.Context, *Submission, <-chan struct{}, Reporter) error {
		runs++
		return nil
	}}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		f.run(id)
		synctest.Wait()
		f.run(id)
		wantEqual(t, "runs", runs, 1)
	})
}

func TestUnknownIDsAreNotFound(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		const id = "nobody's job"
		ctx := f.ctx()
		calls := map[string]func() error{
			"Run":         func() error { _, err := f.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: id}); return err },
			"GetState":    func() error { _, err := f.jobs.GetState(ctx, &jobpb.GetJobStateRequest{JobId: id}); return err },
			"GetPipeline": func() error { _, err := f.jobs.GetPipeline(ctx, &jobpb.GetJobPipelineRequest{JobId: id}); return err },
			"Cancel":      func() error { _, err := f.jobs.Cancel(ctx, &jobpb.CancelJobRequest{JobId: id}); return err },
			"Drain":       func() error { _, err := f.jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: id}); return err },
			"GetJobMetrics": func() error {
				_, err := f.jobs.GetJobMetrics(ctx, &jobpb.GetJobMetricsRequest{JobId: id})
				return err
			},
			"GetStateStream": func() error {
				_, err := must(f.jobs.GetStateStream(ctx, &jobpb.GetJobStateRequest{JobId: id})).Recv()
				return err
			},
			"GetMessageStream": func() error {
				_, err := must(f.jobs.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: id})).Recv()
				return err
			},
		}
		for name, call := range calls {
			wantCode(t, name, call(), codes.NotFound, id)
		}
	})
}

func TestPrepareRefusesWithTheWholeText(t *testing.T) {
	refusal := &beam.Error{Code: beam.Unsupported, Where: "Words/Count", What: "merging windows of the SDK's own",
		Cause: errors.New("line one\nline two"), Cure: "use sessions"}
	bubble(t, fakeRunner{check: func(*Submission) error { return refusal }}, func(f *fixture) {
		_, err := f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline()})
		wantCode(t, "Prepare", err, codes.Unimplemented, refusal.Error())
		wantEqual(t, "jobs", len(f.service.Jobs()), 0)
	})
}

func TestAPanicInCheckIsAnError(t *testing.T) {
	bubble(t, fakeRunner{check: func(*Submission) error { panic("oh no") }}, func(f *fixture) {
		_, err := f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline()})
		wantCode(t, "Prepare", err, codes.Internal, "oh no")
	})
}

func TestPrepareAnswersWithTheAddressThatTheClientDialled(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		resp := must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline()}))
		wantEqual(t, "endpoint", resp.GetArtifactStagingEndpoint().GetUrl(), "fresnel:7")
	})
	socket := metadata.NewIncomingContext(context.Background(), metadata.Pairs(":authority", "localhost"))
	wantEqual(t, "without a port", dialled(socket, "localhost:7"), "localhost:7")
}

func TestPythonFollowsAJobFromItsRunOn(t *testing.T) {
	python := metadata.NewIncomingContext(context.Background(), metadata.Pairs("user-agent", "grpc-python/1.80.0"))
	for name, c := range map[string]struct {
		ctx  context.Context
		ran  bool
		want states
	}{
		"python":         {python, true, states{starting, done}},
		"before Run":     {python, false, states{stopped, cancelled}},
		"another client": {context.Background(), true, states{stopped, starting, done}},
	} {
		j := newJob("j", "", "j", &jobpb.PrepareJobRequest{}, testLog())
		if c.ran {
			j.enter(starting)
			j.enter(done)
		} else {
			j.enter(cancelled)
		}
		var got states
		err := j.follow(c.ctx, &j.states, func(e *entry) error {
			got = append(got, e.state)
			return nil
		})
		wantEqual(t, name+": error", err, nil)
		wantEqual(t, name, got, c.want)
	}
}

// TestPythonIsSparedToStageNothing: its client passes over the step if it gets no
// address; those of other SDKs would fail.
func TestPythonIsSparedToStageNothing(t *testing.T) {
	python := metadata.Pairs("user-agent", "grpc-python/1.80.0 grpc-c/53.0.0 (linux; chttp2)")
	needy := aPipeline()
	needy.Components.Environments = map[string]*pipepb.Environment{"a": {}, "b": {Dependencies: []*pipepb.ArtifactInformation{{}}}}
	bare := aPipeline()
	bare.Components.Environments = map[string]*pipepb.Environment{"a": {}}
	s := &Service{endpoint: "fresnel:7"}
	for _, c := range []struct {
		name     string
		client   metadata.MD
		pipeline *pipepb.Pipeline
		want     string
	}{
		{"artifacts", python, needy, "fresnel:7"},
		{"none", python, bare, ""},
		{"another client", metadata.Pairs("user-agent", "grpc-go/1.85.0"), bare, "fresnel:7"},
	} {
		got := s.stagingEndpoint(metadata.NewIncomingContext(context.Background(), c.client), c.pipeline)
		wantEqual(t, c.name, got.GetUrl(), c.want)
	}
}

func TestTheRunnerGetsTheSubmission(t *testing.T) {
	got := make(chan *Submission, 2)
	bubble(t, fakeRunner{
		check: func(s *Submission) error { got <- s; return nil },
		run:   func(_ context.Context, s *Submission, _ <-chan struct{}, _ Reporter) error { got <- s; return nil },
	}, func(f *fixture) {
		opts := options(map[string]any{"beam:option:job_name:v1": "CDN Log!", "beam:option:streaming:v1": true})
		resp := must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{JobName: "job", Pipeline: aPipeline(), PipelineOptions: opts}))
		f.run(resp.GetPreparationId())
		f.messages(resp.GetPreparationId())
		for range 2 {
			s := <-got
			wantEqual(t, "id", string(s.ID), resp.GetPreparationId())
			wantEqual(t, "name", s.Name, "CDN Log!")
			wantEqual(t, "streaming", ParseOptions(s.Options).Streaming(), true)
			wantEqual(t, "endpoint", s.RetrievalEndpoint, "localhost:7")
			wantEqual(t, "roots", s.Pipeline.GetRootTransformIds(), []string{"t"})
		}
		if !strings.HasPrefix(resp.GetPreparationId(), "cdn-log-2000") { // the bubble's year
			t.Errorf("id %q", resp.GetPreparationId())
		}
	})
}

func TestMetricsOutliveTheRunner(t *testing.T) {
	bubble(t, fakeRunner{run: func(_ context.Context, _ *Submission, _ <-chan struct{}, r Reporter) error {
		reads := 0
		r.Metrics(func() (attempted, committed []*pipepb.MonitoringInfo) {
			reads++
			info := []*pipepb.MonitoringInfo{{Urn: fmt.Sprint("read ", reads)}}
			return info, info[:0]
		})
		return nil
	}}, func(f *fixture) {
		metrics := func(id string) []*pipepb.MonitoringInfo {
			return must(f.jobs.GetJobMetrics(f.ctx(), &jobpb.GetJobMetricsRequest{JobId: id})).GetMetrics().GetAttempted()
		}
		id := f.prepare()
		wantEqual(t, "before Run", len(metrics(id)), 0)
		f.run(id)
		f.messages(id)
		for range 2 {
			wantEqual(t, "after the end", metrics(id)[0].GetUrn(), "read 1")
		}
	})
}

func TestAPanicInMetricsIsNoMetrics(t *testing.T) {
	bubble(t, fakeRunner{run: func(_ context.Context, _ *Submission, _ <-chan struct{}, r Reporter) error {
		r.Metrics(func() (attempted, committed []*pipepb.MonitoringInfo) { panic("oh no") })
		return nil
	}}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		got := f.states(id)
		wantEqual(t, "end", got[len(got)-1], done)
	})
}

func TestGetJobsAndGetPipeline(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		first := f.prepare()
		time.Sleep(time.Second) // of the bubble
		second := f.prepare()
		f.run(first)
		f.messages(first)
		jobs := must(f.jobs.GetJobs(f.ctx(), &jobpb.GetJobsRequest{})).GetJobInfo()
		wantEqual(t, "jobs", len(jobs), 2)
		wantEqual(t, "newest", jobs[0].GetJobId(), second)
		wantEqual(t, "state", jobs[1].GetState(), done)
		pipeline := must(f.jobs.GetPipeline(f.ctx(), &jobpb.GetJobPipelineRequest{JobId: first})).GetPipeline()
		wantEqual(t, "roots", pipeline.GetRootTransformIds(), []string{"t"})
	})
}

// hiding is a runner of which nobody is to see how its transforms are configured.
type hiding struct{ *recorder }

func (hiding) Hides(urn string) bool { return urn == "secret" }

func TestGetPipelineTellsNoPasswords(t *testing.T) {
	inBubble(t, func(t *testing.T, dir string) {
		r := hiding{newRecorder(false)}
		f := serveData(t, r, dir)
		p := aPipeline()
		p.Components.Transforms["t"].Spec = &pipepb.FunctionSpec{Urn: "secret", Payload: []byte("password")}
		id := must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: p})).GetPreparationId()
		f.run(id)
		synctest.Wait()
		shown := must(f.jobs.GetPipeline(f.ctx(), &jobpb.GetJobPipelineRequest{JobId: id})).GetPipeline().GetComponents().GetTransforms()["t"]
		if len(shown.GetSpec().GetPayload()) != 0 || shown.GetSpec().GetUrn() != "secret" {
			t.Errorf("it shows %v", shown)
		}
		s, _ := r.last()
		wantEqual(t, "what is run", string(s.Pipeline.GetComponents().GetTransforms()["t"].GetSpec().GetPayload()), "password")
		close(r.finish)
	})
}

func TestGetJobsStaysWithinWhatClientsReceive(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		opts := options(map[string]any{"labels": strings.Repeat("x", 1<<20)})
		for range 6 {
			must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline(), PipelineOptions: opts}))
		}
		jobs := must(f.jobs.GetJobs(f.ctx(), &jobpb.GetJobsRequest{})) // fails above 4 MB
		wantEqual(t, "jobs", len(jobs.GetJobInfo()), 6)
	})
}

// A client that goes away ends its streams, and nothing else: the bubble fails
// the test if a goroutine of the server is left.
func TestAClientThatGoesAwayLeavesTheJobAlone(t *testing.T) {
	bubble(t, fakeRunner{run: untilCancelled}, func(f *fixture) {
		id := f.prepare()
		f.run(id)
		ctx, cancel := context.WithCancel(context.Background())
		must(must(f.jobs.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: id})).Recv())
		must(must(f.jobs.GetStateStream(ctx, &jobpb.GetJobStateRequest{JobId: id})).Recv())
		before := runtime.NumGoroutine()
		cancel()
		synctest.Wait()
		if after := runtime.NumGoroutine(); after > before-2 {
			t.Errorf("goroutines: %d with two streams, %d without", before, after)
		}
		wantEqual(t, "state", f.state(id), running)
	})
}

func TestAReaderThatStallsDoesNotHoldTheJob(t *testing.T) {
	text := strings.Repeat("x", 8<<10)
	bubble(t, fakeRunner{run: func(_ context.Context, _ *Submission, _ <-chan struct{}, r Reporter) error {
		for range 1000 {
			r.Message(Basic, time.Now(), text)
		}
		return nil
	}}, func(f *fixture) {
		id := f.prepare()
		stalled := must(f.jobs.GetMessageStream(f.ctx(), &jobpb.JobMessagesRequest{JobId: id}))
		f.run(id)
		synctest.Wait()
		wantEqual(t, "state", f.state(id), done)
		messages := readMessages(t, stalled)
		wantEqual(t, "end", messages[len(messages)-1], "DONE")
		if gap := strings.Join(messages, "\n"); !strings.Contains(gap, "left out here") {
			t.Error("a gap is not told")
		}
	})
}

func TestManyReadersSeeTheSame(t *testing.T) {
	const n = 200
	bubble(t, fakeRunner{run: func(_ context.Context, _ *Submission, _ <-chan struct{}, r Reporter) error {
		for i := range n {
			r.Message(Detailed, time.Now(), fmt.Sprint(i))
			runtime.Gosched()
		}
		return nil
	}}, func(f *fixture) {
		id := f.prepare()
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() {
				if got := f.messages(id); len(got) != n+4 || got[n+2] != fmt.Sprint("detailed: ", n-1) {
					t.Errorf("%d lines, the last: %q", len(got), got[max(len(got)-3, 0):])
				}
			})
		}
		f.run(id)
		readers.Wait()
	})
}

func TestConcurrentCallsOnOneJob(t *testing.T) {
	bubble(t, fakeRunner{run: untilCancelled}, func(f *fixture) {
		for range 20 {
			id := f.prepare()
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() { _, _ = f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: id}) })
				callers.Go(func() { _, _ = f.jobs.Drain(f.ctx(), &jobpb.DrainJobRequest{JobId: id}) })
				callers.Go(func() { f.cancel(id) })
				callers.Go(func() { f.states(id) })
				callers.Go(func() { f.service.Jobs() })
			}
			callers.Wait()
			if !terminal(f.state(id)) {
				t.Errorf("job is %v", f.state(id))
			}
		}
	})
}

func TestCloseEndsJobsAndRefusesNewOnes(t *testing.T) {
	bubble(t, fakeRunner{run: untilCancelled}, func(f *fixture) {
		waiting, active := f.prepare(), f.prepare()
		f.run(active)
		synctest.Wait()
		if err := f.service.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{waiting, active} {
			messages := f.messages(id)
			wantEqual(t, "end", messages[len(messages)-2:], []string{"error: the server was shut down", "CANCELLED"})
		}
		_, err := f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline()})
		wantCode(t, "Prepare", err, codes.Unavailable)
		_, err = f.jobs.Run(f.ctx(), &jobpb.RunJobRequest{PreparationId: waiting})
		wantCode(t, "Run", err, codes.Unavailable)
	})
}

func TestCloseGivesUpWhenItsContextEnds(t *testing.T) {
	bubble(t, fakeRunner{run: func(ctx context.Context, _ *Submission, _ <-chan struct{}, _ Reporter) error {
		<-ctx.Done()
		time.Sleep(time.Hour) // of the bubble
		return ctx.Err()
	}}, func(f *fixture) {
		f.run(f.prepare())
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		wantEqual(t, "Close", f.service.Close(ctx), context.DeadlineExceeded)
	})
}

func TestOldJobsAreForgotten(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		f.service.keep.ended = 10
		first := f.prepare()
		f.run(first)
		f.messages(first)
		for range 10 {
			time.Sleep(time.Second) // of the bubble
			f.run(f.prepare())
		}
		synctest.Wait()
		wantEqual(t, "jobs kept", len(f.service.Jobs()), 10)
		_, err := f.jobs.GetState(f.ctx(), &jobpb.GetJobStateRequest{JobId: first})
		wantCode(t, "GetState of the oldest", err, codes.NotFound)
	})
}

func TestAPreparedJobThatIsNotRunIsGivenUp(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		id := f.prepare()
		waiting := must(f.jobs.GetMessageStream(context.Background(), &jobpb.JobMessagesRequest{JobId: id}))
		time.Sleep(time.Hour + time.Second) // of the bubble
		f.prepare()
		wantEqual(t, "messages", readMessages(t, waiting), []string{"STOPPED",
			"error: the job was prepared, and given up since it was not run", "CANCELLED"})
		synctest.Wait()
		wantEqual(t, "jobs kept", len(f.service.Jobs()), 1)
	})
}

func TestPrepareDoesNotWaitForOldJobs(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		id := f.prepare()
		synctest.Wait()
		old := must(f.service.find(id))
		old.mu.Lock() // whoever looks at it waits: for ever, if this were Prepare
		f.prepare()
		old.mu.Unlock()
	})
}

func TestIdleJobsAreBoundedInBytes(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		f.service.keep.bytes = 256 << 10
		large := options(map[string]any{"x": strings.Repeat("x", 60<<10)})
		for range 10 {
			time.Sleep(time.Second) // of the bubble
			must(f.jobs.Prepare(f.ctx(), &jobpb.PrepareJobRequest{Pipeline: aPipeline(), PipelineOptions: large}))
		}
		synctest.Wait()
		wantEqual(t, "jobs kept", len(f.service.Jobs()), 4)
	})
}

func TestDescribedOptionsHaveNoDefaults(t *testing.T) {
	bubble(t, fakeRunner{}, func(f *fixture) {
		described := must(f.jobs.DescribePipelineOptions(f.ctx(), &jobpb.DescribePipelineOptionsRequest{})).GetOptions()
		if len(described) == 0 {
			t.Error("no options")
		}
		for _, o := range described {
			// Else the Python client sends them for every job.
			if o.GetType() == jobpb.PipelineOptionType_BOOLEAN || o.GetDefaultValue() != "" || o.GetName() == "" || o.GetDescription() == "" {
				t.Errorf("option %v", o)
			}
		}
	})
}

// expansion answers every request with the same.
type expansion struct {
	jobpb.UnimplementedExpansionServiceServer
}

func (expansion) Expand(context.Context, *jobpb.ExpansionRequest) (*jobpb.ExpansionResponse, error) {
	return &jobpb.ExpansionResponse{Error: "as asked"}, nil
}

func TestTheExpansionServiceIsOnTheSamePort(t *testing.T) {
	t.Parallel()
	server := grpc.NewServer()
	New(Config{Expansion: expansion{}}).Register(server)
	if services := server.GetServiceInfo(); len(services) != 5 {
		t.Errorf("services: %v", services)
	}
}
