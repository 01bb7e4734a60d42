package runner

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

func withSide(pattern string) func(*pipepb.ParDoPayload) {
	return func(d *pipepb.ParDoPayload) {
		d.SideInputs = map[string]*pipepb.SideInput{"side": {
			AccessPattern:   &pipepb.FunctionSpec{Urn: "beam:side_input:" + pattern + ":v1"},
			ViewFn:          &pipepb.FunctionSpec{Urn: "test:view"},
			WindowMappingFn: &pipepb.FunctionSpec{Urn: "beam:window_mapping_fn:default:v1"},
		}}
	}
}

func iterableKey(transform string, window []byte) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_IterableSideInput_{IterableSideInput: &fnpb.StateKey_IterableSideInput{
		TransformId: transform, SideInputId: "side", Window: window}}}
}

func multimapKey(transform, key string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapSideInput_{MultimapSideInput: &fnpb.StateKey_MultimapSideInput{
		TransformId: transform, SideInputId: "side", Key: coder.AppendLengthPrefixed(nil, []byte(key))}}}
}

// getAll reads all pages of some state.
func (c *call) getAll(key *fnpb.StateKey) ([]byte, error) {
	var all, token []byte
	for {
		data, next, err := c.Get(key, token)
		if err != nil {
			return nil, err
		}
		if all = append(all, data...); len(next) == 0 {
			return all, nil
		}
		token = next
	}
}

// values are the values of encoded KVs of strings.
func valuesOfPairs(data []byte) string {
	var all []string
	for len(data) > 0 {
		v, n, err := pairs.Decode(data)
		if err != nil {
			return err.Error()
		}
		all = append(all, v.(coder.KV).Value.(string))
		data = data[n:]
	}
	slices.Sort(all)
	return strings.Join(all, "+")
}

// TestElementsSeeTheWholeWindowOfTheirSideInput: an element waits until the side
// input's watermark has passed the end of the window that its own is mapped to.
func TestElementsSeeTheWholeWindowOfTheirSideInput(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	mark := beam.EventTime(0) // of the side input
	sides := make(chan []byte, 10)
	r.source("main", &fakeSource{batches: [][][]byte{{at(5, "m", "0"), at(65_000, "m", "1"), at(6, "m", "2")}}})
	side := r.source("side", &fakeSource{batches: [][][]byte{{at(1, "s", "a")}}})
	side.more = func(int, int) []byte {
		select {
		case b := <-sides:
			return b
		default:
			return nil
		}
	}
	side.mark = func(int) beam.EventTime {
		mu.Lock()
		defer mu.Unlock()
		return mark
	}
	r.do["work"] = pairsIn(coder.IntervalWindow, func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("work", e.Windows))
			if err != nil {
				return err
			}
			return c.out(at(0, e.value, valuesOfPairs(data)))
		})
	})
	out := r.sink("out")
	p := newPipe().read("main", "main", "u_a:").read("side", "side", "u_s:").
		add("w1", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		add("w2", "beam:transform:window_into:v1", windowInto(), "in=u_s", "out=u_t:kv/minute").
		pardo("work", withSide("iterable"), "in=u_b", "side=u_t", "out=u_c:").write("write", "out", "u_c")
	j := r.start(p)
	sides <- at(2, "s", "b")
	wait(t, "all of the side input being read", func() bool { return len(sides) == 0 })
	if got := out.got(); len(got) > 0 {
		t.Errorf("%v was written before the window of the side input had ended", got)
	}
	mu.Lock()
	mark = 60_000
	mu.Unlock()
	out.await(2)
	out.want("0=a+b", "2=a+b")
	sides <- at(61_000, "s", "c")
	wait(t, "the rest of the side input being read", func() bool { return len(sides) == 0 })
	mu.Lock()
	mark = 120_000
	mu.Unlock()
	out.await(3)
	out.want("0=a+b", "2=a+b", "1=c")
	j.cancel()
	_ = j.end()
}

// TestASideInputIsAwaitedWhileAPaneMayCome: elements wait for a window whose trigger
// need not fire at its end until a pane has come, of a late element too, or until
// none can come any more, past the allowed lateness.
func TestASideInputIsAwaitedWhileAPaneMayCome(t *testing.T) {
	never := &pipepb.Trigger{Trigger: &pipepb.Trigger_Never_{Never: &pipepb.Trigger_Never{}}}
	count := &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 1}}}
	delay := &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterProcessingTime_{AfterProcessingTime: &pipepb.Trigger_AfterProcessingTime{}}}
	for name, c := range map[string]struct {
		trigger *pipepb.Trigger
		late    string // an element that comes to the window
		want    string
	}{
		"never":            {never, "", "0="},
		"count":            {count, "", "0="},
		"count, late data": {count, "late", "0=late"},
		"delay":            {delay, "", "0="},
		"delay, late data": {delay, "late", "0=late"},
	} {
		t.Run(name, func(t *testing.T) {
			awaitedSide(t, c.trigger, c.late, c.want)
		})
	}
}

