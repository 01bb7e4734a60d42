package runner

import (
	"fmt"
	"sync/atomic"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
)

// TestABundleIsSplitAgain: a second split gives back what the first has left,
// and no more.
func TestABundleIsSplitAgain(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(200)
	r.do["make"] = create(elements...)
	var chosen atomic.Bool
	r.do["work"] = func(c *call) error {
		var all [][]byte
		if err := c.each(func(e *item) error { all = append(all, e.Raw); return nil }); err != nil {
			return err
		}
		if len(all) < 8 || chosen.Swap(true) {
			return c.out(all...)
		}
		keep := len(all)
		twice := make(chan struct{})
		c.OnSplit(func(*fnpb.ProcessBundleSplitRequest) *fnpb.ProcessBundleSplitResponse {
			if keep /= 2; keep <= len(all)/4 {
				c.OnSplit(nil)
				close(twice)
			}
			return &fnpb.ProcessBundleSplitResponse{ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{
				TransformId: c.Sources[0], LastPrimaryElement: int64(keep - 1), FirstResidualElement: int64(keep)}}}
		})
		select {
		case <-twice:
		case <-c.Harness.Done():
			return fmt.Errorf("dead")
		}
		return c.out(all[:keep]...)
	}
	out := r.sink("out")
	r.start(simple()).mustEnd()
	out.want(want...)
	if !chosen.Load() {
		t.Error("nothing was split")
	}
}
