package runner

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/engine"
	"fresnel/translate"
)

// pool connects a pool of harnesses with the engine's numbering of workers.
type pool struct {
	job   *job
	index int
	env   beam.EnvironmentID
	pool  fnapi.Pool

	mu      sync.Mutex
	workers map[int]fnapi.Worker
	numbers map[string]int
	next    int
	// up is closed, and made anew, when a worker comes.
	up chan struct{}
}

// startPools asks for the workers of every environment that the plan uses.
func (j *job) startPools() error {
	options, err := protojson.Marshal(j.sub.Options)
	if err != nil {
		return &beam.Error{Code: beam.InvalidPipeline, What: "the pipeline options cannot be written as JSON", Cause: err}
	}
	for _, p := range j.pools {
		env := environment(j.sub, j.plan, p.env, options)
		env.Parallelism, env.ComesBack = j.parallelism(), j.opts.EnvironmentType() == "EXTERNAL"
		pool, err := j.runner.cfg.Harnesses.Pool(j.life, env, p)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.pool = pool
		p.mu.Unlock()
	}
	if len(j.pools) == 0 {
		j.report.Running()
	}
	return nil
}

// environment is what a worker is told of a job and of its environment.
func environment(s *jobservice.Submission, plan *translate.Plan, id beam.EnvironmentID, options []byte) fnapi.Environment {
	return fnapi.Environment{ID: id, Env: plan.Environments[id], Options: options, Job: s.ID, RetrievalEndpoint: s.RetrievalEndpoint}
}

// parallelism is the number of workers that the user wants for each environment,
// 0 for the pool's own choice. Beam's clients send sdk_worker_parallelism=1 when
// the user said nothing; who wants just one says --experiments=sdk_workers=1.
func (j *job) parallelism() int {
	if v, ok := j.opts.Experiment("sdk_workers"); ok {
		if n, err := strconv.Atoi(v); err == nil && n > 0 {
			return n
		}
	}
	if n := j.opts.WorkerParallelism(); n > 1 {
		return n
	}
	return 0
}

// WorkerUp gives a worker its number.
func (p *pool) WorkerUp(w fnapi.Worker) {
	p.mu.Lock()
	n := p.next
	p.next++
	p.workers[n], p.numbers[w.ID()] = w, n
	close(p.up)
	p.up = make(chan struct{})
	p.mu.Unlock()
	p.job.metrics.join(w)
	w.Describe(p.stages())
	p.job.report.Running()
	p.job.send(report{event: engine.Event{WorkerUp: &engine.WorkerUp{Pool: p.index, Worker: n}}})
}

// stages are the pool's, in the order of the plan.
func (p *pool) stages() []*fnapi.Descriptor {
	var all []*fnapi.Descriptor
	for _, st := range p.job.stages {
		if x, ok := st.executor.(*harnessExecutor); ok && x.pool == p {
			all = append(all, x.descriptor)
		}
	}
	return all
}

// WorkerLeaving gives a worker no more bundles.
func (p *pool) WorkerLeaving(w fnapi.Worker) {
	p.mu.Lock()
	n, ok := p.numbers[w.ID()]
	p.mu.Unlock()
	if ok {
		p.job.send(report{event: engine.Event{WorkerLeaving: &engine.WorkerLeaving{Pool: p.index, Worker: n}}})
	}
}

// WorkerLost takes a worker away; the engine tries its bundles again.
func (p *pool) WorkerLost(w fnapi.Worker, err error) {
	p.mu.Lock()
	n, ok := p.numbers[w.ID()]
	delete(p.workers, n)
	delete(p.numbers, w.ID())
	p.mu.Unlock()
	p.job.metrics.forget(p.job.ctx, w) // it is gone, so nothing is waited for
	if ok {
		p.job.send(report{event: engine.Event{WorkerLost: &engine.WorkerLost{Pool: p.index, Worker: n, Err: err}}})
	}
}

// PoolFailed ends the job.
func (p *pool) PoolFailed(err error) {
	p.job.send(report{event: engine.Event{Fail: err}})
}

// Log passes a log line on to the client.
func (p *pool) Log(e fnapi.LogEntry) { p.job.logs.add(e) }

func (p *pool) worker(n int) fnapi.Worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.workers[n]
}

// any waits for a worker and returns one.
func (p *pool) any(ctx context.Context) (fnapi.Worker, error) {
	for {
		p.mu.Lock()
		up := p.up
		for _, w := range p.workers {
			p.mu.Unlock()
			return w, nil
		}
		p.mu.Unlock()
		select {
		case <-up:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// settle waits for the last log lines of the workers.
func (p *pool) settle() {
	if pool := p.started(); pool != nil {
		pool.Settle()
	}
}

func (p *pool) close() {
	if pool := p.started(); pool != nil {
		pool.Close()
	}
}

// started is the pool of harnesses, nil if it was not started.
func (p *pool) started() fnapi.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pool
}

// measure has the engine told what CPU time the workers of a pool have taken.
func (j *job) measure(index int) {
	p := j.pools[slices.IndexFunc(j.pools, func(p *pool) bool { return p.index == index })]
	j.spawn(func() { j.send(report{event: engine.Event{WorkerLoads: p.loads()}}) })
}

func (p *pool) loads() *engine.WorkerLoads {
	p.mu.Lock()
	workers := maps.Clone(p.workers)
	p.mu.Unlock()
	all := &engine.WorkerLoads{Pool: p.index}
	for n, w := range workers {
		t, ok := w.CPU()
		if !ok {
			t = -1
		}
		all.Loads = append(all.Loads, engine.WorkerLoad{Worker: n, CPU: t})
	}
	return all
}
