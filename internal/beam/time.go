package beam

import (
	"math"
	"time"
)

// EventTime is a point in event time, in milliseconds since the Unix epoch,
// as on the wire (beam_runner_api.proto, standard coders). Its range is
// [MinEventTime, MaxEventTime].
type EventTime int64

const (
	// MinEventTime is BoundedWindow.TIMESTAMP_MIN_VALUE: what a watermark
	// starts at.
	MinEventTime EventTime = math.MinInt64 / 1000
	// MaxEventTime is BoundedWindow.TIMESTAMP_MAX_VALUE: the watermark of a
	// collection that gets no more elements.
	MaxEventTime EventTime = math.MaxInt64 / 1000
	// LastHold is the latest time that holds a watermark back: at MaxEventTime it
	// says that nothing comes any more.
	LastHold EventTime = MaxEventTime - 1
	// EndOfGlobalWindow is the maximum timestamp of the global window, a day
	// before MaxEventTime.
	EndOfGlobalWindow EventTime = MaxEventTime - 24*60*60*1000
)

// Add returns t+d, kept within the range of event time. Less than a
// millisecond of d is lost.
func (t EventTime) Add(d time.Duration) EventTime {
	return t.AddMillis(d.Milliseconds())
}

// AddMillis returns t+ms, kept within the range of event time.
func (t EventTime) AddMillis(ms int64) EventTime {
	sum := int64(t) + ms
	switch {
	case ms > 0 && sum < int64(t), sum > int64(MaxEventTime):
		return MaxEventTime
	case ms < 0 && sum > int64(t), sum < int64(MinEventTime):
		return MinEventTime
	}
	return EventTime(sum)
}

// Time returns t as wall time, for people to read.
func (t EventTime) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// FromTime returns the event time of a wall time, rounded down to a
// millisecond and kept within the range of event time.
func FromTime(t time.Time) EventTime {
	return min(max(EventTime(t.UnixMilli()), MinEventTime), MaxEventTime)
}

// String names the bounds and prints the rest in RFC 3339.
func (t EventTime) String() string {
	switch t {
	case MinEventTime:
		return "-inf"
	case MaxEventTime:
		return "+inf"
	case EndOfGlobalWindow:
		return "end-of-global"
	}
	return t.Time().Format("2006-01-02T15:04:05.000Z")
}
