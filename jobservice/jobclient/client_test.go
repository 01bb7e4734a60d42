package jobclient

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"

	"fresnel/jobservice"
)

// endless is a runner of durable jobs that run once until they are cut off, and
// are done in the run after that.
type endless struct{}

func (endless) Check(*jobservice.Submission) error  { return nil }
func (endless) Durable(*jobservice.Submission) bool { return true }

func (endless) Run(ctx context.Context, s *jobservice.Submission, _ <-chan struct{}, r jobservice.Reporter) error {
	r.Running()
	if s.Resumed {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// serve serves jobs in a new data directory until the test ends.
func serve(t *testing.T) *Client {
	t.Helper()
	data, err := jobservice.OpenDataDir(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	jobs := jobservice.New(jobservice.Config{Runner: endless{}, Data: data})
	server := grpc.NewServer(jobservice.ServerOptions()...)
	jobs.Register(server)
	go func() { _ = server.Serve(listener) }()
	client, err := Dial(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		_ = jobs.Close(context.Background())
		server.Stop()
		_ = data.Close()
	})
	return client
}

// submit runs a job of one transform.
func submit(t *testing.T, c *Client) string {
	t.Helper()
	pipeline := &pipepb.Pipeline{Components: &pipepb.Components{Transforms: map[string]*pipepb.PTransform{"t": {UniqueName: "t"}}}}
	prepared, err := c.api.Prepare(t.Context(), &jobpb.PrepareJobRequest{Pipeline: pipeline})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Resume(t.Context(), prepared.GetPreparationId()); err != nil { // Run, to the server
		t.Fatal(err)
	}
	return prepared.GetPreparationId()
}

func TestAJobIsStoppedAndResumed(t *testing.T) {
	t.Parallel()
	c := serve(t)
	id := submit(t, c)
	if state, err := c.Stop(t.Context(), id); err != nil || state.Ended() {
		t.Errorf("stop: %s, %v", state, err)
	}
	if state, why, err := c.Wait(t.Context(), id); state != Stopped || err != nil || !strings.Contains(why, "its state is kept") {
		t.Errorf("once stopped: %s, %q, %v", state, why, err)
	}
	if err := c.Resume(t.Context(), id); err != nil {
		t.Error(err)
	}
	if state, _, err := c.Wait(t.Context(), id); state != Done || err != nil {
		t.Errorf("once resumed: %s, %v", state, err)
	}
}

func TestAJobThatIsNotThereCannotBeStopped(t *testing.T) {
	t.Parallel()
	if _, err := serve(t).Stop(t.Context(), "nobody's"); !errors.Is(err, ErrNoJob) {
		t.Error(err)
	}
}
