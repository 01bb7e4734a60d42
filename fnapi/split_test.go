package fnapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

// accepted is the answer to a split after the first element.
func accepted() *fnpb.ProcessBundleSplitResponse {
	return &fnpb.ProcessBundleSplitResponse{
		PrimaryRoots: []*fnpb.BundleApplication{{TransformId: "do", InputId: "in", Element: []byte("primary")}},
		ResidualRoots: []*fnpb.DelayedBundleApplication{{
			RequestedTimeDelay: durationpb.New(1500 * time.Microsecond),
			Application: &fnpb.BundleApplication{
				TransformId: "do", InputId: "in", Element: []byte("residual"), IsBounded: pipepb.IsBounded_UNBOUNDED,
				OutputWatermarks: map[string]*timestamppb.Timestamp{"out": {Seconds: 5, Nanos: 1_999_999}},
			},
		}},
		ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{TransformId: "in", LastPrimaryElement: 0, FirstResidualElement: 2}},
	}
}

func TestSplitIsAskedForAndRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	ready, asked := make(chan struct{}), make(chan *fnpb.ProcessBundleSplitRequest, 1)
	w := r.worker(func(b *fnapitest.Bundle) error {
		got := make(chan struct{})
		b.OnSplit(func(req *fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
			asked <- req
			close(got)
			return accepted()
		})
		close(ready)
		<-got
		b.ReadAll()
		return nil
	})
	running := w.Start(bundle(stage(nil), &output{}, "abc"))
	await(t, ready, "bundle")
	s, err := running.Split(context.Background(), fnapi.SplitRequest{Source: "in", FractionOfRemaining: 0.5, EstimatedInput: 3, AllowedSplitPoints: []int64{1, 2}})
	if err != nil || s == nil {
		t.Fatalf("split %v, %v", s, err)
	}
	want := (<-asked).GetDesiredSplits()["in"]
	if want.GetFractionOfRemainder() != 0.5 || want.GetEstimatedInputElements() != 3 || len(want.GetAllowedSplitPoints()) != 2 {
		t.Errorf("asked for %v", want)
	}
	if s.LastPrimary != 0 || s.FirstResidual != 2 || len(s.Primaries) != 1 || string(s.Primaries[0].Element) != "primary" {
		t.Errorf("split %+v", s)
	}
	residual := s.Residuals[0]
	if string(residual.Element) != "residual" || residual.Delay != 1500*time.Microsecond || !residual.Unbounded || residual.Input != "in" {
		t.Errorf("residual %+v", residual)
	}
	if mark := residual.OutputWatermarks["out"]; mark != 5001 { // rounded down
		t.Errorf("watermark %d", mark)
	}
	if result := finishWell(t, running); len(result.LateSplits) != 0 {
		t.Errorf("late splits %v", result.LateSplits)
	}
}

// Java's harness does not say of which input: a bundle has one.
func TestSplitOfAnInputWithoutAName(t *testing.T) {
	t.Parallel()
	nameless := accepted()
	nameless.ChannelSplits[0].TransformId = ""
	s, running := splitWith(t, nameless)
	if s == nil || s.LastPrimary != 0 || s.FirstResidual != 2 || len(s.Residuals) != 1 {
		t.Errorf("split %+v", s)
	}
	finishWell(t, running)
}

// What a harness gives up must have a place, or it would be lost.
func TestSplitThatCannotBePlacedFailsTheBundle(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fnpb.ProcessBundleSplitResponse){
		"of another input": func(s *fnpb.ProcessBundleSplitResponse) { s.ChannelSplits[0].TransformId = "other" },
		"of several inputs": func(s *fnpb.ProcessBundleSplitResponse) {
			s.ChannelSplits = append(s.ChannelSplits, s.ChannelSplits[0])
		},
		"roots of no element": func(s *fnpb.ProcessBundleSplitResponse) { s.ChannelSplits = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := accepted()
			change(answer)
			if s, running := splitWith(t, answer); s != nil {
				t.Errorf("split %+v", s)
			} else {
				_, err := finish(t, running)
				wantCode(t, err, beam.BadData, "split")
			}
		})
	}
}

