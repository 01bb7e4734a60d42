package fnapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// worker is one SDK harness, from the moment that it is asked for until it is
// gone. It is expected, then connected (its control stream is open), then
// gone: lost, or stopped by its pool. It does not come back: its successor has
// another id.
type worker struct {
	id       string
	server   *Server
	env      *Environment
	endpoint string // at which it reaches the server
	named    bool   // it can have more than one data stream
	// python: it takes descriptors that it has not asked for, and ends its streams
	// once its control stream has ended.
	python  bool
	place   int          // in the pool that it was started for
	process atomic.Int64 // its id, if it is a child of this process
	weight  atomic.Int64 // what that had in memory when last looked at, in bytes
	talks   atomic.Bool  // its log comes here
	foreign atomic.Bool  // a service of somebody else's started it
	// acknowledges: it has answered to what it was told of stages.
	acknowledges atomic.Bool

	connected chan struct{} // closed when the control stream is open
	gone      chan struct{} // closed when the worker is lost or stopped

	control *outbox[*fnpb.InstructionRequest]
	parting *parting
	infos   infoCache
	// process of a foreign worker, 0 if it is not known; looked for when first asked.
	host     int
	findHost sync.Once
	status   *statusCalls

	mu       sync.Mutex
	attached bool
	peer     *peer.Peer // of the control stream
	pool     *pool      // the lease
	fate     error      // why it is gone
	bundles  map[string]*running
	calls    map[string]answerFunc
	streams  []*dataStream
	told     map[string]bool // descriptors that it was told during the lease
	owed     int             // bundles whose response is to come
	settled  chan struct{}   // closed when none is owed; nil if nobody waits for that
	ours     bool            // its process is a child of this one
}

// answerFunc takes the response to an instruction, or the error that keeps it
// from ever coming. It is called once, and must not block.
type answerFunc func(*fnpb.InstructionResponse, error)

func newWorker(s *Server, env *Environment, endpoint string) *worker {
	return &worker{
		id:        newWorkerID(),
		server:    s,
		env:       env,
		endpoint:  endpoint,
		named:     slices.Contains(env.Env.GetCapabilities(), "beam:protocol:named_data_streams:v1"),
		python:    strings.Contains(sdkBase(env.Env), "python"),
		connected: make(chan struct{}),
		gone:      make(chan struct{}),
		parting:   newParting(),
		control:   newOutbox[*fnpb.InstructionRequest](),
		status:    newStatusCalls(),
		bundles:   make(map[string]*running),
		calls:     make(map[string]answerFunc),
	}
}

// ID is also the worker_id of the harness's calls.
func (w *worker) ID() string { return w.id }

// attach makes w connected; a worker has one control stream in its life.
func (w *worker) attach(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.attached {
		return fmt.Errorf("worker %s has a control stream already", w.id)
	}
	w.attached = true
	w.peer, _ = peer.FromContext(ctx)
	close(w.connected)
	return nil
}

// lease gives the worker to a pool, or to none.
func (w *worker) lease(p *pool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pool = p
	w.told = make(map[string]bool)
}

func (w *worker) leased() *pool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pool
}

// idle tells that the harness owes no response.
func (w *worker) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fate == nil && w.owed == 0
}

// Start puts the bundle on its way.
func (w *worker) Start(b *Bundle) Running {
	r := newRunning(w, b)
	if err := w.begin(r); err != nil {
		r.fail(err)
		return r
	}
	w.tell(b.Descriptor.ID)
	req := &fnpb.ProcessBundleRequest{ProcessBundleDescriptorId: b.Descriptor.ID, CacheTokens: cacheTokens(b)}
	withDataStream(req, r.stream.name)
	w.control.put(&fnpb.InstructionRequest{
		InstructionId: b.ID,
		Request:       &fnpb.InstructionRequest_ProcessBundle{ProcessBundle: req},
	})
	r.stream.feeds.put(r.feed)
	return r
}

func (w *worker) begin(r *running) error {
	b := r.bundle
	if err := w.add(b.Descriptor); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fate != nil {
		return w.fate
	}
	if _, ok := w.bundles[b.ID]; ok {
		return &beam.Error{Code: beam.Internal, What: fmt.Sprintf("bundle id %s is used twice", b.ID)}
	}
	r.stream = w.pickStream()
	r.stream.open++
	w.bundles[b.ID] = r
	w.owed++
	return nil
}

// add makes a descriptor known before the harness asks for it.
func (w *worker) add(d *Descriptor) error {
	if p := w.leased(); p != nil {
		p.uses(d.ID)
	}
	return w.server.descriptors.add(d, w.endpoint)
}

// maxDescribed is how much a worker is told of stages before their bundles: what
// comes first should not wait for what comes late, if ever.
const maxDescribed = 256 << 10

// Describe tells of stages ahead of their bundles.
func (w *worker) Describe(stages []*Descriptor) {
	size := 0
	var ids []string
	for _, d := range stages {
		if w.add(d) != nil {
			continue // its first bundle will fail
		}
		if desc, ok := w.server.descriptors.get(d.ID); ok {
			size += proto.Size(desc)
		}
		if size > maxDescribed {
			break
		}
		ids = append(ids, d.ID)
	}
	w.tell(ids...)
}

// tell sends descriptors ahead of their first bundles, which saves the harness a
// question before it can begin. Should a bundle overtake it, or should the
// harness not take it, it asks. Only the Python SDK is told: to others the
// instruction may be one that they do not know.
func (w *worker) tell(ids ...string) {
	if !w.python {
		return
	}
	var news []*fnpb.ProcessBundleDescriptor
	for _, id := range ids {
		if desc, ok := w.server.descriptors.get(id); ok && !w.wasTold(id) {
			news = append(news, desc)
		}
	}
	if len(news) == 0 {
		return
	}
	w.call(&fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_Register{
		Register: &fnpb.RegisterRequest{ProcessBundleDescriptor: news},
	}}, func(_ *fnpb.InstructionResponse, err error) {
		if err == nil {
			w.acknowledges.Store(true)
		}
	})
}

