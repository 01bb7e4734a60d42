package runner

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/translate"
)

// harnessExecutor runs a stage of user code on the workers of its pool.
type harnessExecutor struct {
	job        *job
	stage      *stage
	pool       *pool
	descriptor *fnapi.Descriptor
	input      *coder.Windowed
	families   map[fnapi.TimerFamily]*timerFamily
	sinks      map[beam.TransformID]int
	truncation *truncation
	expiry     *expiry
	sorter     *sorter
	last       lastTimers
	turns      turns
	toldBeyond atomic.Bool // that a timer was set beyond its window
	caches     *caches
	ahead      *ahead

	mu      sync.Mutex
	running map[engine.BundleID]*harnessBundle
}

// descriptor is what workers are told of a stage, but for its timers.
func (j *job) descriptor(s *translate.Stage) *fnapi.Descriptor {
	return &fnapi.Descriptor{ID: string(j.sub.ID) + "/" + string(s.ID), Proto: s.Harness.Descriptor}
}

func (j *job) newHarnessExecutor(s *stage, p *pool) (executor, error) {
	h := s.plan.Harness
	x := &harnessExecutor{job: j, stage: s, pool: p, running: map[engine.BundleID]*harnessBundle{},
		families: map[fnapi.TimerFamily]*timerFamily{}, sinks: map[beam.TransformID]int{},
		descriptor: j.descriptor(s.plan)}
	x.descriptor.Timers = len(h.Timers) > 0 // stages that stand aside get none
	x.truncation = x.newTruncation(h.Truncate)
	for i, t := range h.Sinks {
		x.sinks[t] = i
	}
	for _, t := range h.Timers {
		c, err := j.coders.coder(t.Coder)
		if err != nil {
			return nil, s.badData(err)
		}
		x.families[familyOf(t)] = &timerFamily{TimerFamily: familyOf(t), processingTime: t.ProcessingTime, coder: c}
	}
	var err error
	if x.input, err = j.coders.element(s.plan.Inputs[0]); err != nil {
		return nil, s.badData(err)
	}
	if x.expiry, err = x.newExpiry(); err != nil {
		return nil, s.badData(err)
	}
	if x.ahead, err = x.newAhead(); err != nil {
		return nil, s.badData(err)
	}
	x.sorter = x.newSorter()
	if s.plan.Keyed {
		x.caches = newCaches(fmt.Sprintf("%d/%s/%s", j.epoch, j.sub.ID, s.plan.ID), s.spec.Shards)
	}
	return x, nil
}

func familyOf(t translate.TimerSpec) fnapi.TimerFamily {
	return fnapi.TimerFamily{Transform: t.Transform, Family: t.Family}
}

// start begins a bundle. What it reads of state and side inputs is as of now.
func (x *harnessExecutor) start(b engine.Bundle) {
	hb, err := x.newBundle(b)
	if err != nil {
		x.job.spawn(func() { x.job.failed(b.ID, x.placed(err), nil) })
		return
	}
	x.mu.Lock()
	x.running[b.ID] = hb
	x.mu.Unlock()
	x.job.spawn(hb.run)
}

// placed gives an error of a worker its place: the step that the harness names
// as the one that raised, else the stage.
func (x *harnessExecutor) placed(err error) error {
	var be *beam.Error
	if !errors.As(err, &be) || be.Where != "" || be.Code != beam.UserCode {
		return x.stage.placed(err)
	}
	m := whileRunning.FindAllStringSubmatch(be.What, -1)
	if m == nil {
		return x.stage.placed(err) // other SDKs do not say which of the steps it was
	}
	named := *be
	named.Where = m[len(m)-1][1]
	return &named
}

// whileRunning is how the Python SDK names the step that raised; the last one
// is the innermost.
var whileRunning = regexp.MustCompile(`\[while running '([^'\n]+)'\]`)

// instruction ids are unique in the server.
func (x *harnessExecutor) instruction(b engine.Bundle) string {
	return string(x.job.sub.ID) + "/" + string(x.stage.plan.ID) + "/" + strconv.FormatUint(uint64(b.ID), 10)
}

func (x *harnessExecutor) forget(id engine.BundleID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.running, id)
}

// settled is told by the loop what became of a bundle: its result was
// committed, or does not count.
func (x *harnessExecutor) settled(id engine.BundleID, committed bool) {
	x.mu.Lock()
	hb := x.running[id]
	delete(x.running, id)
	var run fnapi.Running
	if hb != nil {
		hb.abandoned = true
		run = hb.process
	}
	x.mu.Unlock()
	if run != nil {
		run.Abandon()
	}
	if x.caches != nil {
		x.caches.settled(id, committed)
	}
}

func (x *harnessExecutor) close() {}
