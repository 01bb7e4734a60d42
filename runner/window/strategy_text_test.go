package window

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"fresnel/internal/coder"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// term is name(arg, label=arg, ...): how tests write windows and triggers, and
// how Strategy.String prints them.
type term struct {
	label, name string
	args        []term
}

// parseTerm reads a term from the start of s.
func parseTerm(s string) (t term, rest string) {
	i := strings.IndexAny(s, "(),")
	if i < 0 {
		i = len(s)
	}
	t.name, rest = strings.TrimSpace(s[:i]), s[i:]
	if label, name, ok := strings.Cut(t.name, "="); ok {
		t.label, t.name = label, name
	}
	if !strings.HasPrefix(rest, "(") {
		return t, rest
	}
	for rest[0] != ')' {
		var arg term
		arg, rest = parseTerm(rest[1:])
		t.args = append(t.args, arg)
	}
	return t, rest[1:]
}

// arg returns the argument with a label, nil if there is none.
func (t term) arg(label string) *pipepb.Trigger {
	for _, a := range t.args {
		if a.label == label {
			return a.trigger()
		}
	}
	return nil
}

func (t term) triggers() []*pipepb.Trigger {
	var all []*pipepb.Trigger
	for _, a := range t.args {
		all = append(all, a.trigger())
	}
	return all
}

func (t term) trigger() *pipepb.Trigger {
	switch t.name {
	case "default":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}}
	case "always":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Always_{Always: &pipepb.Trigger_Always{}}}
	case "never":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Never_{Never: &pipepb.Trigger_Never{}}}
	case "synchronized":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterSynchronizedProcessingTime_{}}
	case "count":
		n, _ := strconv.Atoi(t.args[0].name)
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: int32(n)}}}
	case "delay":
		p := &pipepb.Trigger_AfterProcessingTime{}
		for _, a := range t.args {
			p.TimestampTransforms = append(p.TimestampTransforms, a.transform())
		}
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterProcessingTime_{AfterProcessingTime: p}}
	case "end-of-window":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEndOfWindow_{AfterEndOfWindow: &pipepb.Trigger_AfterEndOfWindow{
			EarlyFirings: t.arg("early"), LateFirings: t.arg("late")}}}
	case "repeat":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{Subtrigger: t.args[0].trigger()}}}
	case "or-finally":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_OrFinally_{OrFinally: &pipepb.Trigger_OrFinally{
			Main: t.args[0].trigger(), Finally: t.args[1].trigger()}}}
	case "after-any":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAny_{AfterAny: &pipepb.Trigger_AfterAny{Subtriggers: t.triggers()}}}
	case "after-all":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAll_{AfterAll: &pipepb.Trigger_AfterAll{Subtriggers: t.triggers()}}}
	case "after-each":
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEach_{AfterEach: &pipepb.Trigger_AfterEach{Subtriggers: t.triggers()}}}
	}
	panic("no trigger " + t.name)
}

func (t term) transform() *pipepb.TimestampTransform {
	if period, ok := strings.CutPrefix(t.name, "aligned to "); ok {
		period, offset, _ := strings.Cut(period, " at ")
		return &pipepb.TimestampTransform{TimestampTransform: &pipepb.TimestampTransform_AlignTo_{
			AlignTo: &pipepb.TimestampTransform_AlignTo{
				Period: duration(period).Milliseconds(), Offset: duration(offset).Milliseconds()}}}
	}
	return &pipepb.TimestampTransform{TimestampTransform: &pipepb.TimestampTransform_Delay_{
		Delay: &pipepb.TimestampTransform_Delay{DelayMillis: duration(t.name).Milliseconds()}}}
}

// duration parses a Go duration; none is zero.
func duration(s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

// windowFn reads "fixed(10s at 3s)", "sliding(20s every 10s)", "sessions(10s)".
func windowFn(s string) *pipepb.FunctionSpec {
	t, _ := parseTerm(s)
	if len(t.args) == 0 {
		return &pipepb.FunctionSpec{Urn: map[string]string{"global": urnGlobal}[t.name]}
	}
	size, offset, _ := strings.Cut(t.args[0].name, " at ")
	size, period, _ := strings.Cut(size, " every ")
	d, at := durationpb.New(duration(size)), &timestamppb.Timestamp{
		Seconds: int64(duration(offset) / time.Second), Nanos: int32(duration(offset) % time.Second)}
	var p proto.Message
	switch t.name {
	case "fixed":
		p = &pipepb.FixedWindowsPayload{Size: d, Offset: at}
	case "sliding":
		p = &pipepb.SlidingWindowsPayload{Size: d, Period: durationpb.New(duration(period)), Offset: at}
	case "sessions":
		p = &pipepb.SessionWindowsPayload{GapSize: d}
	}
	payload, _ := proto.Marshal(p)
	return &pipepb.FunctionSpec{
		Urn:     map[string]string{"fixed": urnFixed, "sliding": urnSliding, "sessions": urnSession}[t.name],
		Payload: payload,
	}
}

// strategyProto reads words of the form name=value.
func strategyProto(words map[string]string) *pipepb.WindowingStrategy {
	get := func(name, otherwise string) string {
		if v, ok := words[name]; ok {
			return v
		}
		return otherwise
	}
	trigger, _ := parseTerm(get("trigger", "default"))
	ws := &pipepb.WindowingStrategy{
		WindowFn:         windowFn(get("window", "global")),
		Trigger:          trigger.trigger(),
		AccumulationMode: pipepb.AccumulationMode_Enum(pipepb.AccumulationMode_Enum_value[strings.ToUpper(get("mode", "discarding"))]),
		AllowedLateness:  duration(get("lateness", "0s")).Milliseconds(),
		OutputTime:       map[string]pipepb.OutputTime_Enum{"": 1, "latest": 2, "earliest": 3}[get("output", "")],
		ClosingBehavior:  map[string]pipepb.ClosingBehavior_Enum{"always": 1, "nonempty": 2}[get("closing", "nonempty")],
		OnTimeBehavior:   map[string]pipepb.OnTimeBehavior_Enum{"always": 1, "nonempty": 2}[get("ontime", "always")],
		MergeStatus:      pipepb.MergeStatus_NON_MERGING,
	}
	if strings.HasPrefix(words["window"], "sessions") {
		ws.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
	}
	return ws
}

// newStrategy reads words of the form name=value.
func newStrategy(words map[string]string) *Strategy {
	ws, windows := strategyProto(words), coder.IntervalWindow
	if ws.WindowFn.Urn == urnGlobal {
		windows = coder.GlobalWindow
	}
	s, err := ParseStrategy(ws, windows)
	if err != nil {
		panic(fmt.Sprint(words, ": ", err))
	}
	if words["sdk"] == "python" {
		s = s.OnlyNonEmptyClosing()
	}
	return s
}
