package runner

import (
	"cmp"
	"context"
	"os"
	"time"

	"fresnel/connectors"
	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/window"
	"fresnel/translate"
)

// The pools that every job has; those of its environments follow.
const (
	nativePool = iota
	sourcePool
	firstHarnessPool
)

// newJob makes a job of a plan: stages, edges, executors, engine.
func (r *Runner) newJob(ctx context.Context, s *jobservice.Submission, plan *translate.Plan, rep jobservice.Reporter) (*job, error) {
	j := &job{runner: r, sub: s, plan: plan, report: rep, opts: jobservice.ParseOptions(s.Options), gates: newGates(), mappings: map[sideKey]*windowMapping{}, coders: newCoders(plan), clock: newWallClock(),
		reports: make(chan report, 256), asked: make(chan chan<- engine.Snapshot), looks: make(chan func()), inFlight: map[engine.BundleID]*stage{}, effects: map[engine.BundleID]*effects{},
		finalizers: map[engine.BundleID]func(context.Context){}, epoch: time.Now().UnixMilli()}
	j.memory = newMemory(r.budget, r.cfg.SpillDir, r.cfg.Log, &fullDisk{job: j, dir: cmp.Or(r.cfg.SpillDir, os.TempDir())})
	j.store = j.memory.newStore()
	j.metrics, j.logs = newMetrics(), newHarnessLog(j)
	j.rests.job = j
	j.ctx, j.cancel = context.WithCancel(ctx)
	j.life, j.die = context.WithCancel(context.WithoutCancel(ctx))
	rep.Metrics(j.readMetrics)
	built := false
	defer func() {
		if !built {
			j.close()
		}
	}()
	if err := j.build(); err != nil {
		return nil, err
	}
	j.metrics.watch(j.counting) // from here on stages stay as they are
	built = true
	return j, nil
}

func (j *job) build() error {
	if err := j.begin(); err != nil {
		return err
	}
	spec := engine.Spec{Options: j.engineOptions()}
	byID := map[beam.StageID]*stage{}
	for i, p := range j.plan.Stages {
		st := &stage{index: i, plan: p, outputs: make([][]*edge, len(p.Outputs))}
		j.stages = append(j.stages, st)
		byID[p.ID] = st
		j.stable = j.stable || p.StableInput
		if p.Kind == translate.TestStream {
			j.clock = newVirtualClock()
		}
	}
	pools := j.poolSpecs()
	for _, st := range j.stages {
		if err := j.buildStage(st); err != nil {
			return st.placed(err)
		}
		if st.plan.Kind == translate.Source || st.plan.Kind == translate.Impulse {
			pools[sourcePool].Slots += st.spec.Shards
		}
		spec.Stages = append(spec.Stages, st.spec)
	}
	spec.Pools = pools
	for i, e := range j.plan.Edges {
		ed, err := j.buildEdge(i, e, byID[e.To])
		if err != nil {
			return byID[e.To].placed(err)
		}
		from := byID[e.From]
		from.outputs[e.Output] = append(from.outputs[e.Output], ed)
		spec.Edges = append(spec.Edges, ed.spec(from.index))
	}
	j.spec = spec
	return firstError(j.makeEngine(spec), j.noteBegun())
}

func (j *job) engineOptions() engine.Options {
	retries, lost := j.retries()
	return engine.Options{
		Streaming: j.plan.Streaming, TargetBundle: 300 * time.Millisecond,
		MaxBundleBytes: 32 << 20, MaxBundleOutput: j.runner.maxOutput(), MaxBundleElements: j.runner.maxBundle, BusyLimit: 0.7,
		SplitAfter: j.runner.splitAfter, UserRetries: retries, LostRetries: lost, Backoff: 100 * time.Millisecond,
		MaxPendingBytes: j.runner.cfg.MaxPendingBytes, Durable: j.journal != nil,
	}
}

