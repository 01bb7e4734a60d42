package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
	"fresnel/runner/engine"
	"fresnel/runner/state"
)

// Inspection is the state that a durable job keeps on disk.
type Inspection struct {
	// Commits counts the commits that are in it, DiskBytes what it takes.
	Commits   uint64
	DiskBytes int64
	Stages    []StageInspection
}

// StageInspection is one stage's part.
type StageInspection struct {
	Name string
	// Watermark is the input watermark.
	Watermark beam.EventTime
	// Blocks, Elements and Bytes are what waits to be processed, Apart how many
	// blocks of it wait for side inputs or for the clock.
	Blocks, Elements, Bytes, Apart int
	// Groups are the keys of a GroupByKey that have state, where that is known, and
	// GroupBytes about what all of it takes.
	Groups     int
	GroupBytes int64
	// State is user state and timers.
	State []*state.Survey
	// Splits are the splits of a source: id and position.
	Splits []SplitInspection
	// Entry is the number of an outbox entry that may not be written yet, by shard.
	Entries []engine.Entry
}

// SplitInspection is how far a source's split was read.
type SplitInspection struct {
	ID       string
	Position []byte
	// Text is the position for people, if the source can tell it.
	Text string
}

// Inspect reads what a durable job, which must not be running, keeps in its
// directory, all that a recovery reads and more: that it parses, that what it
// refers to is there, and that what waits decodes. It changes nothing. Nothing
// outside is asked.
func (r *Runner) Inspect(s *jobservice.Submission) (in *Inspection, err error) {
	defer guard(&err)
	plan, err := r.plan(s)
	if err != nil {
		return nil, err
	}
	j, err := r.looking().newJob(context.Background(), s, plan, silent{})
	if err != nil {
		return nil, err
	}
	defer j.close()
	if j.journal == nil {
		return nil, &beam.Error{Code: beam.InvalidPipeline, What: "the job lives in memory: nothing of it is kept on disk"}
	}
	return j.inspect()
}

// looking is a runner that changes nothing.
func (r *Runner) looking() *Runner {
	l := *r
	l.readOnly = true
	return &l
}

func (j *job) inspect() (*Inspection, error) {
	in := &Inspection{Commits: uint64(j.applied), DiskBytes: j.journal.disk.DiskBytes()}
	snap := j.engine.Snapshot()
	for i, st := range j.stages {
		s, err := j.inspectStage(st, snap.Stages[i])
		if err != nil {
			return nil, st.placed(err)
		}
		in.Stages = append(in.Stages, s)
	}
	return in, j.checkBlocks()
}

// basicInspection is what the engine knows.
func basicInspection(st *stage, snap engine.StageSnapshot) StageInspection {
	return StageInspection{Name: st.plan.Name, Watermark: snap.Input, Blocks: snap.Blocks + snap.Apart,
		Elements: snap.Elements, Bytes: snap.Bytes, Apart: snap.Apart}
}

func (j *job) inspectStage(st *stage, snap engine.StageSnapshot) (StageInspection, error) {
	in := basicInspection(st, snap)
	switch x := st.executor.(type) {
	case *groupExecutor:
		for _, sh := range x.shards {
			in.Groups += sh.Keys()
			in.GroupBytes += sh.Size()
		}
	case *sourceExecutor:
		in.Splits = x.inspectSplits()
	case *sinkExecutor:
		for _, e := range j.journal.unwritten {
			if e.Stage == st.index {
				in.Entries = append(in.Entries, e)
			}
		}
	}
	var err error
	in.State, err = state.Look(j.store.Entries(), st.index)
	return in, firstError(err, j.journal.disk.Err())
}

// checkBlocks reads every block that waits, and counts what is in it. Those of
// side inputs must be there.
func (j *job) checkBlocks() error {
	var all []error
	for _, p := range j.engine.Pending() {
		if err := j.checkBlock(p); err != nil {
			all = append(all, j.stages[p.Stage].placed(err))
		}
	}
	j.journal.eachSideBlock(func(id engine.BlockID) {
		if j.store.Block(uint64(id)) == nil {
			all = append(all, badNote(fmt.Sprintf("block %d, which a side input is in, is not there", id)))
		}
	})
	return errors.Join(all...)
}

func (j *job) checkBlock(p engine.PendingBlock) error {
	data := j.store.Block(uint64(p.Block.ID))
	if data == nil {
		return badNote(fmt.Sprintf("block %d, which waits, is not there", p.Block.ID))
	}
	for _, r := range j.rests.of(p.Block.ID) {
		for _, id := range r.pages {
			if j.store.Block(uint64(id)) == nil {
				return badNote(fmt.Sprintf("block %d, with values of a hot key, is not there", id))
			}
		}
	}
	input := p.Input
	if inputs := j.stages[p.Stage].plan.Inputs; input >= len(inputs) {
		return badNote(fmt.Sprintf("block %d waits for input %d", p.Block.ID, input))
	}
	c, err := j.coders.element(j.stages[p.Stage].plan.Inputs[input])
	if err != nil {
		return err
	}
	var el coder.Element
	count := 0
	for ; len(data) > 0; count++ {
		n, err := c.Scan(data, &el)
		if err != nil {
			return badNote(fmt.Sprintf("block %d: %v", p.Block.ID, err))
		}
		data = data[n:]
	}
	if count != p.Block.Count {
		return badNote(fmt.Sprintf("block %d has %d elements, not %d", p.Block.ID, count, p.Block.Count))
	}
	return nil
}

// silent is for jobs that nobody listens to.
type silent struct{}

func (silent) Running()                                                       {}
func (silent) Message(jobservice.Level, time.Time, string)                    {}
func (silent) Metrics(func() (attempted, committed []*pipepb.MonitoringInfo)) {}
