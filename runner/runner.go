// Package runner runs plans: it drives the engine with events from the world
// and carries out what the engine decides.
//
//	jobservice ──Run──▶ job ──Step──▶ engine
//	                    ▲  │ commits, bundles, entries
//	            reports │  ▼
//	                  executors: harness, group, source, sink, ...
//
// One goroutine, the job's loop, owns the engine and applies the commits.
// Executors run bundles in goroutines of their own and hand their results over
// as reports; what a bundle changed waits with the loop, under the bundle's id,
// until the engine commits it (I1, I6). Every goroutine of a job ends with the
// job's context, and Run returns after the last of them.
package runner

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"fresnel/connectors"
	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/cores"
	"fresnel/jobservice"
	"fresnel/runner/store"
	"fresnel/translate"
)

// Config is what a Runner needs.
type Config struct {
	// Harnesses is the server that SDK harnesses connect to.
	Harnesses *fnapi.Server
	// Connectors run native sources and sinks.
	Connectors []connectors.Connector
	// Log is the server's log.
	Log *slog.Logger
	// KeyShards is the number of shards of keyed stages, Lanes that of stages
	// without state; 0 means 8 and 4.
	KeyShards, Lanes int
	// MaxPendingBytes is what may wait between stages before sources rest;
	// 0 means 64 MiB.
	MaxPendingBytes int64
	// MemoryLimit is what the process should keep to, in bytes; 0 is no limit. Blocks
	// and groupings of jobs in memory and side inputs get a part of it, and live in
	// temporary files beyond that, in SpillDir (the system's directory for such files
	// if empty).
	MemoryLimit int64
	SpillDir    string
	// StuckAfter is how long a bundle may make no progress before the user is told;
	// 0 means 5 minutes, less than 0 never. After StuckLimit its worker is given
	// up, unless that is 0; the pipeline can set its own.
	StuckAfter, StuckLimit time.Duration
	// Durability is the server's default for where the state of a job lives:
	// memory, disk, or auto (also if empty), which leaves it to the job.
	Durability string
}

// Runner implements jobservice.Runner.
type Runner struct {
	cfg Config
	// fs is where durable jobs live, the machine's file system if it is nil.
	fs store.FS
	// budget is what the data of all jobs may take of memory, nil without a limit.
	budget *store.Budget
	// readOnly: jobs are only looked at.
	readOnly bool
	// carrying is held by who has the state of a stopped job open.
	carrying *sync.Mutex
	// running are the jobs that run, guarded by mu.
	mu      *sync.Mutex
	running map[beam.JobID]*job
	// maxBundle bounds the elements of a bundle, where a block does not have more.
	maxBundle int
	// output is what a bundle should put out at most, usualOutput if zero.
	output int
	// splitAfter is how long a bundle must have run to be split, 0 for the engine's
	// default.
	splitAfter time.Duration
	connectors map[string]connectors.Connector
}

// usualOutput is what a bundle should put out at most.
const usualOutput = 32 << 20

// maxOutput is that, or less where memory is short.
func (r *Runner) maxOutput() int {
	most := orDefault(r.output, usualOutput)
	if limit := r.cfg.MemoryLimit; limit > 0 {
		most = int(min(int64(most), max(limit/8, 1)))
	}
	return most
}

// maxBundle is what a bundle has at most, for what a failure costs.
const maxBundle = 500_000

