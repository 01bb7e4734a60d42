package window

import (
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// strategyOf changes a strategy that parses.
func strategyOf(change func(ws *pipepb.WindowingStrategy)) *pipepb.WindowingStrategy {
	ws := strategyProto(map[string]string{"window": "fixed(10s)"})
	change(ws)
	return ws
}

func payload(urn string, p proto.Message) func(ws *pipepb.WindowingStrategy) {
	return func(ws *pipepb.WindowingStrategy) {
		b, _ := proto.Marshal(p)
		ws.WindowFn = &pipepb.FunctionSpec{Urn: urn, Payload: b}
	}
}

func withTrigger(text string) func(ws *pipepb.WindowingStrategy) {
	t, _ := parseTerm(text)
	return func(ws *pipepb.WindowingStrategy) { ws.Trigger = t.trigger() }
}

func TestParseStrategyRefuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("repeat(", 200) + "always" + strings.Repeat(")", 200)
	wide := "after-any(always" + strings.Repeat(", always", 2000) + ")"
	for _, c := range []struct {
		name   string
		change func(ws *pipepb.WindowingStrategy)
		code   beam.Code
		says   string
	}{
		{"no window function", func(ws *pipepb.WindowingStrategy) { ws.WindowFn = nil }, beam.InvalidPipeline, "no window function"},
		{"garbage payload", func(ws *pipepb.WindowingStrategy) { ws.WindowFn.Payload = []byte{0xff} }, beam.InvalidPipeline, urnFixed},
		{"no size", payload(urnFixed, &pipepb.FixedWindowsPayload{}), beam.InvalidPipeline, "fixed"},
		{"negative gap", payload(urnSession, &pipepb.SessionWindowsPayload{GapSize: durationpb.New(-time.Second)}), beam.InvalidPipeline, "sessions"},
		{"no period", payload(urnSliding, &pipepb.SlidingWindowsPayload{Size: durationpb.New(time.Second)}), beam.InvalidPipeline, "sliding"},
		{"another coder", payload(urnGlobal, &pipepb.GlobalWindowsPayload{}), beam.InvalidPipeline, "interval_window"},
		{"no trigger", func(ws *pipepb.WindowingStrategy) { ws.Trigger = nil }, beam.InvalidPipeline, "trigger"},
		{"no sub-trigger", withTrigger("after-all"), beam.InvalidPipeline, "after-all"},
		{"negative count", withTrigger("count(-1)"), beam.InvalidPipeline, "-1 elements"},
		{"negative delay", withTrigger("delay(-1s)"), beam.InvalidPipeline, "-1000 ms"},
		{"no period", withTrigger("delay(aligned to 0s)"), beam.InvalidPipeline, "aligned to 0 ms"},
		{"a deep trigger", withTrigger(deep), beam.Unsupported, "levels"},
		{"a wide trigger", withTrigger(wide), beam.Unsupported, "parts"},
		{"retractions", func(ws *pipepb.WindowingStrategy) { ws.AccumulationMode = pipepb.AccumulationMode_RETRACTING }, beam.Unsupported, "RETRACTING"},
		{"negative lateness", func(ws *pipepb.WindowingStrategy) { ws.AllowedLateness = -1 }, beam.InvalidPipeline, "lateness"},
		{"output time", func(ws *pipepb.WindowingStrategy) { ws.OutputTime = 77 }, beam.Unsupported, "77"},
	} {
		_, err := ParseStrategy(strategyOf(c.change), coder.IntervalWindow)
		if err == nil || beam.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := ParseStrategy(nil, nil); beam.CodeOf(err) != beam.InvalidPipeline {
		t.Error(err)
	}
}

// What Assign could not do exactly is left to the SDK.
func TestUnusualWindowsAreCustom(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*pipepb.FixedWindowsPayload{
		"microseconds": {Size: durationpb.New(1500 * time.Microsecond)},
		"offset":       {Size: durationpb.New(time.Second), Offset: &timestamppb.Timestamp{Nanos: 1}},
		"ages":         {Size: &durationpb.Duration{Seconds: 1 << 40}},
		"far":          {Size: durationpb.New(time.Second), Offset: &timestamppb.Timestamp{Seconds: 1 << 40}},
	} {
		s, err := ParseStrategy(strategyOf(payload(urnFixed, p)), coder.IntervalWindow)
		if err != nil || s.Fn().Standard() || s.Fn().Assign(nil, 0) != nil {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	many := &pipepb.SlidingWindowsPayload{Size: durationpb.New(time.Hour), Period: durationpb.New(time.Millisecond)}
	if s, err := ParseStrategy(strategyOf(payload(urnSliding, many)), coder.IntervalWindow); err != nil || s.Fn().Standard() {
		t.Errorf("%v, %v", s, err)
	}
}

func TestStrategyString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ words, want string }{
		{"", "global default discarding"},
		{"window=fixed(10s at 3s)", "fixed(10s at 3s) default discarding"},
		{"window=sliding(20s every 10s) lateness=5s closing=always", "sliding(20s every 10s) default discarding lateness=5s close=always"},
		{"window=sessions(10s) mode=accumulating output=latest ontime=nonempty", "sessions(10s) default accumulating latest ontime=nonempty"},
	} {
		words := map[string]string{}
		for w := range strings.SplitSeq(strings.NewReplacer(" at ", "_at_", " every ", "_every_").Replace(c.words), " ") {
			name, value, _ := strings.Cut(w, "=")
			words[name] = strings.ReplaceAll(value, "_", " ")
		}
		if got := newStrategy(words).String(); got != c.want {
			t.Errorf("%q: %q", c.words, got)
		}
	}
	for _, text := range []string{
		"end-of-window(early=count(2), late=repeat(delay(+5s, aligned to 1m0s)))",
		"after-each(always, never, or-finally(repeat(count(3)), after-all(default, after-any(end-of-window, delay))))",
	} {
		if got := newStrategy(map[string]string{"trigger": text}).trigger.describe(0); got != text {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestStrategies(t *testing.T) {
	t.Parallel()
	get := func(name, value string) *Strategy { return newStrategy(map[string]string{name: value}) }
	global, fixed := get("window", "global"), get("window", "fixed(10s)")
	if !global.IsIdentityAfter(global) || fixed.IsIdentityAfter(fixed) || global.IsIdentityAfter(fixed) {
		t.Error("IsIdentityAfter")
	}
	if !fixed.WindowsEqual(get("window", "fixed(10s)")) || fixed.WindowsEqual(get("window", "fixed(11s)")) {
		t.Error("WindowsEqual")
	}
	if !get("trigger", "repeat(count(1))").FiresPerElement() || get("trigger", "repeat(delay)").FiresPerElement() {
		t.Error("FiresPerElement")
	}
	if !fixed.DefaultTrigger() || get("trigger", "end-of-window").DefaultTrigger() {
		t.Error("DefaultTrigger")
	}
	if late := get("lateness", "2562047h"); late.GarbageTime(5) != 5+9223369200000 || late.GarbageTime(beam.EndOfGlobalWindow-1) != beam.EndOfGlobalWindow {
		t.Error("GarbageTime")
	}
	ws := strategyProto(nil)
	ws.AllowedLateness = 1 << 62
	if s, err := ParseStrategy(ws, coder.GlobalWindow); err != nil || s.AllowedLateness() < 292*365*24*time.Hour || s.GarbageTime(0) != beam.EndOfGlobalWindow {
		t.Error("endless lateness", err)
	}
	merged := strategyProto(map[string]string{"window": "sessions(10s)"})
	for status, want := range map[pipepb.MergeStatus_Enum]bool{0: true, 1: false, 2: true, 3: false} {
		merged.MergeStatus = status
		if s, _ := ParseStrategy(merged, coder.IntervalWindow); s.Merging() != want {
			t.Error("merge status", status)
		}
	}
}

// TestAFirstPaneIsAwaited until the end of a window where the trigger surely fires
// then, else until no pane can come.
func TestAFirstPaneIsAwaited(t *testing.T) {
	t.Parallel()
	const end, closed = 9999, 14_999
	for trigger, want := range map[string]beam.EventTime{
		"default":                                 end,
		"end-of-window(early=count(1))":           end,
		"repeat(end-of-window)":                   end,
		"repeat(after-any(count(3), delay(1s)))":  closed,
		"after-any(count(3), end-of-window)":      end,
		"after-all(count(3), end-of-window)":      closed,
		"after-each(end-of-window, count(3))":     end,
		"after-each(count(3), end-of-window)":     closed,
		"or-finally(count(3), end-of-window)":     end,
		"or-finally(repeat(count(3)), delay(1s))": closed,
		"always":       closed,
		"never":        closed,
		"synchronized": closed,
	} {
		s := newStrategy(map[string]string{"window": "fixed(10s)", "lateness": "5s", "trigger": trigger})
		if got := s.AwaitedUntil(end); got != want {
			t.Errorf("%s: until %d, want %d", trigger, got, want)
		}
	}
}
