package fnapitest

import (
	"context"
	"errors"
	"strconv"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/metadata"
)

// dataStream is one Data stream of a harness.
type dataStream struct {
	mu     sync.Mutex
	stream fnpb.BeamFnData_DataClient
}

func (s *dataStream) send(e *fnpb.Elements) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(e)
}

func (h *Harness) dataStream(name string) (*dataStream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, ok := h.streams[name]; ok {
		return s, nil
	}
	ctx := h.ctx
	if name != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "data_stream_id", name)
	}
	stream, err := fnpb.NewBeamFnDataClient(h.conn).Data(ctx)
	if err != nil {
		return nil, err
	}
	s := &dataStream{stream: stream}
	h.streams[name] = s
	h.goes.Go(func() { h.readData(stream) })
	return s, nil
}

func (h *Harness) readData(stream fnpb.BeamFnData_DataClient) {
	defer h.abort()
	for {
		e, err := stream.Recv()
		if err != nil {
			return
		}
		// As Python: timers before data.
		for _, t := range e.GetTimers() {
			h.expect(t.GetInstructionId()).receive(Stream{t.GetTransformId(), t.GetTimerFamilyId()}, t.GetTimers(), t.GetIsLast())
		}
		for _, d := range e.GetData() {
			h.expect(d.GetInstructionId()).receive(Stream{Transform: d.GetTransformId()}, d.GetData(), d.GetIsLast())
		}
	}
}

// abort ends the scripts that wait for input.
func (h *Harness) abort() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.bundles {
		b.die()
	}
}

// stateStream is the State stream of a harness.
type stateStream struct {
	mu      sync.Mutex
	stream  fnpb.BeamFnState_StateClient
	cancel  context.CancelFunc
	last    int
	waiting map[string]chan *fnpb.StateResponse
}

func (h *Harness) stateStream() (*stateStream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != nil {
		return h.state, nil
	}
	ctx, cancel := context.WithCancel(h.ctx)
	stream, err := fnpb.NewBeamFnStateClient(h.conn).State(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	h.state = &stateStream{stream: stream, cancel: cancel, waiting: make(map[string]chan *fnpb.StateResponse)}
	h.goes.Go(h.state.read)
	return h.state, nil
}

func (s *stateStream) read() {
	for {
		resp, err := s.stream.Recv()
		s.mu.Lock()
		if err != nil {
			for _, c := range s.waiting {
				close(c)
			}
			s.waiting = nil
			s.mu.Unlock()
			return
		}
		c, ok := s.waiting[resp.GetId()]
		delete(s.waiting, resp.GetId())
		s.mu.Unlock()
		if ok {
			c <- resp
		}
	}
}

// BreakState breaks the State stream, once it is open, and no other.
func (h *Harness) BreakState() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != nil {
		h.state.cancel()
	}
}

// Ask sends a state request without waiting; the channel gets the response,
// or is closed if there will be none.
func (b *Bundle) Ask(req *fnpb.StateRequest) (<-chan *fnpb.StateResponse, error) {
	s, err := b.Harness.stateStream()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		return nil, errors.New("the state stream is gone")
	}
	s.last++
	req.Id = strconv.Itoa(s.last)
	if req.InstructionId == "" {
		req.InstructionId = b.ID
	}
	c := make(chan *fnpb.StateResponse, 1)
	s.waiting[req.Id] = c
	return c, s.stream.Send(req)
}

func (b *Bundle) ask(req *fnpb.StateRequest) (*fnpb.StateResponse, error) {
	c, err := b.Ask(req)
	if err != nil {
		return nil, err
	}
	resp, ok := <-c
	if !ok {
		return nil, context.Canceled
	}
	if resp.GetError() != "" {
		return nil, errors.New(resp.GetError())
	}
	return resp, nil
}

// Get reads one page of state.
func (b *Bundle) Get(key *fnpb.StateKey, token []byte) (data, next []byte, err error) {
	resp, err := b.ask(&fnpb.StateRequest{StateKey: key, Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{ContinuationToken: token}}})
	return resp.GetGet().GetData(), resp.GetGet().GetContinuationToken(), err
}

// Append adds to state.
func (b *Bundle) Append(key *fnpb.StateKey, data []byte) error {
	_, err := b.ask(&fnpb.StateRequest{StateKey: key, Request: &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: data}}})
	return err
}

// Clear empties state.
func (b *Bundle) Clear(key *fnpb.StateKey) error {
	_, err := b.ask(&fnpb.StateRequest{StateKey: key, Request: &fnpb.StateRequest_Clear{Clear: &fnpb.StateClearRequest{}}})
	return err
}
