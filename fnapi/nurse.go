package fnapi

import (
	"fmt"
	"sync/atomic"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/internal/beam"
)

// nurse looks after one worker that works, from the goroutine of its place in
// the pool.
//
// A worker is hung if it does not answer: its process was stopped, or code in it
// keeps the interpreter's lock. It is asked for the meaning of no short ids,
// which harnesses answer before anything else, whatever their bundles do. Only a
// worker that has answered before is judged by that; to be told of stages is such a
// question too.
type nurse struct {
	pool *pool
	*hired
	asked    time.Time // when the question that is open was put, zero if none is
	warned   bool
	answers  atomic.Int64 // so far
	expected int64        // of them
	leaving  time.Time    // when it was told to get no more bundles, zero if it was not
}

const (
	// roundEvery is how often a worker is looked at, meetAfter when one is asked first
	// that is told of no stages: behind its first bundle, but long before user code can
	// run.
	roundEvery = time.Second
	meetAfter  = 3 * time.Millisecond
	// askEvery is how often one with work is asked, in parts of AnswerPatience.
	askEvery = 30
	// warnAfter is when the user hears of it, in such parts.
	warnAfter = 5
)

func newNurse(p *pool, h *hired) *nurse { return &nurse{pool: p, hired: h} }

// meet asks the worker for the first time, unless it will be told of its stages: in a
// small job the answer comes out of the user's time.
func (n *nurse) meet() {
	if n.listens() && !n.python {
		n.ask(time.Now())
	}
}

// introduce counts what the worker was told as the first question, if it has answered.
func (n *nurse) introduce(now time.Time) {
	if !n.acknowledges.Load() {
		n.ask(now)
		return
	}
	n.asked, n.expected = now, 1
	n.answers.Add(1)
}

func (n *nurse) round() {
	if n.listens() {
		n.listen(time.Now())
	}
	n.weigh(time.Now())
}

func (n *nurse) listens() bool { return n.pool.server.cfg.AnswerPatience > 0 }

// listen puts a question, or sees how long one has been open.
func (n *nurse) listen(now time.Time) {
	patience := n.pool.server.cfg.AnswerPatience
	silent := now.Sub(n.asked)
	switch {
	case n.expected == 0:
		n.introduce(now)
	case n.answers.Load() == n.expected:
		if n.warned {
			n.warned = false
			n.pool.warn(fmt.Sprintf("SDK harness %s answers again.", n.id))
		}
		if silent >= patience/askEvery && !n.idle() {
			n.ask(now)
		}
	case n.expected == 1: // it never answered such a question
	case silent >= patience:
		n.end(&beam.Error{Code: beam.Unavailable, Where: "SDK harness " + n.id,
			What: fmt.Sprintf("it is hung: it has not answered for %s", silent.Round(time.Second)),
			Cure: "its process may be stopped, or code that keeps the interpreter's lock may be running; how long a worker may be silent is set by the server's --worker-timeout"})
	case silent >= patience/warnAfter && !n.warned:
		n.warned = true
		n.pool.warn(fmt.Sprintf("SDK harness %s has not answered for %s; after %s it counts as hung, and is replaced.",
			n.id, silent.Round(time.Second), patience))
	}
}

func (n *nurse) ask(now time.Time) {
	n.asked = now
	n.expected++
	n.call(&fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_MonitoringInfos{
		MonitoringInfos: &fnpb.MonitoringInfosMetadataRequest{},
	}}, func(_ *fnpb.InstructionResponse, err error) {
		if err == nil {
			n.answers.Add(1)
		}
	})
}
