package runner

import (
	"maps"
	"slices"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
)

// scriptExecutor plays a TestStream: one event for each bundle, and the engine
// starts one only when nothing else can happen.
type scriptExecutor struct {
	native
	events []*pipepb.TestStreamPayload_Event
	next   int // changed by commits only
	// remote is where events come from that are not in the payload.
	remote *fnapi.TestStreamEvents
}

func (j *job) newScript(s *stage) *scriptExecutor {
	x := &scriptExecutor{native: native{job: j, stage: s}, events: s.plan.TestStream.Payload.GetEvents()}
	x.work = x.play
	x.end = func() {
		if x.remote != nil {
			x.remote.Close()
		}
	}
	return x
}

// event returns the next event, nil after the last.
func (x *scriptExecutor) event() (*pipepb.TestStreamPayload_Event, error) {
	stream := x.stage.plan.TestStream
	if x.next < len(x.events) {
		return x.events[x.next], nil
	}
	endpoint := stream.Payload.GetEndpoint().GetUrl()
	if endpoint == "" {
		return nil, nil
	}
	if x.remote == nil {
		remote, err := fnapi.DialTestStream(x.job.ctx, endpoint, slices.Sorted(maps.Keys(stream.Tags)))
		if err != nil {
			return nil, err
		}
		x.remote = remote
	}
	ev, err := x.remote.Next()
	if ev != nil {
		// It is the last of a list until it is committed.
		x.events, x.next = []*pipepb.TestStreamPayload_Event{ev}, 0
	}
	return ev, err
}

// play plays the next event.
func (x *scriptExecutor) play(b engine.Bundle, c *collector) error {
	var ev *pipepb.TestStreamPayload_Event
	if !b.Drain {
		var err error
		if ev, err = x.event(); err != nil {
			return err
		}
	}
	if ev == nil {
		c.out.Sources = []engine.SourceProgress{{Output: -1, Watermark: beam.MaxEventTime, Done: true}}
		return nil
	}
	switch {
	case ev.GetWatermarkEvent() != nil:
		w := ev.GetWatermarkEvent()
		c.out.Sources = []engine.SourceProgress{{Output: x.output(w.GetTag()), Watermark: clamp(w.GetNewWatermark())}}
	case ev.GetProcessingTimeEvent() != nil:
		// The script rests until then; the clock walks there through every timer
		// that is due before.
		advance := time.Duration(ev.GetProcessingTimeEvent().GetAdvanceDuration()) * time.Millisecond
		c.out.Sources = []engine.SourceProgress{{Output: -1, Watermark: beam.MinEventTime, NotBefore: b.Now.Add(advance)}}
	case ev.GetElementEvent() != nil:
		if err := x.add(ev.GetElementEvent(), c); err != nil {
			return err
		}
	}
	next := x.next + 1
	c.fx.apply = func() { x.next = next }
	return nil
}

// output is the stage output of a tag; a stream of one output has it whatever
// its tag.
func (x *scriptExecutor) output(tag string) int {
	if i, ok := x.stage.plan.TestStream.Tags[tag]; ok {
		return i
	}
	return 0
}

func (x *scriptExecutor) add(ev *pipepb.TestStreamPayload_Event_AddElements, c *collector) error {
	out := x.output(ev.GetTag())
	for _, e := range ev.GetElements() {
		el := coder.AppendHeader(nil, clamp(e.GetTimestamp()), 1, nil, beam.NoFiring)
		if x.stage.plan.TestStream.Prefix {
			el = coder.AppendLengthPrefixed(el, e.GetEncodedElement())
		} else {
			el = append(el, e.GetEncodedElement()...)
		}
		if err := c.add(out, el); err != nil {
			return err
		}
	}
	return nil
}

func clamp(ms int64) beam.EventTime {
	return min(max(beam.EventTime(ms), beam.MinEventTime), beam.MaxEventTime)
}
