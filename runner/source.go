package runner

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/runner/engine"
)

const (
	// readBytes is what one read of a split may return: it bounds a commit, and
	// what is read again after a failure.
	readBytes = 2 << 20
	// readWait is how long a read waits for a first record; watermarks of idle
	// splits move on as often.
	readWait = 200 * time.Millisecond
	// acknowledgeEvery bounds how often a source is told its durable position, and
	// tellPatience how long that may take.
	acknowledgeEvery = 2 * time.Second
	tellPatience     = 5 * time.Second
)

// sourceExecutor reads a connector's source, a bundle for each read.
type sourceExecutor struct {
	native
	source connectors.Source
	splits []*splitReader
	outage outage
}

// splitReader is the state of one split's reading. A shard is in one bundle at a
// time, and its commit in the loop comes before the next one: so nothing here is
// used twice at once, but for telling.
type splitReader struct {
	split    connectors.Split
	reader   connectors.Reader
	failures int
	// position is where the commits are; told is what the source knows of it, and
	// since when.
	position, told []byte
	toldAt         time.Time
	telling        atomic.Bool
}

func (j *job) newSource(s *stage, src connectors.Source, splits []positioned) *sourceExecutor {
	x := &sourceExecutor{native: native{job: j, stage: s}, source: src}
	for _, sp := range splits {
		x.splits = append(x.splits, &splitReader{split: sp.Split, position: sp.position, told: sp.Start})
	}
	x.work, x.end = x.read, x.closeAll
	return x
}

// read is the work of a bundle: one read of one split.
func (x *sourceExecutor) read(b engine.Bundle, c *collector) error {
	shard := b.Work[0].Shard
	r := x.splits[shard]
	progress := engine.SourceProgress{Shard: shard, Output: -1, Watermark: beam.MinEventTime}
	if b.Drain {
		progress.Watermark, progress.Done = beam.MaxEventTime, true
		c.out.Sources = []engine.SourceProgress{progress}
		return nil
	}
	batch, err := x.next(r)
	if err != nil {
		return x.failed(r, err, c, progress)
	}
	if r.failures > 0 {
		r.failures = 0
		if x.outage.over() {
			x.job.inform(x.stage.where() + ": reading goes on")
		}
	}
	if err := c.addCounted(0, batch.Elements, batch.Count, batch.MinTimestamp); err != nil {
		return err
	}
	progress.Watermark, progress.Done = batch.Watermark, batch.Done
	if batch.Done {
		progress.Watermark = beam.MaxEventTime
	}
	c.out.Sources = []engine.SourceProgress{progress}
	if x.job.journal != nil {
		c.fx.position = &positionNote{shard: shard, row: appendSplit(nil, r.split, batch.Position)}
	}
	c.fx.apply = func() { x.committed(r, batch.Position) }
	return nil
}

func (x *sourceExecutor) next(r *splitReader) (connectors.Batch, error) {
	if r.reader == nil {
		reader, err := x.source.Open(x.job.ctx, r.split, r.position)
		if err != nil {
			return connectors.Batch{}, err
		}
		r.reader = reader
	}
	return r.reader.Read(x.job.ctx, readBytes, readWait)
}

// failed lets the split rest where the fault may pass, visibly to the user.
func (x *sourceExecutor) failed(r *splitReader, err error, c *collector, p engine.SourceProgress) error {
	if x.job.ctx.Err() != nil {
		return err
	}
	x.closeReader(r)
	if beam.CodeOf(err) != beam.Unavailable {
		return err
	}
	wait := backoff(r.failures)
	if tries, tell := x.outage.news(r.failures, err, time.Now()); tell {
		x.job.warn(fmt.Sprintf("%s: reading split %s failed%s, trying again in %v: %v", x.stage.where(), r.split.ID, tries, wait, err))
	}
	r.failures++
	p.NotBefore = x.job.clock.now().Add(wait)
	c.out.Sources = []engine.SourceProgress{p}
	return nil
}

// committed moves a split's position with the commit, in the job's loop.
func (x *sourceExecutor) committed(r *splitReader, position []byte) {
	r.position = position
	if time.Since(r.toldAt) >= acknowledgeEvery && r.telling.CompareAndSwap(false, true) {
		r.told, r.toldAt = position, time.Now()
		x.job.onceDurable(x.job.applied, func() {
			x.job.spawn(func() {
				defer r.telling.Store(false)
				x.tell(r.split, position)
			})
		})
	}
}

// tell tells the source of a position that is durable (I3).
func (x *sourceExecutor) tell(s connectors.Split, position []byte) {
	ctx, cancel := context.WithTimeout(x.job.life, tellPatience)
	defer cancel()
	if err := x.source.Committed(ctx, s, position); err != nil {
		x.job.runner.cfg.Log.Warn("committing a source position failed", "stage", x.stage.where(), "split", s.ID, "error", err)
	}
}

func (x *sourceExecutor) closeReader(r *splitReader) {
	if r.reader != nil {
		_ = r.reader.Close() // nothing was written
		r.reader = nil
	}
}

// closeAll tells the last positions, of a job that has done all with what it
// read.
func (x *sourceExecutor) closeAll() {
	var telling sync.WaitGroup
	for _, r := range x.splits {
		x.closeReader(r)
		if x.job.complete && !bytes.Equal(r.told, r.position) {
			telling.Go(func() { x.tell(r.split, r.position) })
		}
	}
	telling.Wait()
	_ = x.source.Close() // nothing was written
}

// backoff grows from 200 ms to 10 s.
func backoff(failures int) time.Duration {
	return min(200*time.Millisecond<<min(failures, 10), 10*time.Second)
}

// splits asks a source for its splits until it answers, and tells the user why
// the job waits.
func (j *job) splits(src connectors.Source, name string) ([]connectors.Split, error) {
	var outage outage
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
		if tries, tell := outage.news(failures, err, time.Now()); tell {
			j.warn(fmt.Sprintf("%s: the source cannot be reached%s, trying again in %v: %v", name, tries, wait, err))
		}
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
