package window

import (
	"fmt"
	"math"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/translate"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const maxDuration = time.Duration(math.MaxInt64)

// ParseStrategy reads a windowing strategy, the coder of whose windows is
// windowCoder. An error is a *beam.Error, InvalidPipeline or Unsupported, that
// names the construct. What a client left unspecified is as in Java.
func ParseStrategy(ws *pipepb.WindowingStrategy, windowCoder *coder.Coder) (*Strategy, error) {
	if ws == nil || windowCoder == nil {
		return nil, invalid("a windowing strategy or its window coder is missing")
	}
	fn, err := parseFn(ws.GetWindowFn())
	if err != nil {
		return nil, err
	}
	s := &Strategy{
		fn:           fn,
		windowCoder:  windowCoder,
		merging:      needsMerge(fn, ws.GetMergeStatus()),
		accumulating: ws.GetAccumulationMode() == pipepb.AccumulationMode_ACCUMULATING,
		lateness:     ws.GetAllowedLateness(),
		closeAlways:  ws.GetClosingBehavior() == pipepb.ClosingBehavior_EMIT_ALWAYS,
		onTimeAlways: ws.GetOnTimeBehavior() != pipepb.OnTimeBehavior_FIRE_IF_NONEMPTY,
	}
	if err := s.checkCoder(); err != nil {
		return nil, err
	}
	if err := s.parseRest(ws); err != nil {
		return nil, err
	}
	s.trigger, err = parseTrigger(ws.GetTrigger(), s.merging)
	return s, err
}

// needsMerge takes windows that no status is known of as unmerged, if they are
// those of sessions.
func needsMerge(fn Fn, status pipepb.MergeStatus_Enum) bool {
	if status == pipepb.MergeStatus_UNSPECIFIED {
		return fn.Kind == Session
	}
	return status == pipepb.MergeStatus_NEEDS_MERGE && fn.Kind != Global
}

func (s *Strategy) checkCoder() error {
	want := coder.KindIntervalWindow
	switch s.fn.Kind {
	case Custom:
		return nil
	case Global:
		want = coder.KindGlobalWindow
	}
	if got := s.windowCoder.Kind(); got != want {
		return invalid("%s windows with the coder %s", s.fn.Kind, s.windowCoder)
	}
	return nil
}

func (s *Strategy) parseRest(ws *pipepb.WindowingStrategy) error {
	if s.lateness < 0 {
		return invalid("an allowed lateness of %d ms", s.lateness)
	}
	if ws.GetAccumulationMode() == pipepb.AccumulationMode_RETRACTING {
		return unsupported("the accumulation mode RETRACTING")
	}
	switch ws.GetOutputTime() {
	case pipepb.OutputTime_UNSPECIFIED, pipepb.OutputTime_END_OF_WINDOW:
	case pipepb.OutputTime_LATEST_IN_PANE:
		s.outputTime = latestInPane
	case pipepb.OutputTime_EARLIEST_IN_PANE:
		s.outputTime = earliestInPane
	default:
		return unsupported("the output time %d", int32(ws.GetOutputTime()))
	}
	return nil
}

// The URNs of the standard window functions.
const (
	urnGlobal  = "beam:window_fn:global_windows:v1"
	urnFixed   = "beam:window_fn:fixed_windows:v1"
	urnSliding = "beam:window_fn:sliding_windows:v1"
	urnSession = "beam:window_fn:session_windows:v1"
)

func parseFn(spec *pipepb.FunctionSpec) (Fn, error) {
	switch spec.GetUrn() {
	case "":
		return Fn{}, invalid("a windowing strategy has no window function")
	case urnGlobal:
		return Fn{Kind: Global}, nil
	case urnFixed:
		var p pipepb.FixedWindowsPayload
		return parseWindows(spec, &p, Fixed, func() parts { return parts{p.GetSize(), p.GetSize(), p.GetOffset()} })
	case urnSliding:
		var p pipepb.SlidingWindowsPayload
		return parseWindows(spec, &p, Sliding, func() parts { return parts{p.GetSize(), p.GetPeriod(), p.GetOffset()} })
	case urnSession:
		var p pipepb.SessionWindowsPayload
		return parseWindows(spec, &p, Session, func() parts { return parts{p.GetGapSize(), p.GetGapSize(), nil} })
	}
	return Fn{Kind: Custom, URN: spec.GetUrn(), payload: string(spec.GetPayload())}, nil
}

// parts is what the payloads of the standard functions have; the period of
// what has none is its size.
type parts struct {
	size, period *durationpb.Duration
	offset       *timestamppb.Timestamp
}

func parseWindows(spec *pipepb.FunctionSpec, p proto.Message, kind Kind, get func() parts) (Fn, error) {
	if err := proto.Unmarshal(spec.GetPayload(), p); err != nil {
		return Fn{}, &beam.Error{Code: beam.InvalidPipeline, What: "the payload of " + spec.GetUrn() + " does not parse", Cause: err}
	}
	v := get()
	if !positive(v.size) || !positive(v.period) {
		return Fn{}, invalid("%s windows of size %v, period %v", kind, v.size.AsDuration(), v.period.AsDuration())
	}
	if !translate.StandardWindows(spec) {
		return Fn{Kind: kind, URN: spec.GetUrn(), payload: string(spec.GetPayload())}, nil
	}
	return v.fn(kind), nil
}

// positive asks the parts of d, since a duration may be longer than Go's.
func positive(d *durationpb.Duration) bool {
	return d.GetSeconds() > 0 || d.GetSeconds() == 0 && d.GetNanos() > 0
}

// fn is the function, if it is one that the runner stands in for.
func (v parts) fn(kind Kind) Fn {
	period := v.period.AsDuration()
	fn := Fn{Kind: kind, Size: v.size.AsDuration()}
	if kind == Sliding {
		fn.Period = period
	}
	offset := time.Duration(v.offset.GetSeconds())*time.Second + time.Duration(v.offset.GetNanos())
	if fn.Offset = offset % period; fn.Offset < 0 {
		fn.Offset += period
	}
	return fn
}

func invalid(format string, args ...any) error {
	return &beam.Error{Code: beam.InvalidPipeline, What: fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &beam.Error{Code: beam.Unsupported, What: fmt.Sprintf(format, args...)}
}
