package runner

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
	"fresnel/runner/store"
)

// A hot key has many times more values than there may be in memory, a lukewarm
// one few.
const (
	hotValues, hotSize = 600, 6_000
	hotLimit           = 1 << 19
)

var hotWant = []string{fmt.Sprintf("hot=%d", hotValues*hotSize), "warm=5"}

func restKeyOf(token []byte) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: token}}}
}

// hotRig is a rig whose SDK takes tokens, with "make" for the input of a group.
type hotRig struct {
	*rig
	// most is what was in memory while a harness read, pages how often it asked.
	most, pages atomic.Int64
	// before is called before the pages of a key are read.
	before func()
}

func newHotRig(t *testing.T) *hotRig {
	h := &hotRig{rig: newRig(t), before: func() {}}
	h.runner.budget = store.NewBudget(hotLimit)
	h.runner.cfg.SpillDir = t.TempDir()
	h.do["make"] = func(c *call) error {
		c.ReadAll()
		for i := range hotValues {
			if err := c.out(at(beam.EventTime(i), "hot", strings.Repeat("x", hotSize))); err != nil {
				return err
			}
		}
		return c.out(at(0, "warm", "xxxxx"))
	}
	return h
}

// takesTokens has the SDK of a pipeline take tokens.
func takesTokens(p pipe) pipe {
	for _, env := range p.Components.Environments {
		env.Capabilities = append(env.Capabilities, "beam:coder:state_backed_iterable:v1")
	}
	return p
}

// sum writes for each key how many bytes its values have, which it reads twice.
func (h *hotRig) sum(window *coder.Coder) do {
	in := coder.NewWindowed(coder.KVOf(coder.StringUTF8, coder.StateBackedIterableOf(coder.StringUTF8)), window)
	return func(c *call) error {
		c.in = in
		return c.each(func(e *item) error {
			v, _, err := in.Value().Decode(e.Value)
			if err != nil {
				return err
			}
			kv := v.(coder.KV)
			first, err := h.count(c, kv.Value)
			again, err2 := h.count(c, kv.Value)
			if first != again {
				err = fmt.Errorf("read twice, there are %d and %d bytes", first, again)
			}
			return firstError(firstError(err, err2), c.out(e.pair(kv.Key.(string), fmt.Sprint(first))))
		})
	}
}

func (h *hotRig) count(c *call, values any) (bytes int, err error) {
	backed, ok := values.(coder.StateBacked)
	if !ok {
		for _, v := range values.([]any) {
			bytes += len(v.(string))
		}
		return bytes, nil
	}
	for _, v := range backed.Head {
		bytes += len(v.(string))
	}
	h.before()
	var token []byte
	for {
		data, next, err := c.Get(restKeyOf(backed.Token), token)
		if err != nil {
			return 0, err
		}
		h.pages.Add(1)
		h.most.Store(max(h.most.Load(), h.runner.budget.Used()))
		for len(data) > 0 {
			v, n, err := coder.DecodeLengthPrefixed(data)
			if err != nil {
				return 0, err
			}
			bytes, data = bytes+len(v), data[n:]
		}
		if token = next; len(token) == 0 {
			return bytes, nil
		}
	}
}

// TestAHotKey (I9): values of a key that do not fit in memory are read page by
// page, twice, by whatever stage reads the group; nothing of them is left (I8).
func TestAHotKey(t *testing.T) {
	t.Parallel()
	group := func() pipe {
		return takesTokens(newPipe()).impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:kv/global").
			group("group", "in=a", "out=d:grouped/global")
	}
	for name, c := range map[string]struct {
		pipe  pipe
		extra func(h *hotRig)
	}{
		"a ParDo":        {pipe: group().pardo("sum", nil, "in=d", "out=e:").write("write", "out", "e")},
		"a stateful one": {pipe: group().pardo("sum", stateful("timer"), "in=d", "out=e:").write("write", "out", "e")},
		"two": {pipe: group().pardo("sum", nil, "in=d", "out=e:").write("write", "out", "e").
			reshuffle("spread", "in=d", "out=d2:grouped/global").
			pardo("other", nil, "in=d2", "out=f:").write("write2", "out2", "f"),
			extra: func(h *hotRig) { h.do["other"] = h.sum(coder.GlobalWindow) }},
		"other windows": {pipe: group().add("minutes", "beam:transform:window_into:v1", windowInto(), "in=d", "out=m:grouped/minute").
			pardo("sum", nil, "in=m", "out=e:kv/minute").write("write", "out", "e"),
			extra: func(h *hotRig) {
				h.do["sum"] = h.sum(coder.IntervalWindow)
				h.sinks["out"].in = inMinutes
			}},
		"one with a side input": {pipe: group().pardo("sum", withSide("iterable"), "in=d", "side=a", "out=e:").write("write", "out", "e")},
		"one that fails at first": {pipe: group().pardo("sum", nil, "in=d", "out=e:").write("write", "out", "e"),
			extra: func(h *hotRig) {
				var failed atomic.Bool
				sum := h.do["sum"]
				h.do["sum"] = func(c *call) error {
					if err := sum(c); err != nil || failed.Swap(true) {
						return err
					}
					return errors.New("not this time")
				}
				h.options["bundle_retries"] = 2
			}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHotRig(t)
			h.do["sum"] = h.sum(coder.GlobalWindow)
			out, out2 := h.sink("out"), h.sink("out2")
			if c.extra != nil {
				c.extra(h)
			}
			h.start(c.pipe).mustEnd()
			out.want(hotWant...)
			if h.do["other"] != nil {
				out2.want(hotWant...)
			}
			if h.pages.Load() < 4 {
				t.Errorf("there were %d pages", h.pages.Load())
			}
			if most := h.most.Load(); most > 4*hotLimit {
				t.Errorf("%d bytes were in memory, the limit is %d", most, hotLimit)
			}
			if used := h.runner.budget.Used(); used != 0 {
				t.Errorf("%d bytes are in memory after the job", used)
			}
		})
	}
}

