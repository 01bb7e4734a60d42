package runner

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"sync"
	"time"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
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

	mu      sync.Mutex
	running map[engine.BundleID]*harnessBundle
}

type timerFamily struct {
	fnapi.TimerFamily
	processingTime bool
	coder          *coder.Coder
}

// harnessBundle is one bundle on a worker.
type harnessBundle struct {
	x         *harnessExecutor
	b         engine.Bundle
	worker    fnapi.Worker
	run       fnapi.Running
	collector *collector
	inputs    []engine.InputBlock
	// splitting is closed when the split under way has been told to the engine;
	// ended says that no further one may begin. Both under x.mu.
	splitting chan struct{}
	ended     bool

	mu     sync.Mutex // state requests and timers come on different streams
	shards map[int]*state.Shard
	txn    *store.Txn
	timers map[fnapi.TimerFamily][]byte // tails of timers in pieces
}

func (j *job) newHarnessExecutor(s *stage, p *pool) (*harnessExecutor, error) {
	h := s.plan.Harness
	x := &harnessExecutor{job: j, stage: s, pool: p, running: map[engine.BundleID]*harnessBundle{},
		families: map[fnapi.TimerFamily]*timerFamily{}, sinks: map[beam.TransformID]int{},
		descriptor: &fnapi.Descriptor{ID: string(j.sub.ID) + "/" + string(s.plan.ID), Proto: h.Descriptor}}
	x.truncation = x.newTruncation(h.Truncate)
	for i, t := range h.Sinks {
		x.sinks[t] = i
	}
	for _, t := range h.Timers {
		c, err := j.coders.coder(t.Coder)
		if err != nil {
			return nil, s.badData(err)
		}
		f := fnapi.TimerFamily{Transform: t.Transform, Family: t.Family}
		x.families[f] = &timerFamily{TimerFamily: f, processingTime: t.ProcessingTime, coder: c}
	}
	var err error
	if x.input, err = j.coders.element(s.plan.Inputs[0]); err != nil {
		return nil, s.badData(err)
	}
	return x, nil
}

// start sends the bundle to its worker.
func (x *harnessExecutor) start(b engine.Bundle) {
	w := x.pool.worker(b.Worker)
	if w == nil {
		x.job.spawn(func() {
			x.job.failed(b.ID, &beam.Error{Code: beam.Unavailable, Where: x.stage.where(), What: "the worker is gone"}, nil)
		})
		return
	}
	hb, err := x.prepare(b, w)
	if err != nil {
		x.job.spawn(func() { x.job.failed(b.ID, x.stage.badData(err), nil) })
		return
	}
	x.mu.Lock()
	x.running[b.ID] = hb
	x.mu.Unlock()
	if b.Drain && x.truncation != nil && len(hb.inputs) > 0 {
		x.job.spawn(hb.truncate)
		return
	}
	hb.begin()
	x.job.spawn(hb.wait)
}

// begin sends the bundle.
func (hb *harnessBundle) begin() {
	run := hb.worker.Start(hb.request())
	hb.x.mu.Lock()
	defer hb.x.mu.Unlock()
	hb.run = run
}

func (x *harnessExecutor) prepare(b engine.Bundle, w fnapi.Worker) (*harnessBundle, error) {
	c, err := x.job.newCollector(x.stage, b.Work[0].Shard)
	if err != nil {
		return nil, err
	}
	hb := &harnessBundle{x: x, b: b, worker: w, collector: c, shards: map[int]*state.Shard{}}
	if x.stage.plan.Keyed {
		hb.txn = store.NewTxn(x.job.store.Snapshot())
		for _, work := range b.Work {
			hb.shards[work.Shard] = state.NewShard(hb.txn, x.stage.index, work.Shard, uint64(b.ID))
		}
	}
	for _, work := range b.Work {
		hb.inputs = append(hb.inputs, work.Blocks...)
	}
	return hb, nil
}

// request is the bundle as the worker gets it.
func (hb *harnessBundle) request() *fnapi.Bundle {
	x := hb.x
	req := &fnapi.Bundle{
		ID:         x.instruction(hb.b),
		Descriptor: x.descriptor,
		Source:     x.stage.plan.Harness.Source,
		Sinks:      x.stage.plan.Harness.Sinks,
		State:      hb,
		Output:     hb.output,
	}
	req.Input = hb.inputData()
	for f := range x.families {
		req.TimerFamilies = append(req.TimerFamilies, f)
	}
	req.Timers = hb.dueTimers()
	return req
}

