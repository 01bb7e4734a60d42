package runner

import (
	"errors"
	"sync/atomic"
	"testing"

	"fresnel/internal/coder"
)

// TestConsumersStartOnWhatIsComplete: a bundle that has put out all, and has not
// responded, does not keep its consumers waiting.
func TestConsumersStartOnWhatIsComplete(t *testing.T) {
	r := newRig(t)
	elements, want := numbers(20)
	working, responding := make(chan struct{}), atomic.Bool{}
	r.do["make"] = func(c *call) error {
		c.ReadAll()
		if err := errors.Join(c.out(elements...), c.CloseOutputs()); err != nil {
			return err
		}
		await(t, working, "bundle of a consumer")
		responding.Store(true)
		return nil
	}
	r.do["work"] = func(c *call) error {
		if !responding.Load() {
			close(working)
		}
		return same(c)
	}
	out := r.sink("out")
	r.start(simple()).mustEnd()
	out.want(want...)
}

// TestWhatAFailedBundleHasPutOutIsForgotten (I6): consumers that have started on it,
// and have ended, leave nothing, neither output nor state.
func TestWhatAFailedBundleHasPutOutIsForgotten(t *testing.T) {
	r := newRig(t)
	r.options["bundle_retries"] = 2
	r.options["streaming"] = true // in others what a key gets is gathered first
	var tries atomic.Int32
	ended := make(chan struct{}, 1)
	r.do["make"] = func(c *call) error {
		c.ReadAll()
		n := tries.Add(1)
		if n > 1 {
			return c.out(at(0, "k", "right"))
		}
		if err := errors.Join(c.out(at(0, "k", "wrong")), c.CloseOutputs()); err != nil {
			return err
		}
		await(t, ended, "end of a consumer")
		return errors.New("in the end it fails")
	}
	r.do["work"] = func(c *call) error {
		defer func() { ended <- struct{}{} }()
		return c.events(coder.GlobalWindow, func(e *item) error {
			all, err := c.bag(str(e.key), nil)
			if err != nil {
				return err
			}
			if len(all) > 0 {
				t.Errorf("%s finds %v in its state", e.value, all)
			}
			return errors.Join(c.Append(bagKey(str(e.key), nil), str(e.value)), c.out(e.Raw))
		}, nil)
	}
	out := r.sink("out")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		pardo("work", stateful("timer"), "in=a", "out=b:").write("write", "out", "b")
	r.start(p).mustEnd()
	out.want("k=right")
	if n := tries.Load(); n != 2 {
		t.Errorf("tried %d times", n)
	}
}
