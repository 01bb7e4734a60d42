package runner

import (
	"fmt"
	"slices"
	"sync/atomic"

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

type sinkShard struct {
	index  int
	writer connectors.Writer
	// sent is the last entry that was sent by this server.
	sent int64
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
		if err := p.Probe(x.job.ctx); err != nil && x.job.ctx.Err() == nil && !x.tried.Load() {
			x.job.warn(fmt.Sprintf("%s: as things are, nothing can be written: %v", x.stage.where(), err))
		}
	})
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
	for failures := 0; ; failures++ {
		err := x.attempt(sh, e.N, elements)
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
		if x.outage.news(failures) {
			x.job.warn(fmt.Sprintf("%s: writing failed, trying again in %v: %v", x.stage.where(), wait, err))
		}
		if !sleep(x.job.ctx, wait) {
			return err
		}
	}
}

// attempt opens the shard if need be and writes the entry, unless it is there
// already.
func (x *sinkExecutor) attempt(sh *sinkShard, n int64, elements [][]byte) error {
	if sh.writer == nil {
		w, last, err := x.sink.Open(x.job.ctx, sh.index, x.job.owner())
		if err != nil {
			return err
		}
		sh.writer = w
		if last > n || last == n && !x.maybeSent(sh, n) {
			return &beam.Error{Code: beam.Rejected, What: fmt.Sprintf("the progress of shard %d says entry %d, which this job has not written: its state on disk is older than its results", sh.index, last),
				Cure: "the state was lost, or restored from a backup: start the job anew, from where its results are"}
		}
		if n <= last {
			return nil
		}
		if last < n-1 && (last > 0 || last == 0 && x.job.journal != nil) {
			return &beam.Error{Code: beam.Rejected, What: fmt.Sprintf("the progress of shard %d says entry %d, but entry %d was written", sh.index, last, n-1),
				Cure: "the progress was changed or restored from a backup: start the job anew, from where its results are"}
		}
	}
	sh.sent = n
	err := sh.writer.Write(x.job.ctx, n, elements)
	if err != nil {
		_ = sh.writer.Close() // the error that counts is the write's
		sh.writer = nil
	}
	return err
}

// maybeSent tells whether an entry was sent before, by this server or one before.
func (x *sinkExecutor) maybeSent(sh *sinkShard, n int64) bool {
	if sh.sent == n || x.job.journal == nil {
		return sh.sent == n
	}
	return slices.ContainsFunc(x.job.journal.unwritten, func(e engine.Entry) bool {
		return e.Stage == x.stage.index && e.Shard == sh.index && e.N == n
	})
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
		if sh.writer != nil {
			_ = sh.writer.Close() // all entries were acknowledged or will be sent again
		}
	}
	_ = x.sink.Close() // as above
}
