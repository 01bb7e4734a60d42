package fnapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/fnapi"
	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
)

// cells is a StateHandler over a map, which pages by the byte.
type cells struct {
	mu   sync.Mutex
	data map[string][]byte
	log  []string
	fail error
}

func (c *cells) name(k fnapi.StateKey) string { return fmt.Sprintf("%s/%s", k.Name, k.Key) }

func (c *cells) Get(k fnapi.StateKey, token []byte) (data, next []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, "get")
	all := c.data[c.name(k)]
	from := len(token)
	if from+1 < len(all) {
		next = bytes.Repeat([]byte("."), from+1)
	}
	return all[min(from, len(all)):min(from+1, len(all))], next, c.fail
}

func (c *cells) Append(k fnapi.StateKey, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data == nil {
		c.data = make(map[string][]byte)
	}
	c.log = append(c.log, "append "+string(data))
	c.data[c.name(k)] = append(c.data[c.name(k)], data...)
	return c.fail
}

func (c *cells) Clear(k fnapi.StateKey) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, "clear")
	delete(c.data, c.name(k))
	return c.fail
}

func bag(name, key string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "do", UserStateId: name, Key: []byte(key),
	}}}
}

func readAll(b *fnapitest.Bundle, key *fnpb.StateKey) (string, error) {
	var all []byte
	var token []byte
	for {
		data, next, err := b.Get(key, token)
		if err != nil {
			return "", err
		}
		if all = append(all, data...); next == nil {
			return string(all), nil
		}
		token = next
	}
}

func TestStateIsReadByPagesAndSeesOwnWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	var before, after string
	w := r.worker(func(b *fnapitest.Bundle) (err error) {
		b.ReadAll()
		if before, err = readAll(b, bag("s", "k")); err != nil {
			return err
		}
		if err := b.Append(bag("s", "k"), []byte("def")); err != nil {
			return err
		}
		if after, err = readAll(b, bag("s", "k")); err != nil {
			return err
		}
		return b.Clear(bag("s", "k"))
	})
	state := &cells{data: map[string][]byte{"s/k": []byte("abc")}}
	b := bundle(stage(nil), &output{})
	b.State = state
	finishWell(t, w.Start(b))
	if before != "abc" || after != "abcdef" {
		t.Errorf("read %q, then %q", before, after)
	}
	if _, ok := state.data["s/k"]; ok {
		t.Error("the state was not cleared")
	}
}

func TestStateRequestsOfABundleKeepTheirOrder(t *testing.T) {
	t.Parallel()
	const n = 3000 // more than may wait at once
	r := newRig(t, fnapi.Config{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		var last <-chan *fnpb.StateResponse
		for i := range n {
			c, err := b.Ask(&fnpb.StateRequest{StateKey: bag("s", "k"), Request: &fnpb.StateRequest_Append{
				Append: &fnpb.StateAppendRequest{Data: fmt.Append(nil, i)},
			}})
			if err != nil {
				return err
			}
			last = c
		}
		<-last
		return nil
	})
	state := &cells{}
	b := bundle(stage(nil), &output{})
	b.State = state
	finishWell(t, w.Start(b))
	for i, got := range state.log {
		if want := fmt.Sprintf("append %d", i); got != want {
			t.Fatalf("request %d was %q, want %q", i, got, want)
		}
	}
	if len(state.log) != n {
		t.Errorf("%d requests", len(state.log))
	}
}

// slow is state that answers when it is told to.
type slow struct {
	cells
	asked, answer chan struct{}
}

func (s *slow) Get(k fnapi.StateKey, token []byte) ([]byte, []byte, error) {
	close(s.asked)
	<-s.answer
	return nil, nil, nil
}

func TestABundleThatWaitsForStateHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		_, _, err := b.Get(bag("s", "k"), nil)
		return err
	})
	d := stage(nil)
	s := &slow{asked: make(chan struct{}), answer: make(chan struct{})}
	first, second := bundle(d, &output{}), bundle(d, &output{})
	first.State, second.State = s, &cells{}
	waiting := w.Start(first)
	await(t, s.asked, "state request")
	finishWell(t, w.Start(second))
	close(s.answer)
	finishWell(t, waiting)
}