func awaitedSide(t *testing.T, trigger *pipepb.Trigger, late, want string) {
	r := newRig(t)
	var mark atomic.Int64 // the watermark of the side input
	mark.Store(60_000)
	r.source("main", &fakeSource{batches: [][][]byte{{at(5, "m", "0")}}}).more = func(int, int) []byte { return nil }
	seen, sides := make(chan struct{}, 1000), make(chan []byte, 1)
	side := r.source("side", &fakeSource{batches: [][][]byte{{at(61_000, "s", "a")}}})
	side.more = func(int, int) []byte {
		select {
		case b := <-sides:
			return b
		default:
			return nil
		}
	}
	side.mark = func(int) beam.EventTime {
		m := beam.EventTime(mark.Load())
		select {
		case seen <- struct{}{}:
		default:
		}
		return m
	}
	r.do["work"] = pairsIn(coder.IntervalWindow, func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("work", e.Windows))
			return firstError(err, c.out(at(0, e.value, valuesOfPairs(data))))
		})
	})
	out := r.sink("out")
	p := newPipe()
	p.windows("closing", "beam:window_fn:fixed_windows:v1", "interval", p.Components.WindowingStrategies["minute"].GetWindowFn().GetPayload())
	ws := p.Components.WindowingStrategies["closing"]
	ws.AllowedLateness, ws.Trigger = 10_000, trigger
	p.read("main", "main", "u_a:").read("side", "side", "u_s:").
		add("w1", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		add("w2", "beam:transform:window_into:v1", windowInto(), "in=u_s", "out=u_t:kv/closing").
		pardo("work", withSide("iterable"), "in=u_b", "side=u_t", "out=u_c:").write("write", "out", "u_c")
	j := r.start(p)
	for range 20 {
		<-seen
	}
	if got := out.got(); len(got) > 0 {
		t.Errorf("%v was written while a pane of the side input's window could come", got)
	}
	if late != "" {
		sides <- at(7, "s", late)
	} else {
		mark.Store(70_000)
	}
	out.await(1)
	out.want(want)
	j.cancel()
	_ = j.end()
}

// TestALargeSideInputIsReadInPages.
func TestALargeSideInputIsReadInPages(t *testing.T) {
	r := newRig(t)
	elements, _ := numbers(10)
	var large [][]byte
	for i := range 40 {
		large = append(large, at(0, fmt.Sprint("key", i%4), strings.Repeat(string(rune('a'+i%26)), 100_000)))
	}
	r.do["make"] = create(elements...)
	r.do["makeSide"] = create(large...)
	r.do["iterate"] = func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("iterate", nil))
			if err != nil {
				return err
			}
			return c.out(at(0, e.value, fmt.Sprint(len(valuesOfPairs(data)))))
		})
	}
	r.do["look"] = func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(multimapKey("look", "key2"))
			return firstError(err, c.out(at(0, e.key, fmt.Sprint(len(data)/100_000))))
		})
	}
	out, out2 := r.sink("out"), r.sink("out2")
	p := newPipe().impulse("impulse", "i").pardo("make", nil, "in=i", "out=a:").
		impulse("impulse2", "i2").pardo("makeSide", nil, "in=i2", "out=s:").
		reshuffle("spread", "in=a", "out=b:").
		pardo("iterate", withSide("iterable"), "in=b", "side=s", "out=c:").write("write", "out", "c").
		reshuffle("again", "in=a", "out=d:").
		pardo("look", withSide("multimap"), "in=d", "side=s", "out=e:").write("write2", "out2", "e")
	r.start(p).mustEnd()
	var want, want2 []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("%d=4000039", i))
		want2 = append(want2, fmt.Sprintf("k%d=10", i))
	}
	out.want(want...)
	out2.want(want2...)
}

