package runner

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
)

// harnessBundle is one bundle on a worker.
type harnessBundle struct {
	x         *harnessExecutor
	b         engine.Bundle
	worker    fnapi.Worker
	collector *collector
	views     []*state.SideView
	token     []byte
	// inputs is what the bundle reads, in order; due are the timers that fire.
	inputs []input
	due    []fnapi.TimerData
	// last: it is one of the end of a drain.
	last bool
	// emitted is the size of the output so far, full that at which the engine is told
	// next that it is much.
	emitted, full amount
	// dropped counts elements that came after the end of their window.
	dropped int

	// Under x.mu: process is the bundle on its worker, once it is there. splitting
	// is closed when the split under way has been told to the engine; ended says
	// that no further one may begin; abandoned that nobody waits for the result.
	process   fnapi.Running
	splitting chan struct{}
	ended     bool
	abandoned bool

	// moves counts what came from the harness, inside what of it is being worked
	// on; pace belongs to the watch for stuck bundles.
	moves  atomic.Int64
	inside atomic.Int32
	pace   *pace
	// told is what the worker last told of the bundle's metrics while it ran, result
	// its response, nil before it.
	told   atomic.Pointer[[]*pipepb.MonitoringInfo]
	result *fnapi.Result

	mu       sync.Mutex // state requests and timers come on different streams
	shards   map[int]*state.Shard
	txn      *store.Txn
	timers   map[fnapi.TimerFamily][]byte // beginnings of timers in pieces
	turns    bundleTurns
	reads    reads
	ahead    *ahead // nil: what it reads is in memory
	keptLast keyWindow
}

// input is a run of elements that a bundle reads.
type input struct {
	engine.InputBlock
	shard int
	data  []byte
	// own: it is not the engine's block any more, nor any other's.
	own bool
	// roots are, in place of data, what a split has left of the elements.
	roots []engine.InputBlock
}

// newBundle prepares a bundle, in the job's loop.
func (x *harnessExecutor) newBundle(b engine.Bundle) (*harnessBundle, error) {
	w := x.pool.worker(b.Worker)
	if w == nil {
		return nil, &beam.Error{Code: beam.Unavailable, What: "the worker is gone"}
	}
	c, err := x.job.newCollector(x.stage, b.Work[0].Shard)
	if err != nil {
		return nil, err
	}
	hb := &harnessBundle{x: x, b: b, worker: w, collector: c, shards: map[int]*state.Shard{}, last: x.atTheEnd(b)}
	hb.full = hb.much()
	if x.stage.plan.Keyed {
		hb.txn = store.NewTxn(x.job.store.Entries())
		hb.token = x.caches.token(b)
		if hb.txn.Scarce() {
			hb.ahead = x.ahead
		}
	}
	for _, work := range b.Work {
		if hb.txn != nil {
			hb.shards[work.Shard] = state.NewShard(hb.txn, x.stage.index, work.Shard, uint64(x.job.applied)+1)
		}
		for _, in := range work.Blocks {
			hb.inputs = append(hb.inputs, input{InputBlock: in, shard: work.Shard, data: x.job.store.Block(uint64(in.Block.ID))})
		}
	}
	for _, s := range x.stage.sides {
		hb.views = append(hb.views, s.View())
	}
	return hb, nil
}

// run runs the bundle to its end.
func (hb *harnessBundle) run() {
	defer hb.x.forget(hb.b.ID)
	defer hb.closeViews()
	if err := hb.work(); err != nil {
		hb.x.forget(hb.b.ID) // its metrics are not among those of running ones any more
		hb.lose()
		hb.x.job.failed(hb.b.ID, hb.x.placed(err), hb.collector)
		return
	}
	hb.x.job.done(hb.b.ID, *hb.collector.out, hb.collector.fx)
}

// lose counts what a bundle that fails has counted, as far as its worker told.
func (hb *harnessBundle) lose() {
	m := hb.x.job.metrics
	if hb.result != nil {
		m.lose(hb, m.of(hb.worker), hb.result)
	} else if told := hb.told.Load(); told != nil {
		m.loseRunning(hb.x.stage, *told)
	}
}

func (hb *harnessBundle) closeViews() {
	for _, v := range hb.views {
		v.Close()
	}
}

func (hb *harnessBundle) work() error {
	if hb.b.Drain && hb.x.truncation != nil && len(hb.inputs) > 0 {
		if err := hb.truncate(); err != nil {
			return err
		}
	}
	since := time.Now()
	if err := hb.admit(); err != nil {
		return err
	}
	if err := hb.putAside(); err != nil {
		return err
	}
	hb.takeDue()
	hb.takeSorted()
	if hb.idle() {
		return hb.finish(hb.idled(since))
	}
	if err := hb.readAhead(); err != nil {
		return err
	}
	res, err := hb.onWorker()
	if err != nil {
		return err
	}
	hb.result = res
	if hb.x.sorter != nil {
		res.Elapsed = -1 // it is not that of the elements that the bundle was formed of
	}
	return hb.finish(res)
}

