package window

import (
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Compaction. Where values are accumulators, a cell that holds many asks the
// SDK to merge them:
//
//	cell: a1 .. a65 ──Output.Compact──▶ MergeAccumulators ──AddCompacted──▶ cell: m a66 a67
//
// The originals stay until the answer is there, so that a pane may fire in
// between. A request is withdrawn if the cell drops these values (a firing
// that discards, the end of the window) or moves them (a merge); its answer,
// which comes all the same, is then dropped. For a key and window one request
// is under way at a time: so the answer tells which request it is for.

// request is one compaction under way.
type request struct {
	// cell is whose values are merged; nil if the request is withdrawn.
	cell *cell
	// The first count values, which are the first chunks, are under way.
	count, chunks int
}

// requests are those under way, by encoded window and key.
type requests map[string]*request

func requestID(window string, key []byte) string { return window + string(key) }

func (r requests) size() int64 { return int64(len(r)) * 120 }

// withdraw makes the cell's request, if there is one, answer to nobody.
func (c *cell) withdraw() {
	if c.request != nil {
		c.request.cell = nil
		c.request = nil
	}
}

// compact asks for a merge if the cell holds too many accumulators.
func (w *incremental) compact(c *cell, out *Output) {
	if !w.s.g.Accumulators || out.Compact == nil || c.request != nil || c.values.count <= w.s.g.CompactAbove {
		return
	}
	id := requestID(c.raw, []byte(c.key.key))
	if w.requests[id] != nil {
		return
	}
	c.request = &request{cell: c, count: c.values.count, chunks: c.values.seal()}
	w.requests[id] = c.request
	b := out.request(len(c.key.key) + c.values.size + 64)
	b.writeCell(w.attic, c, c.end, beam.NoFiring)
	out.endRequest(c.end)
}

// addCompacted takes one answer.
func (w *incremental) addCompacted(e *coder.Element, key, value []byte, out *Output) {
	id := requestID(string(e.Windows), key)
	r := w.requests[id]
	if r == nil {
		return
	}
	delete(w.requests, id)
	c := r.cell
	if c == nil {
		return
	}
	c.request = nil
	w.bytes -= c.values.held()
	c.values.replace(w.attic, r.count, r.chunks, value)
	w.bytes += c.values.held()
	w.compact(c, out)
}
