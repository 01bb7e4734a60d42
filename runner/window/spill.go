package window

import (
	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// When memory is short a shard of the append way writes the bytes that its
// windows hold to disk; what it knows of them, a few bytes for each segment,
// stays. A window that closes reads them again, one segment after the other, once
// to find its keys and once for each batch of its output.

const (
	// spillLeast is the size of bytes that are worth a place on disk, relieveLeast
	// what a shard must hold to be asked for it.
	spillLeast   = 16 << 10
	relieveLeast = 1 << 20
)

// The incremental way moves values and keys (far.go).

// Relieve moves what it can of what the shard holds to Config.Spill and Config.Temp. Where
// nothing can be written it stays where it is.
func (s *Shard) Relieve() {
	if s.g.Spill != nil {
		s.relieve(s.g.Spill)
	}
}

func (a *appending) relieve(to *store.Spill) {
	if a.bytes < relieveLeast {
		return
	}
	for _, b := range a.buckets {
		for i := range b.segments {
			h := b.segments[i].held
			if h == b.tail || h.data == nil || h.size < spillLeast {
				continue
			}
			at, err := to.Write(h.data)
			if err != nil {
				return
			}
			a.bytes -= int64(h.size)
			a.awayBytes += int64(at.Size())
			*h = held{refs: h.refs, away: at}
		}
	}
}

// release gives up what is on disk of a bucket that was dropped, unless another
// one shares it.
func (a *appending) release(b *bucket) {
	for _, s := range b.segments {
		if s.refs == 0 && !s.away.Empty() {
			a.awayBytes -= int64(s.away.Size())
			a.s.g.Spill.Free(s.away)
			s.away = store.Extent{}
		}
	}
}

// load returns the bytes of a segment, read into the grouper's buffer if they are
// on disk: valid until the next call.
func (p *grouper) load(s *segment) ([]byte, error) {
	data, err := p.g.load(s.held, p.buf)
	if err == nil && !s.away.Empty() {
		p.buf = data
	}
	return data, err
}

// load returns held bytes, read into buf if they are on disk and it has room.
func (g *Grouping) load(h *held, buf []byte) ([]byte, error) {
	if h.away.Empty() {
		return h.data, nil
	}
	data, err := g.Spill.Read(h.away, buf)
	if err != nil {
		return nil, &beam.Error{Code: beam.Internal, What: "what a GroupByKey keeps on disk is lost", Cause: err}
	}
	return data, nil
}
