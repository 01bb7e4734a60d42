package runner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/fnapi/fnapitest"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// stream is a TestStream payload of KVs of strings.
type stream struct{ p *pipepb.TestStreamPayload }

func newStream() stream { return stream{&pipepb.TestStreamPayload{CoderId: "kv"}} }

func (s stream) bytes() []byte {
	b, _ := proto.Marshal(s.p) // strings and numbers
	return b
}

func (s stream) event(e *pipepb.TestStreamPayload_Event) stream {
	s.p.Events = append(s.p.Events, e)
	return s
}

func (s stream) element(ts beam.EventTime, key, value string) stream {
	v := coder.AppendLengthPrefixed(coder.AppendLengthPrefixed(nil, []byte(key)), []byte(value))
	return s.event(&pipepb.TestStreamPayload_Event{Event: &pipepb.TestStreamPayload_Event_ElementEvent{
		ElementEvent: &pipepb.TestStreamPayload_Event_AddElements{Elements: []*pipepb.TestStreamPayload_TimestampedElement{
			{EncodedElement: v, Timestamp: int64(ts)}}}}})
}

func (s stream) watermark(t beam.EventTime) stream {
	return s.event(&pipepb.TestStreamPayload_Event{Event: &pipepb.TestStreamPayload_Event_WatermarkEvent{
		WatermarkEvent: &pipepb.TestStreamPayload_Event_AdvanceWatermark{NewWatermark: int64(t)}}})
}

func (s stream) advance(d time.Duration) stream {
	return s.event(&pipepb.TestStreamPayload_Event{Event: &pipepb.TestStreamPayload_Event_ProcessingTimeEvent{
		ProcessingTimeEvent: &pipepb.TestStreamPayload_Event_AdvanceProcessingTime{AdvanceDuration: d.Milliseconds()}}})
}

// decoded is what an SDK makes of the elements of a TestStream: they come with
// their lengths.
func decoded(c *call) error {
	c.in = coder.NewWindowed(coder.LengthPrefixOf(pairs), coder.GlobalWindow)
	return c.each(func(e *item) error {
		value, _, err := coder.DecodeLengthPrefixed(e.Value)
		if err != nil {
			return err
		}
		e.Value = value
		return c.out(coder.AppendElement(nil, &e.Element))
	})
}

// TestATestStreamGoesByItsOwnTime: hours of processing time take no time, and
// what comes behind the watermark is dropped.
func TestATestStreamGoesByItsOwnTime(t *testing.T) {
	r := newRig(t)
	s := newStream().element(1000, "a", "1").element(61_000, "a", "2").element(2000, "a", "3").
		watermark(60_000).element(3000, "a", "late").advance(100*time.Hour).
		element(62_000, "a", "4").watermark(beam.MaxEventTime)
	r.rest = decoded
	r.do["join"] = groupsIn(coder.IntervalWindow, mapping(func(e *item) [][]byte {
		return [][]byte{at(e.Timestamp, e.key, fmt.Sprint(e.values))}
	}))
	out := r.sink("out")
	p := newPipe().add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		group("group", "in=u_b", "out=u_c:grouped/minute").
		pardo("join", nil, "in=u_c", "out=u_d:").write("write", "out", "u_d")
	began := time.Now()
	r.start(p).mustEnd()
	out.want("a=[1 3]", "a=[2 4]")
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v", took)
	}
}

// TestEventsOfATestStreamFromAService: they are the same as those in a payload.
func TestEventsOfATestStreamFromAService(t *testing.T) {
	r := newRig(t)
	script := newStream().element(1, "k", "a").watermark(60_000).advance(time.Hour).element(61_000, "k", "b")
	endpoint, asked := fnapitest.ServeTestStream(t, script.p.Events)
	script.p.Events, script.p.Endpoint = nil, &pipepb.ApiServiceDescriptor{Url: endpoint}
	r.rest = decoded
	r.do["join"] = groupsIn(coder.IntervalWindow, mapping(func(e *item) [][]byte {
		return [][]byte{at(0, e.key, strings.Join(e.values, "+"))}
	}))
	out := r.sink("out")
	p := newPipe().add("stream", "beam:transform:teststream:v1", script.bytes(), "main=u_a:").
		add("window", "beam:transform:window_into:v1", windowInto(), "in=u_a", "out=u_b:kv/minute").
		group("group", "in=u_b", "out=u_c:grouped/minute").
		pardo("join", nil, "in=u_c", "out=u_d:").write("write", "out", "u_d")
	r.start(p).mustEnd()
	out.want("k=a", "k=b")
	if got := string(await(t, asked, "request")); got != "\x0a\x04main" {
		t.Errorf("asked for %q", got)
	}
}