// onWorker has the worker process the bundle.
func (hb *harnessBundle) onWorker() (*fnapi.Result, error) {
	run := hb.worker.Start(hb.request())
	if !hb.begun(run) {
		run.Abandon()
	}
	err := hb.await(run)
	hb.settleSplit()
	if err != nil {
		return nil, err
	}
	return run.Result()
}

// await returns when the bundle is over. On the way it tells the engine when all
// output has come.
func (hb *harnessBundle) await(run fnapi.Running) error {
	select {
	case <-run.Done():
		return nil
	case <-run.Emitted():
		if err := hb.hasEmitted(); err != nil {
			run.Abandon()
			<-run.Done()
			return err
		}
	case <-hb.x.job.ctx.Done():
	}
	select {
	case <-run.Done():
	case <-hb.x.job.ctx.Done():
		run.Abandon()
		<-run.Done()
	}
	return nil
}

// hasEmitted tells the engine that the bundle puts out nothing more, and what
// consumers may start on.
func (hb *harnessBundle) hasEmitted() error {
	if err := hb.collector.finish(); err != nil {
		return hb.x.stage.unfinished(err)
	}
	hb.x.job.send(report{event: engine.Event{BundleEmitted: &engine.BundleEmitted{
		Bundle: hb.b.ID, Outputs: slices.Clone(hb.collector.out.Outputs)}}})
	return nil
}

// begun notes that the bundle is on its worker; false if nobody waits for it
// any more.
func (hb *harnessBundle) begun(run fnapi.Running) bool {
	hb.x.mu.Lock()
	defer hb.x.mu.Unlock()
	hb.process = run
	return !hb.abandoned
}

// request is the bundle as the worker gets it.
func (hb *harnessBundle) request() *fnapi.Bundle {
	x := hb.x
	req := &fnapi.Bundle{
		ID:              x.instruction(hb.b),
		Descriptor:      x.descriptor,
		Source:          x.stage.plan.Harness.Source,
		Sinks:           x.stage.plan.Harness.Sinks,
		Timers:          hb.due,
		State:           stateOf{hb},
		Output:          hb.guardedOutput,
		UserStateToken:  hb.token,
		SideInputTokens: hb.sideTokens(),
	}
	for _, in := range hb.inputs {
		req.Input = append(req.Input, in.data)
	}
	for f := range x.families {
		req.TimerFamilies = append(req.TimerFamilies, f)
	}
	return req
}

// sideTokens are the tokens for what harnesses cache of side inputs (I11).
func (hb *harnessBundle) sideTokens() []fnapi.SideInputToken {
	var tokens []fnapi.SideInputToken
	for i, s := range hb.x.stage.plan.Harness.SideInputs {
		tokens = append(tokens, fnapi.SideInputToken{Transform: s.Transform, Name: s.Name,
			Token: hb.x.job.sideToken(hb.x.stage, i, hb.views[i].Version())})
	}
	return tokens
}

// guardedOutput is output that survives a panic: it is called by the server's
// goroutines (I7).
func (hb *harnessBundle) guardedOutput(from beam.TransformID, family string, data fnapi.Payload) (err error) {
	defer guard(&err)
	defer hb.arrived().Add(-1)
	return hb.output(from, family, data)
}

// arrived notes that something came from the harness. It returns the count of
// what is being worked on, from which the caller takes its one in the end.
func (hb *harnessBundle) arrived() *atomic.Int32 {
	hb.moves.Add(1)
	hb.inside.Add(1)
	return &hb.inside
}

// output takes data and timers as they arrive.
func (hb *harnessBundle) output(from beam.TransformID, family string, data fnapi.Payload) error {
	f, isTimer := hb.x.families[fnapi.TimerFamily{Transform: from, Family: family}]
	if isTimer {
		return hb.setTimers(f, data.Joined())
	}
	i, ok := hb.x.sinks[from]
	if !ok {
		return &beam.Error{Code: beam.BadData, Where: hb.x.stage.where(), What: "the harness sent output for transform " + string(from) + ", which its bundle does not have"}
	}
	if err := hb.collector.addPieces(i, data); err != nil {
		return hb.x.stage.badOutput(err)
	}
	hb.swell(data.Size())
	return nil
}