// retries are how often a bundle is tried again after an exception of user code,
// and after it was lost with its worker, which for a bundle of an unbounded job
// may be without end (-1).
func (j *job) retries() (user, lost int) {
	const usual = 4
	given := int64(0)
	if j.plan.Streaming {
		given = usual
	}
	if n, err := j.opts.Int("bundle_retries", given); err == nil {
		given = n // what is not a number was refused when the job was prepared
	}
	if j.plan.Streaming {
		return int(given), -1
	}
	return int(given), max(usual, int(given))
}

// poolSpecs makes a pool for the runner's own work, one for sources, which
// mostly wait, and one for each environment.
func (j *job) poolSpecs() []engine.PoolSpec {
	specs := []engine.PoolSpec{
		nativePool: {Name: "native", Native: true, Slots: nativeSlots()},
		sourcePool: {Name: "sources", Native: true, Slots: 1},
	}
	for _, st := range j.stages {
		env, ok := environmentOf(st.plan)
		if !ok || j.poolOf(env) != nil {
			continue
		}
		p := &pool{job: j, index: len(specs), env: env, workers: map[int]fnapi.Worker{}, numbers: map[string]int{}, up: make(chan struct{})}
		j.pools = append(j.pools, p)
		specs = append(specs, engine.PoolSpec{Name: string(env), Slots: 2, PerBundle: 2 * time.Millisecond, Measurable: true})
	}
	return specs
}

// environmentOf is the environment whose workers a stage needs, if any.
func environmentOf(s *translate.Stage) (beam.EnvironmentID, bool) {
	switch {
	case s.Kind == translate.Harness:
		return s.Harness.Environment, true
	case s.Kind == translate.Group && s.Group.MergeWindows != nil:
		return s.Group.MergeWindows.Harness.Environment, true
	}
	return "", false
}

func (j *job) poolOf(env beam.EnvironmentID) *pool {
	for _, p := range j.pools {
		if p.env == env {
			return p
		}
	}
	return nil
}

// buildStage gives a stage its executor and its place in the engine.
func (j *job) buildStage(st *stage) (err error) {
	p := st.plan
	st.spec = engine.StageSpec{Name: p.Name, Pool: nativePool, Shards: j.lanes, Outputs: len(p.Outputs), StableInput: p.StableInput}
	switch p.Kind {
	case translate.Impulse:
		st.spec.Role, st.spec.Shards, st.spec.Pool = engine.Source, 1, sourcePool
		st.executor = j.newImpulse(st)
	case translate.Source:
		err = j.buildSource(st)
	case translate.Sink:
		err = j.buildSink(st)
	case translate.TestStream:
		st.spec.Role, st.spec.Shards = engine.Script, 1
		st.executor = j.newScript(st)
	case translate.Group:
		st.spec.Shards, st.spec.Exclusive = j.keyShards, true
		st.executor, err = j.newGroup(st)
	case translate.Rewindow:
		st.executor, err = j.newRewindow(st)
	case translate.Harness:
		err = j.buildHarness(st)
	}
	return err
}

func (j *job) buildHarness(st *stage) (err error) {
	h := st.plan.Harness
	p := j.poolOf(h.Environment)
	st.spec.Pool, st.spec.SideInputs = p.index, len(h.SideInputs)
	st.spec.Splittable = !st.plan.Keyed
	st.spec.Restrictions = h.ProcessSized != ""
	if st.plan.Keyed {
		st.spec.Shards, st.spec.Exclusive = j.keyShards, true
		st.spec.MaxElements = j.memory.statefulBundle()
	}
	if h.UnboundedSDF {
		st.spec.CheckpointAfter = 100 * time.Millisecond
	}
	for _, s := range h.SideInputs {
		st.sides = append(st.sides, state.NewSideInput(s.Multimap, j.memory.sides))
	}
	if err := j.recoverSides(st); err != nil {
		return err
	}
	st.executor, err = j.newHarnessExecutor(st, p)
	return err
}