func TestAStateErrorIsTheBundlesError(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		if _, _, err := b.Get(bag("s", "k"), nil); err != nil {
			return fmt.Errorf("RuntimeError: %w", err)
		}
		return nil
	})
	broken := &beam.Error{Code: beam.Unavailable, What: "the store is away"}
	b := bundle(stage(nil), &output{})
	b.State = &cells{fail: broken}
	_, err := finish(t, w.Start(b))
	wantCode(t, err, beam.Unavailable, "the store is away", "RuntimeError")
	if !errors.Is(err, broken) {
		t.Error("the state's error is not the cause")
	}
}

// TestAWriteThatFailsFailsTheBundle though the harness does not look at the
// answer, as Beam's do not.
func TestAWriteThatFailsFailsTheBundle(t *testing.T) {
	t.Parallel()
	for what, write := range map[string]func(b *fnapitest.Bundle) error{
		"append": func(b *fnapitest.Bundle) error { return b.Append(bag("s", "k"), []byte("x")) },
		"clear":  func(b *fnapitest.Bundle) error { return b.Clear(bag("s", "k")) },
	} {
		w := newRig(t, fnapi.Config{}).worker(func(b *fnapitest.Bundle) error {
			b.ReadAll()
			if write(b) == nil {
				return errors.New("it was answered well")
			}
			return nil
		})
		b := bundle(stage(nil), &output{})
		broken := &beam.Error{Code: beam.Unavailable, What: "the store is away"}
		b.State = &cells{fail: broken}
		if _, err := finish(t, w.Start(b)); !errors.Is(err, broken) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// reluctant is state that writes when it is told to.
type reluctant struct {
	cells
	write chan struct{}
}

func (s *reluctant) Append(k fnapi.StateKey, data []byte) error {
	<-s.write
	return s.cells.Append(k, data)
}

// TestReceivedWritesAreOfTheBundle though the harness responds before it has the
// answers, as none of Beam's does.
func TestReceivedWritesAreOfTheBundle(t *testing.T) {
	t.Parallel()
	received := make(chan struct{})
	w := newRig(t, fnapi.Config{}).worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		ask := func(bundle, data string) <-chan *fnpb.StateResponse {
			answer, err := b.Ask(&fnpb.StateRequest{InstructionId: bundle, StateKey: bag("s", "k"),
				Request: &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: []byte(data)}}})
			if err != nil {
				t.Error(err)
			}
			return answer
		}
		ask("", "a")
		ask("", "b")
		<-ask("another", "c") // refused, at once, after the others were received
		close(received)
		return nil
	})
	s := &reluctant{write: make(chan struct{})}
	b := bundle(stage(nil), &output{})
	b.State = s
	running := w.Start(b)
	<-received
	select {
	case <-running.Done():
		t.Error("the bundle is over before its writes")
	case <-time.After(100 * time.Millisecond): // the response comes
	}
	close(s.write)
	finishWell(t, running)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := fmt.Sprint(s.log); got != "[append a append b]" {
		t.Error(got)
	}
}

func TestStateRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	get := &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}
	for name, c := range map[string]struct {
		req  *fnpb.StateRequest
		want string
	}{
		"unknown bundle": {&fnpb.StateRequest{InstructionId: "nobody", StateKey: bag("s", "k"), Request: get}, "nobody"},
		"no key":         {&fnpb.StateRequest{Request: get}, "key of an unknown kind"},
		"no request":     {&fnpb.StateRequest{StateKey: bag("s", "k")}, "neither get"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, fnapi.Config{})
			var answer string
			w := r.worker(func(b *fnapitest.Bundle) error {
				b.ReadAll()
				got, err := b.Ask(c.req)
				if err != nil {
					return err
				}
				answer = (<-got).GetError()
				return nil
			})
			b := bundle(stage(nil), &output{})
			b.State = &cells{}
			finishWell(t, w.Start(b))
			if !strings.Contains(answer, c.want) {
				t.Errorf("answer %q, want one with %q", answer, c.want)
			}
		})
	}
}

func TestStageWithoutStateRefusesRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		return b.Append(bag("s", "k"), nil)
	})
	_, err := finish(t, w.Start(bundle(stage(nil), &output{})))
	wantCode(t, err, beam.Internal, "no state")
}

func TestBrokenStateStreamIsTheEndOfTheWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	w := r.worker(func(b *fnapitest.Bundle) error {
		b.ReadAll()
		if err := b.Append(bag("s", "k"), nil); err != nil {
			return err
		}
		b.Harness.BreakState()
		return fnapitest.Hang(b)
	})
	b := bundle(stage(nil), &output{})
	b.State = &cells{}
	_, err := finish(t, w.Start(b))
	wantCode(t, err, beam.Unavailable, "state stream")
	r.up()
}
