package fnapi_test

import (
	"context"
	"errors"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

const readIndex = "beam:metric:data_channel:read_index:v1"

func TestProgressCountsWhatWasRead(t *testing.T) {
	t.Parallel()
	for name, resp := range map[string]*fnpb.ProcessBundleProgressResponse{
		"by full infos": {MonitoringInfos: []*pipepb.MonitoringInfo{{Urn: "other"}, {Urn: readIndex, Payload: []byte{41}}}},
		"by short ids":  {MonitoringData: map[string][]byte{"1": {41}, "2": {7}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, fnapi.Config{})
			ready, release := make(chan struct{}), make(chan struct{})
			w := r.worker(func(b *fnapitest.Bundle) error {
				b.OnProgress(func() *fnpb.ProcessBundleProgressResponse { return resp })
				close(ready)
				<-release
				b.ReadAll()
				return nil
			}, fnapitest.Infos(map[string]*pipepb.MonitoringInfo{"1": {Urn: readIndex}}))
			if _, err := w.MonitoringInfos(context.Background(), []string{"1"}); err != nil {
				t.Fatal(err)
			}
			running := w.Start(bundle(stage(nil), &output{}, "abc"))
			await(t, ready, "bundle")
			p, err := running.Progress(context.Background())
			if err != nil || p == nil || p.Consumed != 42 {
				t.Errorf("progress %+v, %v", p, err)
			}
			close(release)
			finishWell(t, running)
			if p, err := running.Progress(context.Background()); p != nil || err != nil {
				t.Errorf("progress of a bundle that is over: %+v, %v", p, err)
			}
		})
	}
}

func TestShortIDsAreAskedForOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	pool := fnapitest.StartPool(t, fnapitest.Echo, fnapitest.Infos(map[string]*pipepb.MonitoringInfo{"a": {Urn: "A"}, "b": {Urn: "B"}}))
	r.pool(fnapi.Environment{Env: pool.Environment()})
	w, h := r.up(), await(t, pool.Started(), "harness")
	for _, ids := range [][]string{{"a"}, {"a", "b"}, {"b", "a"}, nil} {
		infos, err := w.MonitoringInfos(context.Background(), ids)
		if err != nil || len(infos) != len(ids) {
			t.Errorf("infos %v, %v", infos, err)
		}
	}
	if h.Asked("a") != 1 || h.Asked("b") != 1 {
		t.Errorf("asked %d and %d times", h.Asked("a"), h.Asked("b"))
	}
	if infos, err := w.MonitoringInfos(context.Background(), []string{"a", "nobody"}); err != nil || len(infos) != 1 {
		t.Errorf("infos %v, %v", infos, err)
	}
}

func TestResultHasMetricsResidualsAndFinalization(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	var finalized string
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		b.Response.RequiresFinalization = true
		b.Response.MonitoringData = map[string][]byte{"a": {1}}
		b.Response.ResidualRoots = []*fnpb.DelayedBundleApplication{{Application: &fnpb.BundleApplication{Element: []byte("rest")}}, nil}
		return nil
	}, fnapitest.OnFinalize(func(bundle string) error {
		if finalized != "" {
			return errors.New("finalized twice")
		}
		finalized = bundle
		return nil
	}))
	b := bundle(stage(nil), &output{})
	result := finishWell(t, w.Start(b))
	if !result.RequiresFinalization || len(result.Monitoring) != 1 || len(result.Residuals) != 2 || string(result.Residuals[0].Element) != "rest" {
		t.Errorf("result %+v", result)
	}
	if err := w.Finalize(context.Background(), b.ID); err != nil || finalized != b.ID {
		t.Errorf("finalized %q: %v", finalized, err)
	}
	wantCode(t, w.Finalize(context.Background(), b.ID), beam.UserCode, "finalized twice")
}

func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	release := make(chan struct{})
	w := r.worker(fnapitest.Echo, fnapitest.OnFinalize(func(string) error {
		<-release
		return nil
	}))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Finalize(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
}
