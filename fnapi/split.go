package fnapi

import (
	"context"
	"fmt"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fresnel/internal/beam"
)

// A split that a harness has made cannot be undone: its residuals are out of
// the bundle, although the answer may overtake, or be overtaken by, the
// bundle's response. So a bundle is not over while a split is unanswered, and
// an answer whose asker has gone is kept for the result.

// Split asks the harness to give up a part of the bundle's input.
func (r *running) Split(ctx context.Context, s SplitRequest) (*Split, error) {
	if !r.beginSplit() {
		return nil, nil
	}
	a := &splitAnswer{got: make(chan struct{})}
	r.worker.call(splitRequest(r.bundle.ID, s), func(resp *fnpb.InstructionResponse, err error) {
		r.endSplit(a, s.Source, answered{resp, err})
	})
	select {
	case <-a.got:
		return a.split, a.err
	case <-ctx.Done():
		return r.leaveSplit(ctx, a)
	}
}

// splitAnswer is written under the bundle's mu until got is closed.
type splitAnswer struct {
	got   chan struct{}
	split *Split
	err   error
	left  bool // nobody waits
}

func (r *running) beginSplit() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.replied {
		return false
	}
	r.asking++
	return true
}

// endSplit takes the answer. An error that the harness answers with is no
// split: it does not know the bundle any more, or not yet.
func (r *running) endSplit(a *splitAnswer, source beam.TransformID, got answered) {
	r.update(func() {
		r.asking--
		switch resp := got.response.GetProcessBundleSplit(); {
		case got.err != nil:
			a.err = got.err
		case misplaced(resp, source):
			a.err = r.violation(fmt.Sprintf("the answer to a split is not about the bundle's input %q: %v", source, resp.GetChannelSplits()))
			r.set(a.err)
		default:
			a.split = acceptedSplit(resp)
		}
		if a.left && a.split != nil {
			r.late = append(r.late, a.split)
		}
	})
	close(a.got)
}

// leaveSplit gives up waiting.
func (r *running) leaveSplit(ctx context.Context, a *splitAnswer) (*Split, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.split != nil || a.err != nil {
		return a.split, a.err
	}
	a.left = true
	return nil, context.Cause(ctx)
}

func splitRequest(bundle string, s SplitRequest) *fnpb.InstructionRequest {
	return &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_ProcessBundleSplit{
		ProcessBundleSplit: &fnpb.ProcessBundleSplitRequest{
			InstructionId: bundle,
			DesiredSplits: map[string]*fnpb.ProcessBundleSplitRequest_DesiredSplit{
				string(s.Source): {
					FractionOfRemainder:    s.FractionOfRemaining,
					AllowedSplitPoints:     s.AllowedSplitPoints,
					EstimatedInputElements: s.EstimatedInput,
				},
			},
		},
	}}
}

// misplaced tells whether something was split, but not the bundle's one input:
// what the harness gave up would be lost. Java's names no transform.
func misplaced(resp *fnpb.ProcessBundleSplitResponse, source beam.TransformID) bool {
	splits := resp.GetChannelSplits()
	if len(splits) == 0 {
		return len(resp.GetPrimaryRoots())+len(resp.GetResidualRoots()) > 0
	}
	at := splits[0].GetTransformId()
	return len(splits) > 1 || at != "" && at != string(source)
}

// acceptedSplit is nil if nothing was split.
func acceptedSplit(resp *fnpb.ProcessBundleSplitResponse) *Split {
	splits := resp.GetChannelSplits()
	if len(splits) == 0 {
		return nil
	}
	return &Split{
		Primaries:     applications(resp.GetPrimaryRoots()),
		Residuals:     residuals(resp.GetResidualRoots()),
		LastPrimary:   splits[0].GetLastPrimaryElement(),
		FirstResidual: splits[0].GetFirstResidualElement(),
	}
}

func applications(protos []*fnpb.BundleApplication) []Application {
	if len(protos) == 0 {
		return nil
	}
	apps := make([]Application, len(protos))
	for i, p := range protos {
		apps[i] = application(p)
	}
	return apps
}

func application(p *fnpb.BundleApplication) Application {
	app := Application{
		Transform: beam.TransformID(p.GetTransformId()),
		Input:     p.GetInputId(),
		Element:   p.GetElement(),
		Unbounded: p.GetIsBounded() == pipepb.IsBounded_UNBOUNDED,
	}
	if marks := p.GetOutputWatermarks(); len(marks) > 0 {
		app.OutputWatermarks = make(map[string]beam.EventTime, len(marks))
		for output, mark := range marks {
			app.OutputWatermarks[output] = eventTime(mark)
		}
	}
	return app
}

// eventTime rounds down to a millisecond: a watermark must not promise more
// than it was given.
func eventTime(t *timestamppb.Timestamp) beam.EventTime {
	const maxSeconds = int64(beam.MaxEventTime) / 1000
	seconds := min(max(t.GetSeconds(), -maxSeconds-1), maxSeconds+1)
	millis := seconds*1000 + int64(t.GetNanos())/int64(time.Millisecond)
	return min(max(beam.EventTime(millis), beam.MinEventTime), beam.MaxEventTime)
}

func residuals(protos []*fnpb.DelayedBundleApplication) []Residual {
	if len(protos) == 0 {
		return nil
	}
	all := make([]Residual, len(protos))
	for i, p := range protos {
		all[i] = Residual{
			Application: application(p.GetApplication()),
			Delay:       max(0, p.GetRequestedTimeDelay().AsDuration()),
		}
	}
	return all
}
