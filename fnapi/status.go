package fnapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/internal/beam"
)

// statusCalls are the questions for a harness's status that have no answer yet.
// A harness that was given a status endpoint opens a stream for them when it
// starts; those that an EXTERNAL service runs as threads are given none.
type statusCalls struct {
	requests *outbox[*fnpb.WorkerStatusRequest]

	mu      sync.Mutex
	open    int // streams
	next    int64
	waiting map[string]chan<- *fnpb.WorkerStatusResponse
}

func newStatusCalls() *statusCalls {
	return &statusCalls{requests: newOutbox[*fnpb.WorkerStatusRequest](), waiting: make(map[string]chan<- *fnpb.WorkerStatusResponse)}
}

// errNoStatus is the error of a worker that cannot be asked.
var errNoStatus = errors.New("the harness reports no status: it was started without a status endpoint")

// WorkerStatus asks harnesses how they are. The stream outlives the worker's
// others and is left to the harness to end: Python opens another at once when
// the server ends one well, and Go reads on from it without end.
func (s *Server) WorkerStatus(stream fnpb.BeamFnWorkerStatus_WorkerStatusServer) error {
	w, err := s.caller(stream.Context())
	if err != nil {
		return err
	}
	w.status.opened(1)
	defer w.status.opened(-1)
	ended := make(chan error, 1)
	go func() { ended <- w.status.read(stream) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-w.status.requests.more:
		}
		for _, req := range w.status.requests.take() {
			if err := stream.Send(req); err != nil {
				return err
			}
		}
	}
}

func (c *statusCalls) opened(change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += change
}

func (c *statusCalls) read(stream fnpb.BeamFnWorkerStatus_WorkerStatusServer) error {
	for {
		resp, err := stream.Recv()
		if err != nil {
			return notEOF(err)
		}
		c.mu.Lock()
		answer := c.waiting[resp.GetId()]
		delete(c.waiting, resp.GetId())
		c.mu.Unlock()
		if answer != nil {
			answer <- resp
		}
	}
}

func (c *statusCalls) ask() (id string, answer <-chan *fnpb.WorkerStatusResponse, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == 0 {
		return "", nil, errNoStatus
	}
	c.next++
	id = "status-" + strconv.FormatInt(c.next, 10)
	got := make(chan *fnpb.WorkerStatusResponse, 1)
	c.waiting[id] = got
	c.requests.put(&fnpb.WorkerStatusRequest{Id: id})
	return id, got, nil
}

func (c *statusCalls) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// Status asks the harness for its status page.
func (w *worker) Status(ctx context.Context) (string, error) {
	id, answer, err := w.status.ask()
	if err != nil {
		return "", err
	}
	defer w.status.forget(id)
	select {
	case resp := <-answer:
		if text := resp.GetError(); text != "" {
			return "", &beam.Error{Code: beam.UserCode, Where: "SDK harness " + w.id, What: "it cannot report its status: " + text}
		}
		return resp.GetStatusInfo(), nil
	case <-w.gone:
		return "", w.fateNow()
	case <-ctx.Done():
		return "", fmt.Errorf("SDK harness %s does not report its status: %w", w.id, context.Cause(ctx))
	}
}
