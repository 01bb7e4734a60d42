package fnapi

import (
	"fmt"
	"slices"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/internal/beam"
)

// running is a bundle on a worker. Three streams report on it from three
// goroutines: Control (the response), Data (outputs), State. It is over when
// the response and the ends of all outputs have come and no split is
// unanswered, or when it failed; then it ignores what comes.
type running struct {
	bundle *Bundle
	worker *worker
	stream *dataStream
	// left tells that the stream is free of the bundle, guarded by the worker's lock.
	left  bool
	feed  *feed
	began time.Time
	done  chan struct{}
	// emitted is closed when nothing more of the output is to come.
	emitted chan struct{}

	mu        sync.Mutex
	waiting   []TimerFamily // outputs whose end is to come; Family is "" for data
	response  *fnpb.ProcessBundleResponse
	infos     []byte // of the response, see Result.NamedInfos
	replied   bool   // the harness answered, with a response or an error
	asking    int    // splits without answer
	late      []*Split
	calls     int // callbacks of the runner that are under way
	over      bool
	closed    bool
	result    *Result
	err       error
	stateErr  error // the last error that a state request was answered with
	unwritten error // the first of those of requests to write
	patience  *time.Timer
	state     stateQueue
}

func newRunning(w *worker, b *Bundle) *running {
	waiting := make([]TimerFamily, 0, len(b.Sinks)+len(b.TimerFamilies))
	for _, sink := range b.Sinks {
		waiting = append(waiting, TimerFamily{Transform: sink})
	}
	return &running{
		bundle: b, worker: w, feed: newFeed(b), began: time.Now(),
		done: make(chan struct{}), emitted: make(chan struct{}), waiting: append(waiting, b.TimerFamilies...),
	}
}

// Done is closed when the bundle is over and none of its callbacks runs.
func (r *running) Done() <-chan struct{} { return r.done }

// Emitted is closed when all output has come; never where there is none, or the
// bundle failed before.
func (r *running) Emitted() <-chan struct{} { return r.emitted }

// Result is valid after Done.
func (r *running) Result() (*Result, error) { return r.result, r.err }

// Abandon ends the bundle for the runner. The harness is told that its input
// is complete, so that it comes to an end.
func (r *running) Abandon() {
	r.fail(&beam.Error{Code: beam.Cancelled, What: fmt.Sprintf("bundle %s was abandoned", r.bundle.ID)})
}

// respond takes the harness's response.
func (r *running) respond(resp *responseIn) {
	r.feed.drop()
	r.update(func() {
		if r.replied {
			return
		}
		r.replied = true
		defer r.worker.settleDebt()
		switch {
		case r.over:
		case resp.GetError() != "":
			r.set(r.failure(resp.GetError()))
		case resp.GetProcessBundle() == nil:
			r.set(r.violation("the response to a bundle is not a ProcessBundleResponse"))
		case len(resp.GetProcessBundle().GetElements().GetData()) > 0 || len(resp.GetProcessBundle().GetElements().GetTimers()) > 0:
			r.set(r.violation("the response carries elements, which it was not asked to"))
		default:
			r.response, r.infos = resp.GetProcessBundle(), resp.infos
		}
	})
}

// failure is the error for what the harness reports: the user's traceback, or
// what a state request was answered with.
func (r *running) failure(trace string) error {
	if r.stateErr != nil {
		return &beam.Error{Code: beam.CodeOf(r.stateErr), What: trace, Cause: r.stateErr}
	}
	return &beam.Error{Code: beam.UserCode, What: trace}
}

func (r *running) violation(what string) error {
	return &beam.Error{Code: beam.BadData, Where: "SDK harness " + r.worker.id, What: what,
		Cure: "the harness breaks the Fn API's protocol: check that its Beam version is supported"}
}

// violate fails the bundle for something that the protocol forbids.
func (r *running) violate(what string) { r.fail(r.violation(what)) }

