// Package jobclient is a client of Beam's Job API, for programs that look after
// jobs: it lists, follows, drains and cancels them, and reads their metrics. It
// speaks to Fresnel, and to any other job server as far as that goes.
//
//	client.go   the calls
//	follow.go   messages and states, as they come
//	greeting.go what took a connection, and whether it answered
//	metric.go   metrics, decoded
package jobclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fresnel/jobservice"

	"fresnel/internal/rpc"
)

// Client is a connection to a job server.
type Client struct {
	endpoint string
	conn     *grpc.ClientConn
	api      jobpb.JobServiceClient
	greeting *greeting
}

// Dial makes a client; nothing is sent before the first call. An endpoint that
// is not HOST:PORT is an ErrEndpoint.
func Dial(endpoint string) (*Client, error) {
	if _, port, err := net.SplitHostPort(endpoint); (err != nil || port == "") && !strings.HasPrefix(endpoint, "unix:") {
		return nil, fmt.Errorf("job endpoint %q: %w, as in %s", endpoint, ErrEndpoint, usualEndpoint)
	}
	greeting := &greeting{}
	conn, err := rpc.Connect(endpoint, grpc.WithStatsHandler(greeting),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("job endpoint %s: %w", endpoint, err)
	}
	return &Client{endpoint: endpoint, conn: conn, api: jobpb.NewJobServiceClient(conn), greeting: greeting}, nil
}

// Close ends the connection.
func (c *Client) Close() { _ = c.conn.Close() }

// State is a job's state, as Beam calls it: RUNNING, DONE.
type State string

// The states that matter to those who wait.
const (
	Done      State = "DONE"
	Failed    State = "FAILED"
	Cancelled State = "CANCELLED"
	Drained   State = "DRAINED"
	Stopped   State = "STOPPED" // not a last one: not run yet, or stopped and kept
)

// Ended tells whether it is a last state.
func (s State) Ended() bool {
	switch s {
	case Done, Failed, Cancelled, Drained, "UPDATED":
		return true
	}
	return false
}

// Job is what is known of a job.
type Job struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State State  `json:"state"`
	// Since is when the state began, if it was asked for.
	Since   time.Time      `json:"since,omitzero"`
	Options map[string]any `json:"options,omitempty"`
}

// ErrAway is the error of a server that does not answer.
var ErrAway = errors.New("no server answers there")

// ErrForeign is an ErrAway: what answers is no job server.
var ErrForeign error = foreign{}

type foreign struct{}

func (foreign) Error() string        { return "what answers there is no job server" }
func (foreign) Is(target error) bool { return target == ErrAway }

// ErrEndpoint is the error of an endpoint that is none.
var ErrEndpoint = errors.New("it has to be HOST:PORT")

// ErrNoJob is the error of a job that the server does not know.
var ErrNoJob = errors.New("there is no such job")

const (
	// serviceName is the service that a job server has.
	serviceName = "JobService"
	// usualEndpoint is where a server listens that was started without flags.
	usualEndpoint = "localhost:8073"
)

// explain says what a call's failure means to a user.
func (c *Client) explain(err error) error {
	s, _ := status.FromError(err)
	switch {
	case err == nil:
		return nil
	case c.greeting.refused(s), // no HTTP/2
		s.Code() == codes.Unimplemented && strings.Contains(s.Message(), serviceName), // an unknown service
		s.Code() == codes.Unknown && strings.Contains(s.Message(), "content-type"):    // HTTP/2, but not gRPC
		return fmt.Errorf("job endpoint %s: %w (the endpoint is what `fresnel` prints when it starts, %s without flags): %s",
			c.endpoint, ErrForeign, usualEndpoint, bare(s.Message()))
	case s.Code() == codes.Unavailable:
		return fmt.Errorf("job endpoint %s: %w (start one with `fresnel`, or name another with --server): %s", c.endpoint, ErrAway, bare(s.Message()))
	case s.Code() == codes.NotFound:
		return fmt.Errorf("%w: %s", ErrNoJob, s.Message())
	case s.Code() == codes.Canceled, s.Code() == codes.DeadlineExceeded:
		return err
	}
	return errors.New(s.Message())
}

// bare takes gRPC's words off what the system said of a connection.
func bare(message string) string {
	_, inner, found := strings.Cut(message, "desc = \"")
	if !found {
		return message
	}
	inner = strings.TrimSuffix(inner, "\"")
	return strings.TrimPrefix(inner, "transport: Error while dialing: ")
}

// Jobs lists the server's jobs, the newest first.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	resp, err := c.api.GetJobs(ctx, &jobpb.GetJobsRequest{})
	if err != nil {
		return nil, c.explain(err)
	}
	jobs := make([]Job, len(resp.GetJobInfo()))
	for i, j := range resp.GetJobInfo() {
		jobs[i] = Job{ID: j.GetJobId(), Name: j.GetJobName(), State: State(j.GetState().String()), Options: j.GetPipelineOptions().AsMap()}
	}
	return jobs, nil
}

// State returns a job's state and when it began.
func (c *Client) State(ctx context.Context, id string) (State, time.Time, error) {
	ev, err := c.api.GetState(ctx, &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		return "", time.Time{}, c.explain(err)
	}
	return State(ev.GetState().String()), ev.GetTimestamp().AsTime(), nil
}

// Cancel begins to end a job and returns its state.
func (c *Client) Cancel(ctx context.Context, id string) (State, error) {
	resp, err := c.api.Cancel(ctx, &jobpb.CancelJobRequest{JobId: id})
	return State(resp.GetState().String()), c.explain(err)
}

// Drain asks a job to stop its sources and finish, and returns its state.
func (c *Client) Drain(ctx context.Context, id string) (State, error) {
	resp, err := c.api.Drain(ctx, &jobpb.DrainJobRequest{JobId: id})
	return State(resp.GetState().String()), c.explain(err)
}

// Stop cuts a durable job off, keeps its state, and returns the state that the
// job has now; it is STOPPED soon. Servers other than Fresnel do not know it.
func (c *Client) Stop(ctx context.Context, id string) (State, error) {
	resp := &jobpb.CancelJobResponse{}
	err := c.conn.Invoke(ctx, jobservice.StopMethod, &jobpb.CancelJobRequest{JobId: id}, resp)
	return State(resp.GetState().String()), c.explain(err)
}

// Halt has a durable job come to a rest and then stop, with its state kept, and
// returns the state that the job has now. Only Fresnel's servers know it.
func (c *Client) Halt(ctx context.Context, id string) (State, error) {
	resp := &jobpb.CancelJobResponse{}
	err := c.conn.Invoke(ctx, jobservice.HaltMethod, &jobpb.CancelJobRequest{JobId: id}, resp)
	return State(resp.GetState().String()), c.explain(err)
}

// Inspect returns what a job has in its state, in JSON. Only Fresnel's servers
// know it.
func (c *Client) Inspect(ctx context.Context, id string) ([]byte, error) {
	resp := &wrapperspb.StringValue{}
	err := c.conn.Invoke(ctx, jobservice.InspectMethod, &jobpb.CancelJobRequest{JobId: id}, resp)
	return []byte(resp.GetValue()), c.explain(err)
}

// Resume goes on with a job that was stopped.
func (c *Client) Resume(ctx context.Context, id string) error {
	_, err := c.api.Run(ctx, &jobpb.RunJobRequest{PreparationId: id})
	return c.explain(err)
}

// ended tells the end of a stream from a failure.
func (c *Client) ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return c.explain(err)
}
