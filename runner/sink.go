package runner

import (
	"fmt"
	"sync/atomic"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
)

// sinkExecutor writes a sink's outbox entries, one at a time for each shard, in
// order.
type sinkExecutor struct {
	job    *job
	stage  *stage
	sink   connectors.Sink
	input  *coder.Windowed
	shards []*sinkShard
	outage outage
	// tried is set once there was something to write.
	tried atomic.Bool
}

func (j *job) newSink(s *stage, sink connectors.Sink) (*sinkExecutor, error) {
	in, err := j.coders.element(s.plan.Inputs[0])
	if err != nil {
		return nil, s.badData(err)
	}
	x := &sinkExecutor{job: j, stage: s, sink: sink, input: in}
	for i := range sink.Shards() {
		x.shards = append(x.shards, &sinkShard{index: i})
	}
	return x, nil
}

// probe tells the user that nothing could be written, before there is anything
// to write. What it finds may be mended until then, by the job itself too.
func (x *sinkExecutor) probe() {
	p, ok := x.sink.(connectors.Prober)
	if !ok {
		return
	}
	x.job.spawn(func() {
		x.foresee(p.Probe(x.job.ctx))
	})
}

// foresee tells the user why nothing could be written, as long as nothing was to
// be: who writes will tell it then.
func (x *sinkExecutor) foresee(err error) {
	if err != nil && x.job.ctx.Err() == nil && !x.tried.Load() {
		x.job.warn(fmt.Sprintf("%s: as things are, nothing can be written: %v", x.stage.where(), err))
	}
}

// start is not used: the engine forms a sink's entries itself.
func (x *sinkExecutor) start(engine.Bundle) {}

// write sends one entry until it is there or refused for good.
func (x *sinkExecutor) write(e engine.Entry) {
	x.job.spawn(func() {
		if err := x.writeEntry(e); err != nil {
			x.job.send(report{event: engine.Event{Fail: x.stage.placed(err)}})
			return
		}
		x.job.send(report{event: engine.Event{EntryWritten: &engine.EntryWritten{Stage: e.Stage, Shard: e.Shard, N: e.N}}})
	})
}

func (x *sinkExecutor) writeEntry(e engine.Entry) error {
	elements, err := x.elements(e)
	if err != nil {
		return err
	}
	x.tried.Store(true)
	sh := x.shards[e.Shard]
	return x.persist(func() error { return x.attempt(sh, e.N, elements) })
}

// persist tries again and again what fails because something is away.
func (x *sinkExecutor) persist(try func() error) error {
	for failures := 0; ; failures++ {
		err := try()
		if err == nil {
			if x.outage.over() {
				x.job.inform(x.stage.where() + ": writing goes on")
			}
			return nil
		}
		if x.job.ctx.Err() != nil || beam.CodeOf(err) != beam.Unavailable {
			return err
		}
		wait := backoff(failures)
		if tries, tell := x.outage.news(failures, err, time.Now()); tell {
			x.job.warn(fmt.Sprintf("%s: writing failed%s, trying again in %v: %v", x.stage.where(), tries, wait, err))
		}
		if !sleep(x.job.ctx, wait) {
			return err
		}
	}
}

func (x *sinkExecutor) elements(e engine.Entry) ([][]byte, error) {
	var all [][]byte
	var el coder.Element
	for _, id := range e.Blocks {
		data := x.job.store.Block(uint64(id))
		if data == nil { // written without it, the entry would count as whole for ever
			return nil, &beam.Error{Code: beam.Internal, Where: x.stage.where(), What: fmt.Sprintf("a block of outbox entry %d could not be read; nothing of the entry was written", e.N),
				Cure: "check the disk that holds the job's data, then submit or resume the job"}
		}
		for len(data) > 0 {
			n, err := x.input.Scan(data, &el)
			if err != nil {
				return nil, err
			}
			all = append(all, data[:n:n])
			data = data[n:]
		}
	}
	return all, nil
}

func (x *sinkExecutor) close() {
	for _, sh := range x.shards {
		sh.close() // all entries were acknowledged or will be sent again
	}
	_ = x.sink.Close() // as above
}