// TestSideInputsDoNotGrowWithTime: in an endless job only the windows that
// elements may still be in are kept.
func TestSideInputsDoNotGrowWithTime(t *testing.T) {
	r := newRig(t)
	out := r.sink("out")
	minutes := func(key string) *fakeSource {
		return &fakeSource{batches: [][][]byte{nil},
			more: func(_, n int) []byte {
				if n > len(out.got())+10 {
					return nil
				}
				return at(beam.EventTime(n*60_000), key, fmt.Sprint(n))
			},
			mark: func(n int) beam.EventTime { return beam.EventTime(n * 60_000) }}
	}
	r.source("main", minutes("m"))
	r.source("side", minutes("s"))
	r.do["work"] = pairsIn(coder.IntervalWindow, func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("work", e.Windows))
			return firstError(err, c.out(at(0, e.value, valuesOfPairs(data))))
		})
	})
	p := newPipe().read("main", "main", "u_a:").read("side", "side", "u_s:").
		add("w1", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		add("w2", "beam:transform:window_into:v1", windowInto(), "in=u_s", "out=u_t:kv/minute").
		pardo("work", withSide("iterable"), "in=u_b", "side=u_t", "out=u_c:").write("write", "out", "u_c")
	j := r.start(p)
	await(t, j.started, "start")
	out.await(150)
	var side sideKey
	windows := 0
	for i, st := range j.job.stages {
		for k, s := range st.sides {
			side, windows = sideKey{i, k}, s.Windows()
		}
	}
	j.job.gates.mu.Lock()
	known := j.job.gates.byWindow[side].Len()
	j.job.gates.mu.Unlock()
	j.cancel()
	_ = j.end()
	if windows > 40 || known > 40 {
		t.Errorf("%d windows of the side input and %d gates after 150 minutes", windows, known)
	}
	for _, s := range out.got() {
		if n, v, _ := strings.Cut(s, "="); n != v {
			t.Errorf("element %s saw %s", n, v)
		}
	}
}

