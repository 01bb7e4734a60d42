package rig

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Client is the program of a pipeline, and the job that it submits.
type Client struct {
	*Process
	server *Server
	name   string // of the job
}

var jobs atomic.Int64

// Submit runs a Python program with the options that lead it to the server.
// Environment is LOOPBACK or PROCESS.
func (s *Server) Submit(log, environment string, args ...string) (*Client, error) {
	python, err := Python()
	if err != nil {
		return nil, err
	}
	c := &Client{server: s, name: fmt.Sprintf("rig-%d", jobs.Add(1))}
	argv := append([]string{python}, args...)
	argv = append(argv, "--runner=PortableRunner", "--job_endpoint="+s.Endpoint, "--expansion_service="+s.Endpoint,
		"--job_name="+c.name, "--environment_type="+environment, "--experiments=disable_logging_submission_environment")
	if environment == "PROCESS" {
		argv = append(argv, `--environment_config={"command": "fresnel boot"}`)
	}
	c.Process, err = start(log, nil, argv...)
	return c, err
}

// errNoJob tells that the program has not submitted its job yet.
var errNoJob = errors.New("there is no such job")

// Job is the id and the state of the job.
func (c *Client) Job(ctx context.Context) (id string, state jobpb.JobState_Enum, err error) {
	resp, err := c.server.jobs.GetJobs(ctx, &jobpb.GetJobsRequest{})
	if err != nil {
		return "", 0, err
	}
	for _, j := range resp.GetJobInfo() {
		if j.GetJobName() == c.name {
			return j.GetJobId(), j.GetState(), nil
		}
	}
	return "", 0, errNoJob
}

// Counter is the value of a counter of the user's, as far as it is committed.
func (c *Client) Counter(ctx context.Context, namespace, name string) (int64, error) {
	id, _, err := c.Job(ctx)
	if err != nil {
		return 0, err
	}
	resp, err := c.server.jobs.GetJobMetrics(ctx, &jobpb.GetJobMetricsRequest{JobId: id})
	if err != nil {
		return 0, err
	}
	for _, m := range resp.GetMetrics().GetCommitted() {
		if m.GetUrn() == "beam:metric:user:sum_int64:v1" && m.GetLabels()["NAMESPACE"] == namespace && m.GetLabels()["NAME"] == name {
			n, _ := protowire.ConsumeVarint(m.GetPayload())
			return int64(n), nil
		}
	}
	return 0, fmt.Errorf("there is no counter %s.%s", namespace, name)
}

// Drain has the job finish what it has, and returns when it has ended.
func (c *Client) Drain(ctx context.Context) (jobpb.JobState_Enum, error) {
	id, _, err := c.Job(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := c.server.jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: id}); err != nil {
		return 0, err
	}
	return c.AwaitEnd(ctx)
}

// Cancel ends the job at once, and returns when it has ended.
func (c *Client) Cancel(ctx context.Context) (jobpb.JobState_Enum, error) {
	id, _, err := c.Job(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := c.server.jobs.Cancel(ctx, &jobpb.CancelJobRequest{JobId: id}); err != nil {
		return 0, err
	}
	return c.AwaitEnd(ctx)
}

// AwaitEnd returns the state in which the job ended.
func (c *Client) AwaitEnd(ctx context.Context) (jobpb.JobState_Enum, error) {
	for {
		_, state, err := c.Job(ctx)
		if err != nil && !errors.Is(err, errNoJob) {
			return state, err
		}
		switch state {
		case jobpb.JobState_DONE, jobpb.JobState_FAILED, jobpb.JobState_CANCELLED, jobpb.JobState_DRAINED:
			return state, nil
		}
		select {
		case <-ctx.Done():
			return state, ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}
