package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/translate"
)

// driver is a jobservice.Runner that measures.
type driver struct {
	harnesses *fnapi.Server
	bundle    int // elements
	own       func(seconds float64)
}

// Check refuses what cannot be measured.
func (d *driver) Check(s *jobservice.Submission) error {
	plan, err := translatePlan(s)
	if err != nil {
		return err
	}
	for _, st := range plan.Stages {
		if err := measurable(st); err != nil {
			return err
		}
	}
	return nil
}

func translatePlan(s *jobservice.Submission) (*translate.Plan, error) {
	none := func(string) bool { return false }
	return translate.Translate(s.Pipeline, translate.Options{NativeSources: none, NativeSinks: none})
}

// measurable refuses stages that wait for time to pass, or ask the harness
// between bundles.
func measurable(st *translate.Stage) error {
	what := ""
	switch {
	case st.Kind == translate.Source, st.Kind == translate.Sink, st.Kind == translate.TestStream:
		what = "connectors and test streams"
	case st.Kind == translate.Group && st.Group.MergeWindows != nil:
		what = "merging window functions of the SDK"
	case st.Kind != translate.Harness:
	case st.Harness.UnboundedSDF, st.Harness.TimeSorted:
		what = "unbounded reads and sorted input"
	default:
		for _, side := range st.Harness.SideInputs {
			if !side.StandardMapping {
				what = "window mappings of the SDK"
			}
		}
	}
	if what == "" {
		return nil
	}
	return &beam.Error{Code: beam.Unsupported, Where: st.Name, What: what + " have no limit to measure"}
}

// Durable tells that nothing survives.
func (d *driver) Durable(*jobservice.Submission) bool { return false }

// Run runs the stages one after another.
func (d *driver) Run(ctx context.Context, s *jobservice.Submission, _ <-chan struct{}, rep jobservice.Reporter) error {
	plan, err := translatePlan(s)
	if err != nil {
		return err
	}
	workers, end, err := d.workers(ctx, s, plan)
	defer end()
	if err != nil {
		return err
	}
	rep.Running()
	m, err := newMeasurement(string(s.ID), plan, d.bundle, workers)
	if err != nil {
		return err
	}
	defer m.close()
	began := time.Now()
	for _, st := range m.stages {
		if err := m.run(ctx, st); err != nil {
			return fmt.Errorf("%s: %w", st.plan.Name, err)
		}
	}
	d.own((time.Since(began) - m.harness).Seconds())
	return nil
}

// workers are one of each environment. End gives them back.
func (d *driver) workers(ctx context.Context, s *jobservice.Submission, plan *translate.Plan) (workers map[beam.EnvironmentID]fnapi.Worker, end func(), err error) {
	var pools []fnapi.Pool
	end = func() {
		for _, p := range pools {
			p.Close()
		}
	}
	options, err := protojson.Marshal(s.Options)
	if err != nil {
		return nil, end, err
	}
	workers = map[beam.EnvironmentID]fnapi.Worker{}
	for id, env := range plan.Environments {
		first := &firstWorker{up: make(chan fnapi.Worker, 1), failed: make(chan error, 1)}
		pool, err := d.harnesses.Pool(ctx, fnapi.Environment{ID: id, Env: env, Options: options, Job: s.ID,
			RetrievalEndpoint: s.RetrievalEndpoint, Parallelism: 1}, first)
		if err != nil {
			return nil, end, err
		}
		pools = append(pools, pool)
		select {
		case workers[id] = <-first.up:
		case err := <-first.failed:
			return nil, end, err
		case <-ctx.Done():
			return nil, end, ctx.Err()
		}
	}
	return workers, end, nil
}

// firstWorker waits for a pool's first worker. Its bundles tell when it is lost.
type firstWorker struct {
	up     chan fnapi.Worker
	failed chan error
}

// WorkerUp takes the worker, if it is the first.
func (f *firstWorker) WorkerUp(w fnapi.Worker) {
	select {
	case f.up <- w:
	default:
	}
}

// WorkerLeaving is of no interest.
func (f *firstWorker) WorkerLeaving(fnapi.Worker) {}

// WorkerLost is of no interest: its bundles fail.
func (f *firstWorker) WorkerLost(fnapi.Worker, error) {}

// PoolFailed ends the job.
func (f *firstWorker) PoolFailed(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

// Log drops what the worker logs.
func (f *firstWorker) Log(fnapi.LogEntry) {}
