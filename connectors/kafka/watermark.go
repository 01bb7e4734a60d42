package kafka

import (
	"time"

	"fresnel/internal/beam"
)

// policy is the timestamp policy of a read: what the event time of a record
// is, and what the watermark of a partition promises (Java's
// TimestampPolicyFactory; xlang.md section 2).
type policy string

const (
	processingTime policy = "ProcessingTime"
	createTime     policy = "CreateTime"
	appendTime     policy = "LogAppendTime"
)

// appendDelay is how far behind now the watermark of an idle partition stays
// under LogAppendTime: the broker's clock stamps a record before we see it.
const appendDelay = 2 * time.Second

// watermark follows one partition.
type watermark struct {
	policy policy
	// latest is the largest event time seen, or the last under LogAppendTime.
	latest beam.EventTime
	// promised is what was reported last: it never moves back.
	promised beam.EventTime
}

func newWatermark(p policy) watermark {
	return watermark{policy: p, latest: beam.MinEventTime, promised: beam.MinEventTime}
}

// stamp returns the event time of a record that is read now.
func (w *watermark) stamp(r *record, now beam.EventTime) beam.EventTime {
	if w.policy == processingTime {
		return now
	}
	ts := min(max(beam.EventTime(r.timestamp), beam.MinEventTime), beam.EndOfGlobalWindow)
	if ts > w.latest || w.policy == appendTime {
		w.latest = ts
	}
	return ts
}

// promise returns the watermark at now. idleSince is the time of the last
// check that found nothing behind the position; zero while there is a backlog.
func (w *watermark) promise(now beam.EventTime, idleSince time.Time) beam.EventTime {
	next := w.latest
	switch {
	case w.policy == processingTime:
		next = now
	case w.policy == createTime && !idleSince.IsZero():
		next = max(next, beam.FromTime(idleSince))
	case w.policy == appendTime && !idleSince.IsZero():
		next = max(next, beam.FromTime(idleSince.Add(-appendDelay)))
	}
	w.promised = max(w.promised, min(next, now))
	return w.promised
}
