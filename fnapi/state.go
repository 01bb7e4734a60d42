package fnapi

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/internal/beam"
)

// maxStateRequests is how many requests of one stream may wait for answers:
// beyond it the stream is not read.
const maxStateRequests = 1024

// stateStream is one State stream: requests are read by its goroutine, and
// answered by one goroutine for each bundle that has any, which sends the answer
// itself: a harness waits for each (BenchmarkState).
type stateStream struct {
	worker *worker
	slots  chan struct{} // one for each request that is not answered

	mu   sync.Mutex // held while an answer is sent
	send func(*fnpb.StateResponse) error
}

// stateQueue is the requests of one bundle that wait. Guarded by the bundle's
// mu.
type stateQueue struct {
	requests []stateRequest
	serving  bool
}

type stateRequest struct {
	stream *stateStream
	req    *fnpb.StateRequest
}

// State answers the state requests of bundles. A stream that breaks is the end
// of the worker: Python does not open another, and every later bundle with
// state would fail as if its user had raised.
func (s *Server) State(stream fnpb.BeamFnState_StateServer) error {
	w, first, err := s.stateCaller(stream)
	if w == nil || err != nil {
		return err
	}
	st := &stateStream{worker: w, send: stream.Send, slots: make(chan struct{}, maxStateRequests)}
	if first != nil {
		st.slots <- struct{}{}
		st.dispatch(first)
	}
	w.parting.streamOpens()
	end := make(chan error, 1)
	go func() { end <- st.read(stream) }()
	select {
	case err := <-end:
		if err = notEOF(err); !w.parting.streamEnds() && err != nil {
			w.lost("it is gone: its state stream broke", err)
		}
	case <-w.gone:
	}
	return nil
}

// stateCaller is the worker that a stream is of, nil if it ended before it said
// so. Older Python harnesses that are threads of their client (LOOPBACK in 2.60)
// do not say it, on this stream alone: there the first request tells, by its
// bundle.
func (s *Server) stateCaller(stream fnpb.BeamFnState_StateServer) (*worker, *fnpb.StateRequest, error) {
	w, unknown := s.caller(stream.Context())
	if unknown == nil || metadataValue(stream.Context(), "worker_id") != "" {
		return w, nil, unknown
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, nil, notEOF(err) // a stream may well end without a request
	}
	if w = s.workerOf(first.GetInstructionId()); w == nil {
		return nil, nil, unknown
	}
	return w, first, nil
}

// workerOf is the worker that a bundle runs on, nil if none does.
func (s *Server) workerOf(bundle string) *worker {
	s.mu.Lock()
	workers := slices.Collect(maps.Values(s.workers))
	s.mu.Unlock()
	for _, w := range workers {
		if w.bundle(bundle) != nil {
			return w
		}
	}
	return nil
}

func (st *stateStream) read(stream fnpb.BeamFnState_StateServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case st.slots <- struct{}{}:
		case <-st.worker.gone:
			return nil
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		st.dispatch(req)
	}
}

// answer sends an answer, as soon as the harness takes it. Of a stream that
// breaks its reader tells.
func (st *stateStream) answer(resp *fnpb.StateResponse) {
	st.mu.Lock()
	_ = st.send(resp)
	st.mu.Unlock()
	<-st.slots
}

func (st *stateStream) refuse(req *fnpb.StateRequest, why string) {
	st.answer(&fnpb.StateResponse{Id: req.GetId(), Error: why})
}

func (st *stateStream) dispatch(req *fnpb.StateRequest) {
	r := st.worker.bundle(req.GetInstructionId())
	if r == nil {
		st.refuse(req, fmt.Sprintf("no bundle %q is running", req.GetInstructionId()))
		return
	}
	if !r.queueState(stateRequest{st, req}) {
		st.refuse(req, fmt.Sprintf("bundle %q is over", req.GetInstructionId()))
	}
}

// queueState puts a request in line; the line is served until it is empty.
func (r *running) queueState(q stateRequest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.state.requests = append(r.state.requests, q)
	if !r.state.serving {
		r.state.serving = true
		go r.serveState()
	}
	return true
}

func (r *running) serveState() {
	for {
		q, serve, ok := r.nextState()
		if !ok {
			return
		}
		if !serve {
			q.stream.refuse(q.req, fmt.Sprintf("bundle %q is over", r.bundle.ID))
			continue
		}
		resp, err := handleState(r.bundle.State, q.req)
		if err != nil {
			resp.Error = err.Error()
		}
		r.update(func() {
			r.calls--
			if err != nil {
				r.stateErr = err
			}
			if r.unwritten == nil && writes(q.req) {
				r.unwritten = err
			}
		})
		q.stream.answer(resp)
	}
}

func writes(req *fnpb.StateRequest) bool { return req.GetAppend() != nil || req.GetClear() != nil }

// nextState is the next request in line, and whether the bundle still serves
// it; then a callback has begun.
func (r *running) nextState() (q stateRequest, serve, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.state.requests) == 0 {
		r.state = stateQueue{}
		return q, false, false
	}
	q = r.state.requests[0]
	r.state.requests = r.state.requests[1:]
	if r.over {
		return q, false, true
	}
	r.calls++
	return q, true, true
}

// handleState has the bundle's handler answer. The response is never nil.
func handleState(h StateHandler, req *fnpb.StateRequest) (*fnpb.StateResponse, error) {
	resp := &fnpb.StateResponse{Id: req.GetId()}
	if data, ok := together(req); ok {
		resp.Response = &fnpb.StateResponse_Append{Append: &fnpb.StateAppendResponse{}}
		return resp, writeTogether(h, data)
	}
	key, err := stateKey(req.GetStateKey())
	if err == nil && h == nil {
		err = &beam.Error{Code: beam.Internal, What: "the bundle's stage has no state"}
	}
	if err != nil {
		return resp, err
	}
	switch r := req.GetRequest().(type) {
	case *fnpb.StateRequest_Get:
		var data, next []byte
		data, next, err = h.Get(key, r.Get.GetContinuationToken())
		resp.Response = &fnpb.StateResponse_Get{Get: &fnpb.StateGetResponse{Data: data, ContinuationToken: next}}
	case *fnpb.StateRequest_Append:
		err = h.Append(key, r.Append.GetData())
		resp.Response = &fnpb.StateResponse_Append{Append: &fnpb.StateAppendResponse{}}
	case *fnpb.StateRequest_Clear:
		err = h.Clear(key)
		resp.Response = &fnpb.StateResponse_Clear{Clear: &fnpb.StateClearResponse{}}
	default:
		err = &beam.Error{Code: beam.BadData, What: "a state request is neither get, append nor clear"}
	}
	return resp, err
}