func (j *job) connector(st *stage) (connectors.Connector, connectors.Transform, error) {
	c := st.plan.Connector
	t := connectors.Transform{URN: c.URN, Payload: c.Payload, Name: c.Transform, Job: j.sinkOwner(st.index), Durable: j.journal != nil}
	con := j.runner.connectors[c.URN]
	if con == nil {
		return nil, t, &beam.Error{Code: beam.Unsupported, What: "no connector runs " + c.URN}
	}
	if len(st.plan.Inputs) > 0 {
		var err error
		if t.Input, err = j.coders.element(st.plan.Inputs[0]); err != nil {
			return nil, t, err
		}
	}
	return con, t, nil
}

func (j *job) buildSource(st *stage) error {
	con, t, err := j.connector(st)
	if err != nil {
		return err
	}
	src, err := con.Source(t)
	if err != nil {
		return err
	}
	splits, err := j.readSplits(st, src)
	if err != nil {
		_ = src.Close() // nothing was read
		return err
	}
	st.spec.Role, st.spec.Pool, st.spec.Shards = engine.Source, sourcePool, len(splits)
	st.executor = j.newSource(st, src, splits)
	return nil
}

func (j *job) buildSink(st *stage) error {
	con, t, err := j.connector(st)
	if err != nil {
		return err
	}
	sink, err := con.Sink(t)
	if err != nil {
		return err
	}
	st.spec.Role, st.spec.Shards = engine.Sink, sink.Shards()
	st.spec.MaxEntryRows, st.spec.MaxEntryBytes = sink.MaxEntry()
	x, err := j.newSink(st, sink)
	if err != nil {
		_ = sink.Close() // nothing was written
		return err
	}
	st.executor = x
	return nil
}

func (j *job) buildEdge(index int, e translate.Edge, to *stage) (*edge, error) {
	ed := &edge{index: index, plan: e, to: to, shards: to.spec.Shards}
	if e.Kind == translate.SideInput {
		return ed, j.buildSideEdge(ed)
	}
	var err error
	if e.Routing == translate.ByKey {
		if ed.key, err = j.coders.coder(to.plan.Inputs[e.Input].Coder); err != nil {
			return nil, err
		}
	}
	ed.gater, err = j.newGater(to.index, to.plan)
	return ed, err
}

func (j *job) buildSideEdge(ed *edge) error {
	spec := ed.to.plan.Harness.SideInputs[ed.plan.Input]
	ed.side = ed.to.sides[ed.plan.Input]
	strategy, err := j.strategy(spec.Collection.Windowing)
	if err != nil {
		return err
	}
	ed.wholeEnd, ed.awaited = wholeEnd(strategy), strategy.AwaitedUntil
	// Where time is a script's, nobody waits for an early pane, and an element sees
	// all panes of a window that ends: what it sees is in the script then, and not
	// in the order of bundles.
	scripted := j.clock.virtual() && strategy.Fn().Kind != window.Global
	ed.triggered = !strategy.DefaultTrigger() && !scripted
	if ed.sideWindows, err = j.windowCoder(spec.Collection.Windowing); err != nil {
		return err
	}
	if spec.Multimap {
		ed.key, err = j.coders.coder(spec.Collection.Coder)
	}
	return err
}

// spec is the edge as the engine sees it.
func (e *edge) spec(from int) engine.EdgeSpec {
	s := engine.EdgeSpec{From: from, Output: e.plan.Output, To: e.to.index, Input: e.plan.Input}
	switch e.plan.Kind {
	case translate.SideInput:
		s.Kind = engine.Side
	case translate.Feedback:
		s.Kind = engine.Feedback
	}
	s.Keep = e.plan.Kind == translate.MainInput && e.plan.Routing == translate.Keep
	return s
}

// strategyOf is for stages that need the windowing of an input.
func (j *job) strategyOf(c translate.Collection) (*window.Strategy, error) {
	return j.strategy(c.Windowing)
}