// splitWith splits a bundle of a harness that gives that answer.
func splitWith(t *testing.T, answer *fnpb.ProcessBundleSplitResponse) (*fnapi.Split, fnapi.Running) {
	t.Helper()
	r := newRig(t, fnapi.Config{})
	ready := make(chan struct{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		got := make(chan struct{})
		b.OnSplit(func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
			close(got)
			return answer
		})
		close(ready)
		<-got
		b.ReadAll()
		return nil
	})
	running := w.Start(bundle(stage(nil), &output{}, "abc"))
	await(t, ready, "bundle")
	s, _ := running.Split(context.Background(), fnapi.SplitRequest{Source: "in", FractionOfRemaining: 0.5})
	return s, running
}

func TestNothingToSplit(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	ready, release := make(chan struct{}), make(chan struct{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		close(ready)
		<-release
		b.ReadAll()
		return nil
	})
	running := w.Start(bundle(stage(nil), &output{}, "abc"))
	await(t, ready, "bundle")
	if s, err := running.Split(context.Background(), fnapi.SplitRequest{Source: "in"}); s != nil || err != nil {
		t.Errorf("split %v, %v", s, err)
	}
	close(release)
	finishWell(t, running)
	if s, err := running.Split(context.Background(), fnapi.SplitRequest{Source: "in"}); s != nil || err != nil {
		t.Errorf("split of a bundle that is over: %v, %v", s, err)
	}
}

// A harness may answer a split after it has answered the bundle: the residuals
// are out of the bundle all the same.
func TestBundleIsNotOverBeforeItsSplitsAreAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	asked, answer := make(chan struct{}), make(chan struct{})
	ready := make(chan struct{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.OnSplit(func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
			close(asked)
			<-answer
			return accepted()
		})
		close(ready)
		<-asked
		b.ReadAll()
		return nil // the response is sent while the split waits
	})
	running := w.Start(bundle(stage(nil), &output{}, "abc"))
	await(t, ready, "bundle")
	ctx, cancel := context.WithCancel(context.Background())
	split := make(chan error)
	go func() {
		_, err := running.Split(ctx, fnapi.SplitRequest{Source: "in"})
		split <- err
	}()
	await(t, asked, "split request")
	cancel()
	if err := await(t, split, "end of the split call"); !errors.Is(err, context.Canceled) {
		t.Errorf("split: %v", err)
	}
	select {
	case <-running.Done():
		t.Fatal("the bundle was over with a split unanswered")
	case <-time.After(50 * time.Millisecond):
	}
	close(answer)
	result := finishWell(t, running)
	if len(result.LateSplits) != 1 || result.LateSplits[0].FirstResidual != 2 {
		t.Errorf("late splits %v", result.LateSplits)
	}
}

func TestSplitThatIsNeverAnsweredFailsTheBundle(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{OutputPatience: 50 * time.Millisecond})
	ready, asked := make(chan struct{}), make(chan struct{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.OnSplit(func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
			close(asked)
			<-b.Harness.Done()
			return nil
		})
		close(ready)
		<-asked
		b.ReadAll()
		return nil
	})
	running := w.Start(bundle(stage(nil), &output{}, "abc"))
	await(t, ready, "bundle")
	go func() { _, _ = running.Split(context.Background(), fnapi.SplitRequest{Source: "in"}) }()
	_, err := finish(t, running)
	wantCode(t, err, beam.Unavailable, "split")
}

func TestLostWorkerEndsWaitingForSplitsAndProgress(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	ready, asked := make(chan struct{}), make(chan struct{}, 2)
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.OnSplit(func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
			asked <- struct{}{}
			<-b.Harness.Done()
			return nil
		})
		b.OnProgress(func() *fnpb.ProcessBundleProgressResponse {
			asked <- struct{}{}
			<-b.Harness.Done()
			return nil
		})
		close(ready)
		<-asked
		<-asked
		return fnapitest.Die(b)
	})
	running := w.Start(bundle(stage(nil), &output{}, "abc"))
	await(t, ready, "bundle")
	errs := make(chan error, 2)
	go func() {
		_, err := running.Split(context.Background(), fnapi.SplitRequest{Source: "in"})
		errs <- err
	}()
	go func() {
		_, err := running.Progress(context.Background())
		if err == nil {
			err = &beam.Error{Code: beam.Unavailable} // the bundle's end came first
		}
		errs <- err
	}()
	wantCode(t, await(t, errs, "answer"), beam.Unavailable)
	wantCode(t, await(t, errs, "answer"), beam.Unavailable)
	_, err := finish(t, running)
	wantCode(t, err, beam.Unavailable)
}
