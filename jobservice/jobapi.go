package jobservice

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fresnel/internal/beam"
)

// jobAPI is Beam's JobService (beam_job_api.proto).
type jobAPI struct {
	jobpb.UnimplementedJobServiceServer
	service *Service
}

// Prepare checks a pipeline and gives it an id. Nothing runs yet.
func (a *jobAPI) Prepare(ctx context.Context, req *jobpb.PrepareJobRequest) (*jobpb.PrepareJobResponse, error) {
	s := a.service
	options := ParseOptions(req.GetPipelineOptions())
	name := jobName(req, options)
	if err := errors.Join(validate(req.GetPipeline()), options.validate()); err != nil {
		return nil, s.refuse(name, err)
	}
	j := newJob(newID(name, time.Now()), randomHex(16), name, req, s.log)
	if word := options.Str(restoreOption, ""); word != "" {
		old, err := s.findKept(word)
		if err != nil {
			return nil, err
		}
		j.beginsWith(old)
	}
	if err := s.check(j); err != nil {
		return nil, s.refuse(name, err)
	}
	if err := s.add(j); err != nil {
		return nil, err
	}
	s.tidyLater()
	j.log.Info("job prepared", "name", name)
	return &jobpb.PrepareJobResponse{
		PreparationId:           string(j.id),
		StagingSessionToken:     j.token,
		ArtifactStagingEndpoint: s.stagingEndpoint(ctx, req.GetPipeline()),
	}, nil
}

// stagingEndpoint is where the client stages artifacts. Python's, which passes over
// the step without one, is spared it where there is nothing to stage: a channel
// and a call of some milliseconds.
func (s *Service) stagingEndpoint(ctx context.Context, p *pipepb.Pipeline) *pipepb.ApiServiceDescriptor {
	if fromPython(ctx) && !hasArtifacts(p) {
		return nil
	}
	return &pipepb.ApiServiceDescriptor{Url: dialled(ctx, s.getEndpoint())}
}

func hasArtifacts(p *pipepb.Pipeline) bool {
	for _, env := range p.GetComponents().GetEnvironments() {
		if len(env.GetDependencies()) > 0 {
			return true
		}
	}
	return false
}

// check asks the runner whether it can run the job.
func (s *Service) check(j *job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			j.log.Error("panic while a pipeline was checked", "panic", p, "stack", string(debug.Stack()))
			err = &beam.Error{Code: beam.Internal, What: fmt.Sprintf("panic while the pipeline was checked: %v", p)}
		}
	}()
	return s.runner.Check(j.submission(s.getEndpoint()))
}

// refuse logs the whole of an error and returns what fits in a gRPC status.
func (s *Service) refuse(name string, err error) error {
	s.log.Warn("pipeline refused", "name", name, "error", err)
	return statusOf(err)
}

// jobName returns the user's name of the job. The Python client calls every
// job "job" and leaves the name that the user gave in the options.
func jobName(req *jobpb.PrepareJobRequest, options Options) string {
	name := options.Str("job_name", req.GetJobName())
	if name == "" || name == "job" {
		name = options.Str("app_name", "job")
	}
	return cut(name, 200)
}

// dialled returns the address under which the client reached this server: the
// only one that is sure to work for it. Otherwise it is the configured one.
func dialled(ctx context.Context, endpoint string) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, authority := range md.Get(":authority") {
		if host, port, err := net.SplitHostPort(authority); err == nil && host != "" && port != "" {
			return authority
		}
	}
	return endpoint
}

// Run starts a prepared job; its id is that of the preparation. One that was
// stopped, and its state kept, goes on.
func (a *jobAPI) Run(_ context.Context, req *jobpb.RunJobRequest) (*jobpb.RunJobResponse, error) {
	j, err := a.service.find(req.GetPreparationId())
	if err != nil {
		return nil, err
	}
	if err := a.service.launch(j); err != nil {
		return nil, asStatus(err)
	}
	return &jobpb.RunJobResponse{JobId: string(j.id)}, nil
}

// maxListedOptions bounds the options in one GetJobs response: clients refuse
// messages over 4 MB. The oldest jobs are listed without theirs.
const maxListedOptions = 2 << 20