func (hb *harnessBundle) inputData() [][]byte {
	data := make([][]byte, len(hb.inputs))
	for i, in := range hb.inputs {
		data[i] = hb.x.job.store.Block(uint64(in.Block.ID))
	}
	return data
}

// instruction ids are unique in the server.
func (x *harnessExecutor) instruction(b engine.Bundle) string {
	return string(x.job.sub.ID) + "/" + string(x.stage.plan.ID) + "/" + strconv.FormatUint(uint64(b.ID), 10)
}

// maxTimers bounds how many timers of a shard fire in one bundle; the rest is
// due at once again.
const maxTimers = 10_000

// dueTimers takes the timers that are due from the shards, in the order of
// their times.
func (hb *harnessBundle) dueTimers() []fnapi.TimerData {
	var data []fnapi.TimerData
	for _, work := range hb.b.Work {
		if !work.EventDue && !work.ProcessingDue {
			continue
		}
		for _, t := range hb.shards[work.Shard].TakeDue(work.EventDue, hb.b.Watermark, work.ProcessingDue, hb.b.Now, maxTimers) {
			data = append(data, fnapi.TimerData{
				TimerFamily: fnapi.TimerFamily{Transform: t.Transform, Family: t.Family},
				Data: coder.AppendTimer(nil, &coder.Timer{Key: t.User, Tag: t.Tag, Windows: t.Window, WindowCount: 1,
					Fire: t.Fire, Hold: t.Hold, Pane: t.Pane})})
		}
	}
	return data
}

// output takes data and timers as they arrive.
func (hb *harnessBundle) output(from beam.TransformID, family string, data []byte) error {
	f, isTimer := hb.x.families[fnapi.TimerFamily{Transform: from, Family: family}]
	if isTimer {
		return hb.setTimers(f, data)
	}
	i, ok := hb.x.sinks[from]
	if !ok {
		return &beam.Error{Code: beam.BadData, Where: hb.x.stage.where(), What: "the harness sent output for transform " + string(from) + ", which its bundle does not have"}
	}
	return hb.collector.add(i, data)
}

// wait ends the bundle when the worker has.
func (hb *harnessBundle) wait() {
	select {
	case <-hb.run.Done():
	case <-hb.x.job.ctx.Done():
		hb.run.Abandon()
		return
	}
	hb.settleSplit()
	res, err := hb.run.Result()
	if err == nil {
		err = hb.finish(res)
	}
	if err != nil {
		hb.fail(err)
		return
	}
	hb.x.forget(hb.b.ID)
	hb.x.job.done(hb.b.ID, *hb.collector.out, hb.collector.fx)
}

// fail reports the bundle failed.
func (hb *harnessBundle) fail(err error) {
	hb.x.forget(hb.b.ID)
	hb.x.job.failed(hb.b.ID, hb.x.placed(err), hb.collector.fx.blocks)
}

// placed gives an error of a worker its place: the step that the harness names
// as the one that raised, else the stage.
func (x *harnessExecutor) placed(err error) error {
	var be *beam.Error
	if !errors.As(err, &be) || be.Where != "" || be.Code != beam.UserCode {
		return x.stage.placed(err)
	}
	named := *be
	if m := whileRunning.FindAllStringSubmatch(be.What, -1); m != nil {
		named.Where = m[len(m)-1][1]
	}
	return &named
}

// whileRunning is how the Python SDK names the step that raised; the last one
// is the innermost.
var whileRunning = regexp.MustCompile(`\[while running '([^'\n]+)'\]`)

// finish completes the outcome with what the response says.
func (hb *harnessBundle) finish(res *fnapi.Result) error {
	c := hb.collector
	if err := c.finish(); err != nil {
		return err
	}
	if err := hb.residuals(res.Residuals); err != nil {
		return err
	}
	for n, sh := range hb.shards {
		times := engine.ShardTimes{Shard: n}
		times.NextEvent, times.NextProcessing, times.Hold = sh.Times()
		c.out.Shards = append(c.out.Shards, times)
	}
	if hb.txn != nil {
		c.fx.txns = append(c.fx.txns, hb.txn)
	}
	c.out.Elapsed = res.Elapsed
	c.fx.apply = func() { hb.x.job.metrics.commit(hb, res) }
	if res.RequiresFinalization {
		c.out.Finalize = true
		c.fx.finalize = hb.finalize
	}
	return nil
}

