package runner

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/runner/engine"
)

// sinkShard is a shard of a sink that this job owns, from when it is opened.
type sinkShard struct {
	index int

	mu     sync.Mutex // held by who talks to the sink
	writer connectors.Writer
	// last is the entry that was there when the writer was opened; met is set once
	// that has been compared with an entry of this job.
	last int64
	met  bool
	// sent is the last entry that was sent by this server.
	sent int64
}

// claim takes all shards of a job that goes on, before there is anything to write
// to them: the server that had it before may only be paused, and must be fenced
// when it wakes. A sink that refuses says so again to who writes.
func (x *sinkExecutor) claim() {
	var left atomic.Int32
	left.Store(int32(len(x.shards)))
	for _, sh := range x.shards {
		x.job.spawn(func() {
			err := x.persist(func() error { return x.claimShard(sh) })
			x.foresee(err)
			if err == nil && left.Add(-1) == 0 {
				x.job.runner.cfg.Log.Info("a job owns its sink", "job", x.job.sub.ID, "step", x.stage.where(), "epoch", x.job.owner())
			}
		})
	}
}

func (x *sinkExecutor) claimShard(sh *sinkShard) error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return x.open(sh)
}

func (x *sinkExecutor) open(sh *sinkShard) error {
	if sh.writer != nil {
		return nil
	}
	w, last, err := x.sink.Open(x.job.ctx, sh.index, x.job.owner())
	if err == nil {
		sh.writer, sh.last, sh.met = w, last, false
	}
	return err
}

func (sh *sinkShard) close() {
	if sh.writer != nil {
		_ = sh.writer.Close() // what counts was said by Write
		sh.writer = nil
	}
}

// attempt writes the entry, unless it is there already.
func (x *sinkExecutor) attempt(sh *sinkShard, n int64, elements [][]byte) error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if err := x.open(sh); err != nil {
		return err
	}
	if there, err := x.meet(sh, n); there || err != nil {
		return err
	}
	sh.sent = n
	err := sh.writer.Write(x.job.ctx, n, elements)
	if err != nil {
		sh.close()
	}
	return err
}

// meet compares the first entry of a writer with what was there when it was
// opened, and tells whether it is the one that is there.
func (x *sinkExecutor) meet(sh *sinkShard, n int64) (there bool, err error) {
	if sh.met {
		return false, nil
	}
	last := sh.last
	if last > n || last == n && !x.maybeSent(sh, n) {
		return false, &beam.Error{Code: beam.Rejected, What: fmt.Sprintf("the progress of shard %d says entry %d, which this job has not written: its state on disk is older than its results", sh.index, last),
			Cure: "the state was lost, or restored from a backup: start the job anew, from where its results are"}
	}
	if last < n-1 && (last > 0 || last == 0 && x.job.journal != nil) {
		return false, &beam.Error{Code: beam.Rejected, What: fmt.Sprintf("the progress of shard %d says entry %d, but entry %d was written", sh.index, last, n-1),
			Cure: "the progress was changed or restored from a backup: start the job anew, from where its results are"}
	}
	sh.met = true
	return n == last, nil
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