// GetJobs lists all jobs, the newest first.
func (a *jobAPI) GetJobs(context.Context, *jobpb.GetJobsRequest) (*jobpb.GetJobsResponse, error) {
	resp := &jobpb.GetJobsResponse{}
	listed := 0
	for _, j := range a.service.all() {
		state, _ := j.current()
		info := &jobpb.JobInfo{JobId: string(j.id), JobName: j.name, State: state}
		if listed += j.optionsSize(); listed <= maxListedOptions {
			info.PipelineOptions = concealed(j.getOptions())
		}
		resp.JobInfo = append(resp.JobInfo, info)
	}
	return resp, nil
}

// GetState returns the current state and when it began.
func (a *jobAPI) GetState(_ context.Context, req *jobpb.GetJobStateRequest) (*jobpb.JobStateEvent, error) {
	j, err := a.service.find(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return stateEvent(j.current()), nil
}

// GetPipeline returns the pipeline; its artifacts are those of the store once
// they are staged. What may have passwords in it is left out: who can reach the
// port need not be who submitted the job.
func (a *jobAPI) GetPipeline(_ context.Context, req *jobpb.GetJobPipelineRequest) (*jobpb.GetJobPipelineResponse, error) {
	j, err := a.service.find(req.GetJobId())
	if err != nil {
		return nil, err
	}
	pipeline, err := j.getPipeline()
	if err != nil {
		return nil, asStatus(err)
	}
	return &jobpb.GetJobPipelineResponse{Pipeline: a.service.hide(pipeline)}, nil
}

// hide returns the pipeline without the payloads that its Runner hides.
func (s *Service) hide(p *pipepb.Pipeline) *pipepb.Pipeline {
	h, ok := s.runner.(Hider)
	if !ok {
		return p
	}
	p = proto.CloneOf(p)
	for _, t := range p.GetComponents().GetTransforms() {
		if h.Hides(t.GetSpec().GetUrn()) {
			t.Spec.Payload = nil
		}
	}
	return p
}

// Cancel begins to end a job; on an ended one it changes nothing.
func (a *jobAPI) Cancel(_ context.Context, req *jobpb.CancelJobRequest) (*jobpb.CancelJobResponse, error) {
	state, err := a.service.Cancel(beam.JobID(req.GetJobId()))
	if err != nil {
		return nil, err
	}
	return &jobpb.CancelJobResponse{State: state}, nil
}

// Drain stops a job's sources and lets it finish.
func (a *jobAPI) Drain(_ context.Context, req *jobpb.DrainJobRequest) (*jobpb.DrainJobResponse, error) {
	state, err := a.service.Drain(beam.JobID(req.GetJobId()))
	if err != nil {
		return nil, err
	}
	return &jobpb.DrainJobResponse{State: state}, nil
}

// GetJobMetrics returns what the runner measures, or measured.
func (a *jobAPI) GetJobMetrics(_ context.Context, req *jobpb.GetJobMetricsRequest) (*jobpb.GetJobMetricsResponse, error) {
	j, err := a.service.find(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return &jobpb.GetJobMetricsResponse{Metrics: j.readMetrics()}, nil
}

// DescribePipelineOptions names the options that clients do not know.
func (a *jobAPI) DescribePipelineOptions(context.Context, *jobpb.DescribePipelineOptionsRequest) (*jobpb.DescribePipelineOptionsResponse, error) {
	return &jobpb.DescribePipelineOptionsResponse{Options: describeOptions()}, nil
}

// GetStateStream sends all states from the first on, to Python's client those from Run
// on, if the job was run.
func (a *jobAPI) GetStateStream(req *jobpb.GetJobStateRequest, stream jobpb.JobService_GetStateStreamServer) error {
	j, err := a.service.find(req.GetJobId())
	if err != nil {
		return err
	}
	if err := refuseDeadline(stream.Context(), j); err != nil {
		return err
	}
	return j.follow(stream.Context(), &j.states, func(e *entry) error {
		return stream.Send(stateEvent(e.state, e.at))
	})
}

// refuseDeadline refuses the stream that the Python client asks for between
// Prepare and Run. The client puts --job_server_timeout (300 s) on it, and a
// job that takes longer is lost to it: DEADLINE_EXCEEDED. After a refusal it
// asks again with the id from Run, then without a deadline, and misses
// nothing, since streams begin with the first state.
func refuseDeadline(ctx context.Context, j *job) error {
	state, _ := j.current()
	if state != stopped || !fromPython(ctx) || !hasTimeoutOf(ctx, ParseOptions(j.getOptions())) {
		return nil
	}
	return status.Errorf(codes.FailedPrecondition,
		"job %s has not been run: its states can be followed with a deadline of --job_server_timeout once it is", j.id)
}

// timeoutSlack is how much earlier than here a call may have begun.
const timeoutSlack = 5 * time.Second

// hasTimeoutOf tells a call whose deadline is that of the client's option from
// one whose caller has a deadline of his own.
func hasTimeoutOf(ctx context.Context, options Options) bool {
	deadline, limited := ctx.Deadline()
	seconds, err := options.Int("job_server_timeout", 0)
	if !limited || err != nil || seconds <= 0 {
		return false
	}
	early := time.Duration(min(seconds, math.MaxInt32))*time.Second - time.Until(deadline)
	return early > -time.Second && early < timeoutSlack
}

func fromPython(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, agent := range md.Get("user-agent") {
		if strings.Contains(agent, "grpc-python") {
			return true
		}
	}
	return false
}

// GetMessageStream sends all messages and states, in the order in which they
// happened. Where messages are no longer kept, one message says how many.
func (a *jobAPI) GetMessageStream(req *jobpb.JobMessagesRequest, stream jobpb.JobService_GetMessageStreamServer) error {
	j, err := a.service.find(req.GetJobId())
	if err != nil {
		return err
	}
	told := int64(0)
	return j.follow(stream.Context(), &j.history, func(e *entry) error {
		if gap := e.ord - told; gap > 0 {
			if err := stream.Send(gapMessage(e, gap)); err != nil {
				return err
			}
		}
		told = e.ord
		if !e.isState() {
			told++
		}
		return stream.Send(messageResponse(e))
	})
}

// follow calls send with each entry of a history, from the first to the
// terminal state, and waits for those to come. Where the job stops before, it
// ends too.
func (j *job) follow(ctx context.Context, h *history, send func(*entry) error) error {
	seq := int64(0)
	for {
		next, more, err := j.read(h, seq)
		if errors.Is(err, errIdle) {
			return nil
		}
		if err != nil {
			return err
		}
		if seq == 0 && fromPython(ctx) {
			next = sinceRun(next)
		}
		for i := range next {
			e := &next[i]
			if err := send(e); err != nil {
				return err
			}
			if terminal(e.state) {
				return nil
			}
			seq = e.seq + 1
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// sinceRun leaves out that the job was STOPPED, if it was run. Python's client begins
// to follow a job after Run (see refuseDeadline), and takes as long for an event, in two
// streams, as for one that matters: 1 ms of a job of 50.
func sinceRun(begin []entry) []entry {
	if len(begin) > 1 && begin[0].state == stopped && begin[1].state == starting {
		return begin[1:]
	}
	return begin
}

func stateEvent(state jobpb.JobState_Enum, at time.Time) *jobpb.JobStateEvent {
	return &jobpb.JobStateEvent{State: state, Timestamp: timestamppb.New(at)}
}

func messageResponse(e *entry) *jobpb.JobMessagesResponse {
	if e.isState() {
		return &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_StateResponse{StateResponse: stateEvent(e.state, e.at)}}
	}
	return textResponse(strconv.FormatInt(e.ord, 10), e.at, e.level, e.text)
}

func gapMessage(before *entry, n int64) *jobpb.JobMessagesResponse {
	return textResponse("", before.at, Warning,
		fmt.Sprintf("... %d messages of the job are not kept any more and are left out here ...", n))
}

func textResponse(id string, at time.Time, level Level, text string) *jobpb.JobMessagesResponse {
	return &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_MessageResponse{MessageResponse: &jobpb.JobMessage{
		MessageId:   id,
		Time:        at.UTC().Format(time.RFC3339Nano),
		Importance:  importances[min(level, Error)],
		MessageText: text,
	}}}
}

var importances = [...]jobpb.JobMessage_MessageImportance{
	Debug:    jobpb.JobMessage_JOB_MESSAGE_DEBUG,
	Detailed: jobpb.JobMessage_JOB_MESSAGE_DETAILED,
	Basic:    jobpb.JobMessage_JOB_MESSAGE_BASIC,
	Warning:  jobpb.JobMessage_JOB_MESSAGE_WARNING,
	Error:    jobpb.JobMessage_JOB_MESSAGE_ERROR,
}