// finalize tells the harness that its bundle is durable; nobody waits for it.
func (hb *harnessBundle) finalize(ctx context.Context) {
	if err := hb.worker.Finalize(ctx, hb.x.instruction(hb.b)); err != nil {
		hb.x.job.runner.cfg.Log.Warn("bundle finalization failed", "stage", hb.x.stage.where(), "error", err)
	}
}

func (hb *harnessBundle) residuals(rs []fnapi.Residual) error {
	shards, err := hb.applicationBlocks(rs, nil, hb.collector.block)
	hb.collector.out.Residuals = append(hb.collector.out.Residuals, shards...)
	return err
}

// blockMaker stores data as a block that belongs to the bundle or to the engine.
type blockMaker func(data []byte, count int, minTime beam.EventTime) engine.Block

// applicationBlocks makes one block of each residual (they differ in delay and
// hold), all in the bundle's first shard, and appends rest.
func (hb *harnessBundle) applicationBlocks(rs []fnapi.Residual, rest []engine.InputBlock, block blockMaker) ([]engine.ShardBlocks, error) {
	var blocks []engine.InputBlock
	for _, r := range rs {
		var el coder.Element
		n, err := hb.x.input.Scan(r.Element, &el)
		if err != nil || n != len(r.Element) {
			return nil, &beam.Error{Code: beam.BadData, Where: hb.x.stage.where(), What: "a residual is not one element of the stage's input", Cause: err}
		}
		b := block(r.Element, 1, el.Timestamp)
		b.Hold = residualHold(r, el.Timestamp)
		if r.Delay > 0 {
			b.NotBefore = hb.x.job.clock.now().Add(r.Delay)
		}
		blocks = append(blocks, engine.InputBlock{Block: b})
	}
	blocks = append(blocks, rest...)
	if len(blocks) == 0 {
		return nil, nil
	}
	return []engine.ShardBlocks{{Shard: hb.b.Work[0].Shard, Blocks: blocks}}, nil
}

// residualHold is the output watermark that the residual promises: the least
// over its outputs, the element's time where none is given.
func residualHold(r fnapi.Residual, element beam.EventTime) beam.EventTime {
	if len(r.OutputWatermarks) == 0 {
		return element
	}
	hold := beam.MaxEventTime
	for _, w := range r.OutputWatermarks {
		hold = min(hold, w)
	}
	return hold
}

func (x *harnessExecutor) forget(id engine.BundleID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.running, id)
}

// find returns a running bundle, and its run unless it is still being truncated.
func (x *harnessExecutor) find(id engine.BundleID) (*harnessBundle, fnapi.Running) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if hb := x.running[id]; hb != nil {
		return hb, hb.run
	}
	return nil, nil
}

// abandon stops waiting for a bundle.
func (x *harnessExecutor) abandon(id engine.BundleID) {
	_, run := x.find(id)
	x.forget(id)
	if run != nil {
		run.Abandon()
	}
}

func (x *harnessExecutor) close() {}

// splitTimeout bounds how long a harness may think about a split.
const splitTimeout = 10 * time.Second

// split asks the worker to split a bundle; false if it is not here.
func (x *harnessExecutor) split(s engine.SplitRequest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	hb := x.running[s.Bundle]
	if hb == nil {
		return false
	}
	if hb.run == nil || hb.ended || hb.splitting != nil {
		x.job.spawn(func() { x.splitDone(engine.SplitDone{Bundle: s.Bundle}) })
		return true
	}
	done := make(chan struct{})
	run := hb.run
	hb.splitting = done
	x.job.spawn(func() {
		hb.split(run, s.Fraction)
		x.mu.Lock()
		hb.splitting = nil
		x.mu.Unlock()
		close(done)
	})
	return true
}

// settleSplit waits until the engine knows of a split that the harness may have
// accepted: were the bundle's end told first, its residuals would be lost (I6).
func (hb *harnessBundle) settleSplit() {
	hb.x.mu.Lock()
	hb.ended = true
	splitting := hb.splitting
	hb.x.mu.Unlock()
	if splitting != nil {
		<-splitting
	}
}

// splitDone tells the engine the answer to a split request.
func (x *harnessExecutor) splitDone(d engine.SplitDone) {
	x.job.send(report{event: engine.Event{SplitDone: &d}})
}