// wasTold notes that the worker is told a descriptor, and tells whether it was
// before.
func (w *worker) wasTold(descriptor string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.told[descriptor]
	w.told[descriptor] = true
	return before
}

// bundle is the running bundle of that id, nil if there is none.
func (w *worker) bundle(id string) *running {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bundles[id]
}

// forget ends a bundle's time in the worker's books.
func (w *worker) forget(r *running) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bundles[r.bundle.ID] != r {
		return
	}
	delete(w.bundles, r.bundle.ID)
	r.leaveStream()
}

// leaveStream frees a bundle's data stream for the next: with what is left of the
// bundle it has nothing to do. To open another costs a small job 2 ms.
func (w *worker) leaveStream(r *running) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.leaveStream()
}

// call sends an instruction that is not a bundle; answer gets the response.
func (w *worker) call(req *fnpb.InstructionRequest, answer answerFunc) {
	req.InstructionId = "call-" + strconv.FormatInt(w.server.instruction.Add(1), 10)
	w.mu.Lock()
	fate := w.fate
	if fate == nil {
		w.calls[req.InstructionId] = answer
	}
	w.mu.Unlock()
	if fate != nil {
		answer(nil, fate)
		return
	}
	w.control.put(req)
}

// answered is the outcome of a call.
type answered struct {
	response *fnpb.InstructionResponse
	err      error
}

// ask is call for those who wait. An error that the harness answers with has
// code beam.UserCode.
func (w *worker) ask(ctx context.Context, req *fnpb.InstructionRequest) (*fnpb.InstructionResponse, error) {
	got := make(chan answered, 1)
	w.call(req, func(resp *fnpb.InstructionResponse, err error) { got <- answered{resp, err} })
	select {
	case a := <-got:
		return a.response, a.failure()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a answered) failure() error {
	if a.err == nil && a.response.GetError() != "" {
		return &beam.Error{Code: beam.UserCode, What: a.response.GetError()}
	}
	return a.err
}

// respond hands a response to whom it is for. One that nobody waits for is
// dropped.
func (w *worker) respond(resp *responseIn) {
	id := resp.GetInstructionId()
	w.mu.Lock()
	r, answer := w.bundles[id], w.calls[id]
	delete(w.calls, id)
	w.mu.Unlock()
	switch {
	case r != nil:
		r.respond(resp)
	case answer != nil:
		answer(resp.InstructionResponse, nil)
	}
}

// settleDebt counts a bundle's response.
func (w *worker) settleDebt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owed--; w.owed == 0 && w.settled != nil {
		close(w.settled)
		w.settled = nil
	}
}

// abandon fails all bundles, and returns a channel that is closed when the
// harness has come to the end of each.
func (w *worker) abandon(err error) <-chan struct{} {
	for _, r := range w.current() {
		r.fail(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.settled == nil {
		w.settled = make(chan struct{})
	}
	settled := w.settled
	if w.owed == 0 {
		close(w.settled)
		w.settled = nil
	}
	return settled
}

func (w *worker) current() []*running {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.bundles))
}

// Fail ends the worker.
func (w *worker) Fail(err error) { w.end(err) }

// end is the end of the worker: everything that waits for it fails with err.
// Only the first call counts.
func (w *worker) end(err error) {
	bundles, calls := w.close(err)
	for _, r := range bundles {
		r.fail(err)
	}
	for _, answer := range calls {
		answer(nil, err)
	}
}

func (w *worker) close(err error) ([]*running, map[string]answerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fate != nil {
		return nil, nil
	}
	w.fate = err
	close(w.gone)
	bundles := make([]*running, 0, len(w.bundles))
	for _, r := range w.bundles {
		bundles = append(bundles, r)
	}
	calls := w.calls
	w.calls = nil
	return bundles, calls
}

// exitPatience is how much later than the end of its streams a child may be
// known to have ended.
const exitPatience = 2 * time.Second

// lost is end for what the harness did. How a process of ours ended says more
// than which of its streams was the first to break.
func (w *worker) lost(what string, cause error) {
	if w.isChild() {
		select {
		case <-w.gone:
			return
		case <-time.After(exitPatience):
		}
	}
	w.end(&beam.Error{Code: beam.Unavailable, Where: "SDK harness " + w.id, What: what, Cause: notClosing(cause),
		Cure: "look at what its process printed last; one that takes too much memory is killed by the system without a word"})
}

// notClosing is err, but for what every call meets when the other side is gone.
func notClosing(err error) error {
	if notEOF(err) == nil || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

// becomeChild notes that the harness is about to run as a child of this process.
func (w *worker) becomeChild() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ours = true
}

func (w *worker) isChild() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ours
}

func (w *worker) fateNow() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fate
}

func (w *worker) isGone() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// Finalize asks for finalization.
func (w *worker) Finalize(ctx context.Context, bundle string) error {
	_, err := w.ask(ctx, &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_FinalizeBundle{
		FinalizeBundle: &fnpb.FinalizeBundleRequest{InstructionId: bundle},
	}})
	return err
}

func (w *worker) log(e LogEntry) {
	e.Worker = w.id
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if p := w.leased(); p != nil {
		p.events.log(e)
		return
	}
	w.server.cfg.Log.Debug(e.Message, "worker", w.id)
}