// TestASDKWithoutTokensGetsAllValues.
func TestAnSDKWithoutTokensGetsAllValues(t *testing.T) {
	h := newHotRig(t)
	h.do["sum"] = groupsIn(coder.GlobalWindow, mapping(func(e *item) [][]byte {
		return [][]byte{at(0, e.key, fmt.Sprint(len(strings.Join(e.values, ""))))}
	}))
	out := h.sink("out")
	h.start(newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:kv/global").
		group("group", "in=a", "out=d:grouped/global").pardo("sum", nil, "in=d", "out=e:").write("write", "out", "e")).mustEnd()
	out.want(hotWant...)
}

// TestATokenOfNobody (I7): what a harness makes up is an error of the bundle.
func TestATokenOfNobody(t *testing.T) {
	h := newHotRig(t)
	h.do["sum"] = func(c *call) error {
		c.ReadAll()
		_, _, err := c.Get(restKeyOf([]byte("made up")), []byte("7"))
		if err == nil {
			t.Error("a token that nobody gave is answered")
		}
		return err
	}
	h.sink("out")
	j := h.start(takesTokens(newPipe()).impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:kv/global").
		group("group", "in=a", "out=d:grouped/global").pardo("sum", nil, "in=d", "out=e:").write("write", "out", "e"))
	j.wantError(beam.BadData, "token")
}

// TestAHotKeyAfterACrash (I10): the pages of an element that waits are there
// after a crash, and gone with the element; those that nobody refers to are gone.
func TestAHotKeyAfterACrash(t *testing.T) {
	h := newHotRig(t)
	disk := vfs.NewCrashableMem()
	h.runner.fs = disk
	dir := t.TempDir()
	var lives atomic.Int64
	h.submitted = func(s *jobservice.Submission) {
		s.ID, s.Dir, s.Epoch = "hot", dir, lives.Add(1)
		s.Resumed = s.Epoch > 1
	}
	reading := [3]chan struct{}{1: make(chan struct{}, 100), 2: make(chan struct{}, 100)}
	read := [3]chan struct{}{1: make(chan struct{}), 2: make(chan struct{})}
	h.do["sum"] = h.sum(coder.GlobalWindow)
	h.before = func() {
		life := lives.Load()
		reading[life] <- struct{}{}
		<-read[life]
	}
	out := h.sink("out")
	out.progress = true
	var dead atomic.Bool
	out.gone = dead.Load
	p := takesTokens(newPipe()).impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:kv/global").
		group("group", "in=a", "out=d:grouped/global").pardo("sum", nil, "in=d", "out=e:").write("write", "out", "e")
	j := h.start(p)
	await(t, reading[1], "bundle of the groups")
	if err := j.job.journal.disk.Sync(); err != nil {
		t.Fatal(err)
	}
	dead.Store(true)
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	j.cancel()
	close(read[1])
	_ = j.end()
	h.runner.fs = after
	dead.Store(false)

	j = h.start(p)
	await(t, reading[2], "bundle of the groups after the crash")
	if n := len(j.job.rests.byBlock); n != 1 {
		t.Errorf("%d blocks have a hot key after the crash, want 1", n)
	}
	close(read[2])
	j.mustEnd()
	out.want(hotWant...)
	if n := len(j.job.rests.byBlock) + len(j.job.rests.byToken); n != 0 {
		t.Errorf("%d rests are known at the end", n)
	}
}
