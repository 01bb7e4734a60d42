package window

import (
	"fmt"
	"math"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// instant is a processing time in microseconds since the epoch: finer than the
// transforms' milliseconds, and wide enough for any virtual clock.
type instant int64

const never = instant(math.MaxInt64)

func instantOf(t time.Time) instant { return instant(t.UnixMicro()) }

func (i instant) time() time.Time { return time.UnixMicro(int64(i)) }

// delay is one TimestampTransform: it adds, or rounds up to the next of the
// points that are a period apart, one of them at offset. All are microseconds.
type delay struct {
	add, period, offset int64
}

// maxDelay bounds the transforms, so that sums of a few cannot overflow.
const maxDelay = math.MaxInt64 / 16 / 1000

func readDelays(transforms []*pipepb.TimestampTransform) ([]delay, error) {
	var delays []delay
	for _, p := range transforms {
		d, err := readDelay(p)
		if err != nil {
			return nil, err
		}
		delays = append(delays, d)
	}
	return delays, nil
}

func readDelay(p *pipepb.TimestampTransform) (delay, error) {
	switch v := p.GetTimestampTransform().(type) {
	case *pipepb.TimestampTransform_Delay_:
		ms := v.Delay.GetDelayMillis()
		if ms < 0 || ms > maxDelay {
			return delay{}, invalid("a trigger with a delay of %d ms", ms)
		}
		return delay{add: ms * 1000}, nil
	case *pipepb.TimestampTransform_AlignTo_:
		period, offset := v.AlignTo.GetPeriod(), v.AlignTo.GetOffset()
		if period <= 0 || period > maxDelay || offset < -maxDelay || offset > maxDelay {
			return delay{}, invalid("a trigger aligned to %d ms at %d ms", period, offset)
		}
		return delay{period: period * 1000, offset: offset % period * 1000}, nil
	}
	return delay{}, invalid("a trigger's timestamp transform is missing, or of an unknown kind")
}

// apply moves t. As in Java, a point of the grid stays where it is.
func (d delay) apply(t instant) instant {
	if d.period == 0 {
		return later(t, d.add)
	}
	past := (int64(t)%d.period - d.offset) % d.period
	switch {
	case past == 0:
		return t
	case past < 0:
		return later(t, -past)
	}
	return later(t, d.period-past)
}

// later returns t+add, short of never.
func later(t instant, add int64) instant {
	if int64(t) > int64(never)-1-add {
		return never - 1
	}
	return t + instant(add)
}

// due is when a trigger fires whose first element arrived at now.
func (n *node) due(now instant) instant {
	for _, d := range n.delay {
		now = d.apply(now)
	}
	return now
}

// String prints the transform as plans do.
func (d delay) String() string {
	if d.period == 0 {
		return fmt.Sprintf("+%s", time.Duration(d.add)*time.Microsecond)
	}
	return fmt.Sprintf("aligned to %s", time.Duration(d.period)*time.Microsecond)
}