// TestElementsWaitForTheWindowsThatTheSDKMapsTheirsTo: where only the SDK knows
// the mapping, an element waits for one window of the side input, not for all.
// A worker that dies while it is asked is asked again.
func TestElementsWaitForTheWindowsThatTheSDKMapsTheirsTo(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	mark, asked := beam.EventTime(0), map[string]int{}
	r.source("main", &fakeSource{batches: [][][]byte{{
		slices.Concat(at(5, "m", "0"), at(65_000, "m", "1"), at(6, "m", "2"), at(66_000, "m", "3"))}}})
	r.source("side", &fakeSource{batches: [][][]byte{{slices.Concat(at(1, "s", "a"), at(61_000, "s", "b"), at(121_000, "s", "c"))}},
		mark: func(int) beam.EventTime { mu.Lock(); defer mu.Unlock(); return mark }})
	// Every window is mapped to the next one.
	next := func(w []byte) []byte {
		win, _, _ := coder.DecodeIntervalWindow(w)
		return coder.AppendIntervalWindow(nil, beam.Window{Start: win.Start + 60_000, End: win.End + 60_000})
	}
	r.do["work/side/MapWindows"] = mapsWindows(func(c *call, window []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[string(window)]++
		if len(asked) == 1 && asked[string(window)] == 1 {
			return nil, c.dies()
		}
		return next(window), nil
	})
	r.do["work"] = pairsIn(coder.IntervalWindow, func(c *call) error {
		return c.each(func(e *item) error {
			data, err := c.getAll(iterableKey("work", next(e.Windows)))
			return firstError(err, c.out(at(0, e.value, valuesOfPairs(data))))
		})
	})
	out := r.sink("out")
	p := newPipe().read("main", "main", "u_a:").read("side", "side", "u_s:").
		add("w1", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		pardo("w2", nil, "in=u_s", "out=u_t:kv/own").
		pardo("work", withSide("iterable"), "in=u_b", "side=u_t", "out=u_c:").write("write", "out", "u_c")
	p.windows("own", "test:windows", "interval", nil)
	r.do["w2"] = mapping(func(e *item) [][]byte {
		start := e.Timestamp / 60_000 * 60_000
		e.Windows = coder.AppendIntervalWindow(nil, beam.Window{Start: start, End: start + 60_000})
		return [][]byte{e.pair(e.key, e.value)}
	})
	j := r.start(p)
	wait(t, "both windows being asked for", func() bool { mu.Lock(); defer mu.Unlock(); return len(asked) == 2 })
	if got := out.got(); len(got) > 0 {
		t.Errorf("%v was written before a window of the side input had ended", got)
	}
	set := func(to beam.EventTime) { mu.Lock(); defer mu.Unlock(); mark = to }
	set(120_000)
	out.await(2)
	out.want("0=b", "2=b")
	set(180_000)
	out.await(4)
	out.want("0=b", "2=b", "1=c", "3=c")
	j.cancel()
	_ = j.end()
	for w, n := range asked {
		if n > 2 {
			t.Errorf("window %x was asked for %d times", w, n)
		}
	}
}

// mapsWindows answers questions for windows.
func mapsWindows(to func(c *call, window []byte) ([]byte, error)) do {
	question := coder.NewWindowed(coder.KVOf(coder.Bytes, coder.IntervalWindow), coder.GlobalWindow)
	return func(c *call) error {
		for _, chunk := range c.ReadAll() {
			var answers []byte
			for data := chunk.Data; len(data) > 0; {
				var e coder.Element
				n, err := question.Scan(data, &e)
				if err != nil {
					return err
				}
				nonce, window, err := question.Value().SplitKV(e.Value)
				if err != nil {
					return err
				}
				side, err := to(c, window)
				if err != nil {
					return err
				}
				e.Value = append(slices.Clone(nonce), side...)
				answers, data = append(coder.AppendElement(nil, &e), answers...), data[n:]
			}
			if err := c.out(answers); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestWindowsThatAnSDKMapsToAreForgotten: as long as no window is mapped to one
// that ends before it, those of the side input that main windows have passed are
// given back; if one is, all are kept, or, if it is too late for that, the user is
// told.
func TestWindowsThatAnSDKMapsToAreForgotten(t *testing.T) {
	shifted := func(w []byte, by beam.EventTime) []byte {
		win, _, _ := coder.DecodeIntervalWindow(w)
		return coder.AppendIntervalWindow(nil, beam.Window{Start: win.Start + by, End: win.End + by})
	}
	for _, c := range []struct {
		name  string
		to    func(w []byte) []byte
		keeps bool
		fails string
	}{
		{"ahead", func(w []byte) []byte { return shifted(w, 60_000) }, false, ""},
		{"back", func(w []byte) []byte { return shifted(w, -60_000) }, true, ""},
		{"later", func(w []byte) []byte {
			if win, _, _ := coder.DecodeIntervalWindow(w); win.Start >= 50*60_000 {
				return shifted(w, -40*60_000)
			}
			return w
		}, false, "ended before it and was forgotten"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			out := r.sink("out")
			minutes := func(key string, ahead int) *fakeSource {
				return &fakeSource{batches: [][][]byte{nil},
					more: func(_, n int) []byte {
						if n > len(out.got())+10+ahead {
							return nil
						}
						return at(beam.EventTime(n*60_000), key, fmt.Sprint(n))
					},
					mark: func(n int) beam.EventTime { return beam.EventTime(n * 60_000) }}
			}
			r.source("main", minutes("m", 0))
			r.source("side", minutes("s", 5))
			r.do["work/side/MapWindows"] = mapsWindows(func(_ *call, w []byte) ([]byte, error) { return c.to(w), nil })
			r.do["work"] = pairsIn(coder.IntervalWindow, func(k *call) error {
				return k.each(func(e *item) error {
					data, err := k.getAll(iterableKey("work", c.to(e.Windows)))
					return firstError(err, k.out(at(0, e.value, valuesOfPairs(data))))
				})
			})
			r.do["w2"] = mapping(func(e *item) [][]byte {
				start := e.Timestamp / 60_000 * 60_000
				e.Windows = coder.AppendIntervalWindow(nil, beam.Window{Start: start, End: start + 60_000})
				return [][]byte{e.pair(e.key, e.value)}
			})
			p := newPipe().read("main", "main", "u_a:").read("side", "side", "u_s:").
				add("w1", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
				pardo("w2", nil, "in=u_s", "out=u_t:kv/own").
				pardo("work", withSide("iterable"), "in=u_b", "side=u_t", "out=u_c:").write("write", "out", "u_c")
			p.windows("own", "test:windows", "interval", nil)
			j := r.start(p)
			if c.fails != "" {
				j.wantError(beam.Unsupported, c.fails)
				return
			}
			await(t, j.started, "start")
			out.await(100)
			windows := 0
			for _, st := range j.job.stages {
				for _, s := range st.sides {
					windows = s.Windows()
				}
			}
			j.cancel()
			_ = j.end()
			if kept := windows >= 90; kept != c.keeps || !c.keeps && windows > 50 {
				t.Errorf("%d windows of the side input after 100 minutes", windows)
			}
			for _, s := range out.got() {
				n, v, _ := strings.Cut(s, "=")
				by := map[string]int{"ahead": 1, "back": -1}[c.name]
				if want := fmt.Sprint(number(n) + by); v != want && !(v == "" && want == "-1") {
					t.Errorf("element %s saw %s", n, v)
				}
			}
		})
	}
}