// fail ends the bundle with err, unless it is over.
func (r *running) fail(err error) { r.update(func() { r.set(err) }) }

// set is fail with r.mu held.
func (r *running) set(err error) {
	if r.over {
		return
	}
	r.over, r.err = true, err
	r.feed.cut()
}

// update changes r, then sees whether the bundle is over.
func (r *running) update(change func()) {
	r.mu.Lock()
	change()
	r.settle()
	over, replied := r.over, r.replied
	r.mu.Unlock()
	if over && replied || r.worker.isGone() {
		r.worker.forget(r)
	}
}

// settle completes the bundle if nothing is missing, and closes Done once no
// callback runs. Called with r.mu held.
func (r *running) settle() {
	if !r.over && r.response != nil {
		switch {
		case len(r.waiting) > 0 || r.asking > 0:
			r.watch()
		case len(r.state.requests) > 0 || r.calls > 0: // not served yet
		case r.unwritten != nil: // no harness looks at the answer to a write
			r.set(&beam.Error{Code: beam.CodeOf(r.unwritten), What: "a write of user state failed", Cause: r.unwritten})
		default:
			r.over, r.result = true, r.complete()
		}
	}
	if r.over && r.calls == 0 && !r.closed {
		r.closed = true
		if r.patience != nil {
			r.patience.Stop()
		}
		close(r.done)
	}
}

func (r *running) complete() *Result {
	return &Result{
		Residuals:            residuals(r.response.GetResidualRoots()),
		RequiresFinalization: r.response.GetRequiresFinalization(),
		Monitoring:           r.response.GetMonitoringData(),
		Infos:                r.response.GetMonitoringInfos(),
		infos:                r.infos,
		LateSplits:           r.late,
		Elapsed:              time.Since(r.began),
	}
}

// watch gives what is missing after the response a while to come.
func (r *running) watch() {
	wait := r.worker.server.cfg.OutputPatience
	if r.patience == nil {
		r.patience = time.AfterFunc(wait, r.giveUp)
		return
	}
	r.patience.Reset(wait)
}

func (r *running) giveUp() {
	r.update(func() {
		what := fmt.Sprintf("the bundle's response came, but not the end of %v", r.waiting)
		if len(r.waiting) == 0 {
			what = "the bundle's response came, but not the answer to a split"
		}
		r.set(&beam.Error{Code: beam.Unavailable, Where: "SDK harness " + r.worker.id, What: what})
	})
}

// take takes output from the data stream.
func (r *running) take(e entry) {
	from := TimerFamily{Transform: beam.TransformID(e.transform), Family: e.family}
	if !r.enter(from) {
		return
	}
	var err error
	if len(e.data) > 0 && r.bundle.Output != nil {
		err = r.bundle.Output(from.Transform, from.Family, e.data)
	}
	r.update(func() {
		r.calls--
		if err != nil {
			r.set(err)
		}
		if e.last {
			r.end(from)
		}
	})
}

// end notes the end of an output. Called with r.mu held, when its last callback has
// returned.
func (r *running) end(of TimerFamily) {
	i := slices.Index(r.waiting, of)
	r.waiting = slices.Delete(r.waiting, i, i+1)
	if len(r.waiting) == 0 && !r.over {
		r.worker.leaveStream(r)
		close(r.emitted)
	}
}

// enter begins a callback for output of that origin. It is refused when the
// bundle is over, and when that output is not expected or ended before.
func (r *running) enter(from TimerFamily) bool {
	r.mu.Lock()
	expected := slices.Contains(r.waiting, from)
	ok := !r.over && expected
	if ok {
		r.calls++
	}
	over := r.over
	r.mu.Unlock()
	if !over && !expected {
		r.violate(fmt.Sprintf("output of transform %q, timer family %q, which is not an output of the bundle or has ended",
			from.Transform, from.Family))
	}
	return ok
}