// swell counts output, and tells the engine each time when it is much.
func (hb *harnessBundle) swell(size int) {
	hb.emitted.bytes += size
	hb.emitted.elements = hb.collector.elements
	if hb.emitted.bytes < hb.full.bytes && hb.emitted.elements < hb.full.elements {
		return
	}
	most := hb.much()
	hb.full = amount{hb.emitted.bytes + most.bytes, hb.emitted.elements + most.elements}
	hb.x.job.spawn(func() {
		hb.x.job.send(report{event: engine.Event{OutputFull: &engine.OutputFull{Bundle: hb.b.ID}}})
	})
}

// The size of what an unbounded read puts out from which on it is checkpointed,
// though its time is not over. Harnesses send what they put out in pieces of up to
// 10 MB, so that it is known no sooner.
const (
	fullBytes    = 8 << 20
	fullElements = 50_000
)

// amount is a size of data.
type amount struct{ bytes, elements int }

// much is after how much output the engine is told.
func (hb *harnessBundle) much() amount {
	most := hb.x.job.runner.maxOutput()
	if hb.x.stage.spec.CheckpointAfter > 0 {
		return amount{min(most, fullBytes), fullElements}
	}
	return amount{most, math.MaxInt32}
}

// finish completes the outcome with what the response says.
func (hb *harnessBundle) finish(res *fnapi.Result) error {
	c := hb.collector
	if err := c.finish(); err != nil {
		return hb.x.stage.unfinished(err)
	}
	hb.ahead.learn(&hb.reads)
	if len(hb.timers) > 0 {
		return hb.x.stage.badOutput(coder.ErrShort)
	}
	if err := hb.keptTurns(); err != nil {
		return err
	}
	if len(res.LateSplits) > 0 {
		return &beam.Error{Code: beam.Unavailable, What: "the harness split the bundle too late"} // it is run again as a whole
	}
	residuals, err := hb.roots(res.Residuals, hb.residual)
	if err != nil {
		return err
	}
	if len(residuals) > 0 {
		c.out.Residuals = append(c.out.Residuals, engine.ShardBlocks{Shard: hb.b.Work[0].Shard, Blocks: residuals})
	}
	if hb.dropped > 0 {
		hb.x.job.runner.cfg.Log.Debug("elements came after their windows had expired", "job", hb.x.job.sub.ID, "stage", hb.x.stage.where(), "dropped", hb.dropped)
	}
	c.out.Shards = hb.times()
	if hb.txn != nil {
		c.fx.txns = append(c.fx.txns, hb.txn)
	}
	c.out.Elapsed = res.Elapsed
	counts := hb.x.job.metrics.of(hb.worker)
	hb.x.job.metrics.learn(hb.x.job.ctx, hb.worker, counts, res)
	c.fx.count = func() { hb.x.job.metrics.commit(hb, counts, res) }
	c.fx.lose = func() { hb.x.job.metrics.lose(hb, counts, res) }
	c.fx.apply = hb.forgetSides
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

// residual stores what the bundle gives back at its end.
func (hb *harnessBundle) residual(data []byte, count int, minTime beam.EventTime) engine.Block {
	b := hb.collector.block(data, count, minTime)
	hb.truncated(b.ID)
	return b
}

// truncated notes that a block holds truncated restrictions, if the bundle is
// one of a drain.
func (hb *harnessBundle) truncated(id engine.BlockID) {
	t := hb.x.truncation
	if !hb.b.Drain || t == nil {
		return
	}
	t.mark(id)
	if l := hb.x.job.journal; l != nil {
		l.markTruncated(hb.x.stage.index, id)
	}
}

// blockMaker stores data as a block that belongs to the bundle or to the engine.
type blockMaker func(data []byte, count int, minTime beam.EventTime) engine.Block

// roots makes a block of each element that a harness gives back: they differ in
// delay and hold.
func (hb *harnessBundle) roots(rs []fnapi.Residual, block blockMaker) ([]engine.InputBlock, error) {
	var blocks []engine.InputBlock
	for _, r := range rs {
		var el coder.Element
		n, err := hb.x.input.Scan(r.Element, &el)
		if err != nil || n != len(r.Element) {
			return nil, &beam.Error{Code: beam.BadData, Where: hb.x.stage.where(), What: "a residual is not one element of the stage's input", Cause: err}
		}
		b := block(r.Element, 1, el.Hold)
		b.Hold = residualHold(r, el.Hold)
		if r.Delay > 0 {
			b.NotBefore = hb.x.job.clock.now().Add(r.Delay)
		}
		blocks = append(blocks, engine.InputBlock{Block: b})
	}
	return blocks, nil
}

// residualHold is the output watermark that the residual promises: the least
// over its outputs, the element's hold where none is given.
func residualHold(r fnapi.Residual, element beam.EventTime) beam.EventTime {
	if len(r.OutputWatermarks) == 0 {
		return min(element, beam.LastHold)
	}
	hold := beam.LastHold
	for _, w := range r.OutputWatermarks {
		hold = min(hold, w)
	}
	return hold
}
