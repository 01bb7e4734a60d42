package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/engine"
)

const (
	// readBytes is what one read of a split may return: it bounds a commit, and
	// what is read again after a failure.
	readBytes = 2 << 20
	// readWait is how long a read waits for a first record; watermarks of idle
	// splits move on as often.
	readWait = 200 * time.Millisecond
	// acknowledgeEvery bounds how often a source is told its durable position.
	acknowledgeEvery = 2 * time.Second
)

// sourceExecutor reads a connector's source, a bundle for each read.
type sourceExecutor struct {
	native
	source connectors.Source
	splits []connectors.Split

	mu      sync.Mutex
	readers map[int]*splitReader
}

// splitReader is the state of one split's reading.
type splitReader struct {
	reader   connectors.Reader
	position []byte
	// told is the position that the source knows to be durable.
	toldAt   time.Time
	failures int
}

func (j *job) newSource(s *stage, src connectors.Source, splits []connectors.Split) *sourceExecutor {
	x := &sourceExecutor{native: native{job: j, stage: s}, source: src, splits: splits, readers: map[int]*splitReader{}}
	for i, sp := range splits {
		x.readers[i] = &splitReader{position: sp.Start}
	}
	x.work, x.end = x.read, x.closeAll
	return x
}

// read is the work of a bundle: one read of one split.
func (x *sourceExecutor) read(b engine.Bundle, c *collector) error {
	shard := b.Work[0].Shard
	r := x.readers[shard]
	progress := engine.SourceProgress{Shard: shard, Output: -1, Watermark: beam.MinEventTime}
	if b.Drain {
		progress.Watermark, progress.Done = beam.MaxEventTime, true
		c.out.Sources = []engine.SourceProgress{progress}
		return nil
	}
	batch, err := x.next(shard, r)
	if err != nil {
		return x.failed(shard, r, err, c, progress)
	}
	r.failures = 0
	if err := c.add(0, batch.Elements); err != nil {
		return err
	}
	progress.Watermark, progress.Done = batch.Watermark, batch.Done
	if batch.Done {
		progress.Watermark = beam.MaxEventTime
	}
	c.out.Sources = []engine.SourceProgress{progress}
	c.fx.apply = func() { x.committed(shard, r, batch) }
	return nil
}

func (x *sourceExecutor) next(shard int, r *splitReader) (connectors.Batch, error) {
	if r.reader == nil {
		reader, err := x.source.Open(x.job.ctx, x.splits[shard], r.position)
		if err != nil {
			return connectors.Batch{}, err
		}
		r.reader = reader
	}
	return r.reader.Read(x.job.ctx, readBytes, readWait)
}

// failed lets the split rest where the fault may pass, visibly to the user.
func (x *sourceExecutor) failed(shard int, r *splitReader, err error, c *collector, p engine.SourceProgress) error {
	if x.job.ctx.Err() != nil {
		return err
	}
	x.closeReader(r)
	if beam.CodeOf(err) != beam.Unavailable {
		return err
	}
	wait := backoff(r.failures)
	r.failures++
	x.job.message(jobservice.Warning, fmt.Sprintf("%s: reading split %s failed, trying again in %v: %v", x.stage.where(), x.splits[shard].ID, wait, err))
	p.NotBefore = x.job.clock.now().Add(wait)
	c.out.Sources = []engine.SourceProgress{p}
	return nil
}

// committed moves a split's position with the commit, in the job's loop.
func (x *sourceExecutor) committed(shard int, r *splitReader, b connectors.Batch) {
	r.position = b.Position
	now := time.Now()
	if !b.Done && now.Sub(r.toldAt) < acknowledgeEvery {
		return
	}
	r.toldAt = now
	x.job.spawn(func() {
		if err := x.source.Committed(context.WithoutCancel(x.job.ctx), x.splits[shard], b.Position); err != nil {
			x.job.runner.cfg.Log.Warn("committing a source position failed", "stage", x.stage.where(), "error", err)
		}
	})
}

func (x *sourceExecutor) closeReader(r *splitReader) {
	if r.reader != nil {
		_ = r.reader.Close() // nothing was written
		r.reader = nil
	}
}

func (x *sourceExecutor) closeAll() {
	for _, r := range x.readers {
		x.closeReader(r)
	}
	_ = x.source.Close() // nothing was written
}

// backoff grows from 200 ms to 10 s.
func backoff(failures int) time.Duration {
	return min(200*time.Millisecond<<min(failures, 10), 10*time.Second)
}

// splits asks a source for its splits until it answers, and tells the user why
// the job waits.
func (j *job) splits(src connectors.Source, name string) ([]connectors.Split, error) {
	for failures := 0; ; failures++ {
		splits, err := src.Splits(j.ctx)
		if err == nil {
			return splits, nil
		}
		if j.ctx.Err() != nil {
			return nil, context.Cause(j.ctx)
		}
		if beam.CodeOf(err) != beam.Unavailable {
			return nil, err
		}
		wait := backoff(failures)
		j.message(jobservice.Warning, fmt.Sprintf("%s: the source cannot be reached, trying again in %v: %v", name, wait, err))
		if !sleep(j.ctx, wait) {
			return nil, context.Cause(j.ctx)
		}
	}
}

// sleep waits, false if the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
