package runner

import (
	"errors"
	"fmt"

	"fresnel/internal/beam"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/translate"
)

// stage is a stage of the plan at run time.
type stage struct {
	index    int
	plan     *translate.Stage
	spec     engine.StageSpec
	executor executor
	// outputs has the edges of each output.
	outputs [][]*edge
	// sides are the stage's side inputs.
	sides []*state.SideInput
}

// executor runs the bundles of one stage.
type executor interface {
	// start begins a bundle, and does not wait. The end is told by job.done or
	// job.failed, unless the job's context ends.
	start(b engine.Bundle)
	// close releases what the executor holds, after all its bundles have ended.
	close()
}

// where is the place of an error of a stage.
func (s *stage) where() string { return s.plan.Name }

// badData is the error for bytes that do not decode at a stage.
func (s *stage) badData(err error) error {
	return &beam.Error{Code: beam.CodeOf(err), Where: s.where(), Cause: err}
}

// badOutput is the error for bytes of a harness that are not what the coder
// says.
func (s *stage) badOutput(err error) error {
	return &beam.Error{Code: beam.BadData, Where: s.where(), What: "the harness sent output that does not decode as its coder says", Cause: err}
}

// unfinished is the error of the end of a stage's output: that of user code that
// was asked there, or of the bytes.
func (s *stage) unfinished(err error) error {
	if be, ok := errors.AsType[*beam.Error](err); ok && (be.Code == beam.UserCode || be.Where != "") {
		return err
	}
	return s.badOutput(err)
}

// badHarness is the error for a harness that breaks the rules.
func badHarness(s *stage, format string, args ...any) error {
	return &beam.Error{Code: beam.BadData, Where: s.where(), What: fmt.Sprintf(format, args...)}
}