// TestATestStreamWithoutItsService fails the job, and says which service.
func TestATestStreamWithoutItsService(t *testing.T) {
	r := newRig(t)
	script := newStream()
	script.p.Endpoint = &pipepb.ApiServiceDescriptor{Url: "localhost:1"}
	r.start(newPipe().add("stream", "beam:transform:teststream:v1", script.bytes(), "main=u_a:").
		pardo("work", nil, "in=u_a", "out=u_b:")).wantError(beam.InvalidPipeline, "Stream", "localhost:1", "start the service")
}

// TestTimersOfATestStreamGoByItsClock: whether they are set by the machine's
// time or by a clock of the test's own, which begins at zero.
func TestTimersOfATestStreamGoByItsClock(t *testing.T) {
	for name, zero := range map[string]beam.EventTime{"the machine's time": beam.EventTime(time.Now().UnixMilli()), "time from zero": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := newStream().element(1, "a", "1").advance(30*time.Hour).element(2, "a", "2").advance(30*time.Hour).
				element(3, "a", "3").watermark(beam.MaxEventTime)
			r.rest = decoded
			r.do["work"] = func(c *call) error {
				return c.events(coder.GlobalWindow, func(e *item) error {
					if err := c.out(at(e.Timestamp, e.key, e.value)); err != nil || e.value != "1" {
						return err
					}
					return c.set("clock", coder.Timer{Key: str(e.key), Fire: zero + beam.EventTime((40 * time.Hour).Milliseconds()), Hold: e.Timestamp})
				}, func(_ string, timer *coder.Timer) error { return c.out(fired(timer, "fired")) })
			}
			out := r.sink("out")
			r.start(newPipe().add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
				pardo("work", stateful("timer"), "in=u_a", "out=u_b:").write("write", "out", "u_b")).mustEnd()
			if got := out.inOrder(); fmt.Sprint(got) != "[a=1 a=2 a=fired a=3]" {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestATimerIsSetByTheMachinesTime, though the script is hours ahead of it: one for
// five hours from now is due in five hours.
func TestATimerIsSetByTheMachinesTime(t *testing.T) {
	r := newRig(t)
	s := newStream().element(1, "a", "1").advance(8*time.Hour).element(2, "a", "set").advance(2*time.Hour).
		element(3, "a", "2 hours later").advance(4*time.Hour).element(4, "a", "6 hours later").watermark(beam.MaxEventTime)
	r.rest = decoded
	r.do["work"] = func(c *call) error {
		return c.events(coder.GlobalWindow, func(e *item) error {
			if e.value != "set" {
				return c.out(at(e.Timestamp, e.key, e.value))
			}
			return c.set("clock", coder.Timer{Key: str(e.key), Fire: beam.FromTime(time.Now().Add(5 * time.Hour)), Hold: e.Timestamp})
		}, func(_ string, timer *coder.Timer) error { return c.out(fired(timer, "fired")) })
	}
	out := r.sink("out")
	r.start(newPipe().add("stream", "beam:transform:teststream:v1", s.bytes(), "out=u_a:").
		pardo("work", stateful("timer"), "in=u_a", "out=u_b:").write("write", "out", "u_b")).mustEnd()
	if got := fmt.Sprint(out.inOrder()); got != "[a=1 a=2 hours later a=fired a=6 hours later]" {
		t.Errorf("%v", got)
	}
}

func TestAVirtualClockKnowsWhatIsMeant(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(1_700_000_000_000)
	c := &virtualClock{start: beam.FromTime(start), wall: func() time.Time { return start.Add(time.Second) }, t: start}
	c.jumpTo(start.Add(time.Hour))
	for _, test := range []struct {
		set  time.Duration // from the start
		told bool
		want time.Duration
	}{
		{set: 11 * time.Second, want: time.Hour + 10*time.Second},
		{set: 2 * time.Hour, want: 3*time.Hour - time.Second},
		{set: 11 * time.Second, told: true, want: time.Hour + 10*time.Second},
		{set: time.Hour + time.Minute, told: true, want: time.Hour + time.Minute},
	} {
		if got := c.meant(beam.FromTime(start.Add(test.set)), test.told).Time().Sub(start); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	if got := c.meant(5000, false).Time().Sub(start); got != 5*time.Second {
		t.Errorf("of a clock that begins at zero: %v", got)
	}
	if got := c.meant(beam.MaxEventTime, false); got != beam.MaxEventTime {
		t.Errorf("the end of time: %v", got)
	}
}
