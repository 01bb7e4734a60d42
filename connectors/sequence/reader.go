package sequence

import (
	"context"
	"encoding/binary"
	"math"
	"math/big"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// reader implements connectors.Reader.
type reader struct {
	spec *spec
	at   position
}

// Read implements connectors.Reader.
func (r *reader) Read(ctx context.Context, maxBytes int, maxWait time.Duration) (connectors.Batch, error) {
	now := time.Now()
	if wait := r.dueAt(r.at.next).Sub(now); wait > 0 && !r.ended(now) {
		sleep(ctx, min(wait, maxWait, max(0, r.endsAt().Sub(now))))
		now = time.Now()
	}
	out := connectors.Batch{MinTimestamp: beam.MaxEventTime, Watermark: beam.MinEventTime, BacklogBytes: -1, BacklogRecords: -1}
	at := beam.MinEventTime
	if r.spec.timed() {
		at = beam.FromTime(now)
		out.Watermark = at
	}
	if !r.ended(now) {
		r.append(&out, at, r.dueBy(now), maxBytes)
	}
	if out.Count > 0 {
		out.MinTimestamp = at
	}
	if r.ended(now) {
		out.Done, out.Watermark = true, beam.MaxEventTime
	}
	out.Position = r.at.encode()
	return out, nil
}

// Close implements connectors.Reader.
func (r *reader) Close() error { return nil }

// append adds the numbers before due that there is room for.
func (r *reader) append(b *connectors.Batch, at beam.EventTime, due int64, maxBytes int) {
	header := coder.AppendHeader(nil, at, 1, nil, beam.NoFiring)
	for ; r.at.next < due && len(b.Elements) < maxBytes; r.at.next++ {
		b.Elements = binary.AppendUvarint(append(b.Elements, header...), uint64(r.at.next))
		b.Count++
	}
}

// ended tells whether there is nothing more.
func (r *reader) ended(now time.Time) bool {
	return r.at.next >= r.stop() || !now.Before(r.endsAt())
}

// stop is the first number that never comes.
func (r *reader) stop() int64 {
	if r.spec.Stop != nil {
		return *r.spec.Stop
	}
	return math.MaxInt64
}

// endsAt is when the sequence ends, whatever has come.
func (r *reader) endsAt() time.Time {
	if r.spec.MaxTime == nil {
		return time.UnixMilli(math.MaxInt64)
	}
	return time.UnixMilli(r.at.began + min(*r.spec.MaxTime, math.MaxInt64-r.at.began))
}

// dueAt is when number n is due: the first at the beginning, and as many as the
// rate says in each period.
func (r *reader) dueAt(n int64) time.Time {
	if r.spec.Rate == 0 {
		return time.UnixMilli(r.at.began)
	}
	after := scale(n-r.spec.Start, r.spec.Period, r.spec.Rate)
	return time.UnixMilli(r.at.began + min(after, math.MaxInt64-r.at.began))
}

// dueBy is the first number that is not due yet.
func (r *reader) dueBy(now time.Time) int64 {
	if r.spec.Rate == 0 {
		return r.stop()
	}
	due := scale(max(0, now.UnixMilli()-r.at.began), r.spec.Rate, r.spec.Period)
	return min(r.stop(), r.spec.Start+min(due, math.MaxInt64-1-r.spec.Start)+1)
}

// scale is n * by / per, rounded down, or the greatest number if it is more.
func scale(n, by, per int64) int64 {
	product := new(big.Int).Mul(big.NewInt(n), big.NewInt(by))
	if product.Quo(product, big.NewInt(per)); product.IsInt64() {
		return product.Int64()
	}
	return math.MaxInt64
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