// New returns a runner.
func New(cfg Config) *Runner {
	cfg.KeyShards = orDefault(cfg.KeyShards, 8)
	cfg.Lanes = orDefault(cfg.Lanes, 4)
	cfg.StuckAfter = orDefault(cfg.StuckAfter, stuckAfter)
	cfg.MaxPendingBytes = orDefault(cfg.MaxPendingBytes, 64<<20)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Runner{cfg: cfg, maxBundle: maxBundle, budget: newBudget(cfg.MemoryLimit), connectors: map[string]connectors.Connector{}, carrying: &sync.Mutex{}, mu: &sync.Mutex{}, running: map[beam.JobID]*job{}}
	for _, c := range cfg.Connectors {
		for _, urn := range c.URNs() {
			r.connectors[urn] = c
		}
	}
	return r
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Check translates the pipeline and throws the plan away. The workers that the
// client of the job serves are started: it stages artifacts and calls Run next.
func (r *Runner) Check(s *jobservice.Submission) (err error) {
	defer guard(&err)
	plan, err := r.plan(s)
	if err == nil && s.From != nil {
		err = r.checkCarry(s, plan)
	}
	if err == nil {
		r.expect(s, plan)
	}
	return err
}

// checkCarry tells whether the plan can begin with what another job has left.
func (r *Runner) checkCarry(s *jobservice.Submission, plan *translate.Plan) error {
	if err := carries(plan); err != nil {
		return err
	}
	c, err := r.openCarry(context.Background(), s, plan)
	if err == nil {
		c.close()
	}
	return err
}

// expect has the workers started that the client of the job itself serves.
func (r *Runner) expect(s *jobservice.Submission, plan *translate.Plan) {
	if jobservice.ParseOptions(s.Options).EnvironmentType() != "LOOPBACK" {
		return
	}
	options, err := protojson.Marshal(s.Options)
	if err != nil {
		return // Run will tell
	}
	seen := map[beam.EnvironmentID]bool{}
	for _, st := range plan.Stages {
		env, ok := environmentOf(st)
		if !ok || seen[env] {
			continue
		}
		seen[env] = true
		r.cfg.Harnesses.Expect(environment(s, plan, env, options))
	}
}

// Durable implements jobservice.Runner.
func (r *Runner) Durable(s *jobservice.Submission) bool {
	opts := jobservice.ParseOptions(s.Options)
	if s.From == nil && r.wantsMemory(opts) {
		return false // whatever its plan is
	}
	plan, err := r.plan(s)
	if err != nil {
		return false // Run will tell
	}
	return s.From != nil || r.wantsDisk(opts, plan)
}

// Run runs the job to its end. A panic ends the job, not the server (I7).
func (r *Runner) Run(ctx context.Context, s *jobservice.Submission, drain <-chan struct{}, rep jobservice.Reporter) (err error) {
	defer guard(&err)
	plan, err := r.plan(s)
	if err != nil {
		return err
	}
	if r.cfg.Log.Enabled(ctx, slog.LevelDebug) { // it is long
		r.cfg.Log.Debug("plan", "job", s.ID, "plan", plan.String())
	}
	j, err := r.newJob(ctx, s, plan, rep)
	if err != nil {
		return err
	}
	defer r.collect()
	defer j.close()
	defer r.enlist(j)()
	return j.run(drain)
}

// Hides implements jobservice.Hider: the configuration of a connector has its
// passwords.
func (r *Runner) Hides(urn string) bool { return r.connectors[urn] != nil }

func (r *Runner) plan(s *jobservice.Submission) (*translate.Plan, error) {
	opts := jobservice.ParseOptions(s.Options)
	return translate.Translate(s.Pipeline, translate.Options{
		NativeSources: func(urn string) bool { c := r.connectors[urn]; return c != nil && c.Reads(urn) },
		NativeSinks:   func(urn string) bool { c := r.connectors[urn]; return c != nil && !c.Reads(urn) },
		Environments:  fnapi.CanStart,
		Streaming:     opts.Streaming(),
	})
}

// nativeSlots is how many bundles the runner itself works on at once.
func nativeSlots() int { return max(2, cores.All()) }

// level gives a harness's log severity its place among job messages.
func level(severity int) jobservice.Level {
	switch {
	case severity >= 6: // ERROR, CRITICAL
		return jobservice.Error
	case severity == 5: // WARN
		return jobservice.Warning
	case severity >= 3: // INFO, NOTICE
		return jobservice.Basic
	case severity == 2: // DEBUG
		return jobservice.Detailed
	}
	return jobservice.Debug
}

// internal wraps an error that is nobody's fault but ours.
func internal(where string, err error) error {
	return &beam.Error{Code: beam.Internal, Where: where, Cause: err}
}
