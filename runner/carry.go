package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/translate"
)

// A job may begin with what was kept of another, whose pipeline it is with
// changes (decision 042). What is kept belongs to steps by their full names: state
// cells, timers, groupings, side inputs, positions, progress of sinks. What waits
// between steps belongs to the collection that it is of.
//
//	stopped job ──match──▶ refused, with each difference
//	                 └───▶ passage: what goes where ──▶ the new job's store
//
// The old job's state is opened as Inspect opens it; nothing of it is changed.

// Difference is what a changed pipeline makes of a step's state.
type Difference struct {
	// Step is the user's full name of the step.
	Step string
	// What has changed, as a clause.
	What string
	// Loses: what is kept would be lost, or misread.
	Loses bool
}

func (d Difference) String() string { return d.Step + ": " + d.What }

// passage is what goes where: from numbers of the old plan to those of the new.
type passage struct {
	// stages are those whose shards' times, entries and watermarks go on.
	stages map[int]int
	// cells are the states and timers that go on, with the transform's id in the new
	// plan; states are the stages that they go to.
	cells  map[stateCell]beam.TransformID
	states map[[2]int]bool
	sides  map[sideKey]sideKey
	// blocks are where what waits for an input goes on.
	blocks map[inputKey][]inputKey
	// differences are all that was found.
	differences []Difference
}

// stateCell is a state, or a family of timers, of the old plan.
type stateCell struct {
	transform beam.TransformID
	name      string
	timers    bool
}

// inputKey is a main input of a stage.
type inputKey struct{ stage, input int }

// carry is the job that another one begins with.
type carry struct {
	*passage
	old *job
	// ids are the blocks under their new numbers.
	ids map[engine.BlockID]engine.BlockID
	// done lets others open kept jobs.
	done func()
}

// openCarry opens what is kept of a job, and finds out what of it goes on in a
// plan. Differences that lose state, and that the user did not allow, are the
// error.
func (r *Runner) openCarry(ctx context.Context, s *jobservice.Submission, plan *translate.Plan) (*carry, error) {
	oldPlan, err := r.plan(s.From)
	if err != nil {
		return nil, err
	}
	r.carrying.Lock()
	old, err := r.looking().newJob(ctx, s.From, oldPlan, silent{})
	if err != nil {
		r.carrying.Unlock()
		return nil, err
	}
	c := &carry{old: old, ids: map[engine.BlockID]engine.BlockID{}, done: r.carrying.Unlock}
	p, err := match(old, plan, s.Pipeline.GetComponents().GetTransforms())
	if err == nil {
		err = p.refuse(s.From.ID, jobservice.ParseOptions(s.Options).List(allowOption))
	}
	if err != nil {
		c.close()
		return nil, err
	}
	c.passage = p
	return c, nil
}

func (c *carry) close() {
	c.old.close()
	c.done()
}

// allowOption names the steps whose state may be lost.
const allowOption = "allow_lost_state"

// allowed tells whether a step, or a composite that it is in, is named.
func allowed(step string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return step == n || strings.HasPrefix(step, n+"/") })
}

// refuse is the error for differences that would lose what the user did not allow
// to.
func (p *passage) refuse(from beam.JobID, names []string) error {
	var lines []string
	steps := map[string]bool{}
	for _, d := range p.differences {
		if d.Loses && !allowed(d.Step, names) {
			lines = append(lines, "\n  - "+d.String())
			steps[d.Step] = true
		}
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	return &beam.Error{Code: beam.Rejected, What: fmt.Sprintf("the pipeline cannot take over the state of job %s:%s", from, strings.Join(lines, "")),
		Cure: "give steps the names and coders that they had, or let go of what is kept of a step with --" + allowOption + "=STEP (several with commas)"}
}

// match finds out what of an old job goes on in a plan; all are the transforms of
// its pipeline.
func match(old *job, plan *translate.Plan, all map[string]transformProto) (*passage, error) {
	m := &matcher{old: old, plan: plan, was: old.plan, snap: old.engine.Snapshot(), recast: map[sideKey]bool{},
		passage: &passage{stages: map[int]int{}, cells: map[stateCell]beam.TransformID{}, states: map[[2]int]bool{},
			sides: map[sideKey]sideKey{}, blocks: map[inputKey][]inputKey{}}}
	m.index(all)
	for i, st := range old.stages {
		if err := m.stage(i, st); err != nil {
			return nil, err
		}
	}
	m.newSides()
	return m.passage, m.pending()
}

// describeSurvey is what is kept of a cell, in words.
func describeSurvey(s *state.Survey) string {
	if s.Timers {
		return fmt.Sprintf("the timer %q, set for %s", s.Name, count(s.Entries, "key"))
	}
	return fmt.Sprintf("the state %q, of %s", s.Name, count(s.Keys, "key"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
