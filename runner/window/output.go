package window

import (
	"math"
	"slices"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Block is a run of whole encoded windowed elements. It is owned by who
// receives it.
type Block struct {
	Data         []byte
	Count        int
	MinTimestamp beam.EventTime
	// Rest is what of the values of its one element is not in Data, nil if all are.
	Rest Rest
}

// Rest takes values of one key and window that do not go into its element: those
// after the first, page by page, each a run of whole encoded values. The element
// has its token in their place.
type Rest interface {
	// Page takes the next page, and keeps it.
	Page(values []byte)
	Token() []byte
}

// Output collects what a shard emits, as blocks. It serves one shard and one
// goroutine; call Flush at the end of the bundle.
type Output struct {
	// Panes receives blocks of windowed KV<k, iterable<v>>.
	Panes func(Block)
	// Compact receives blocks of windowed KV<k, iterable<acc>> to be merged:
	// each element is answered by one KV<k, acc> in the same window, by
	// AddCompacted. It may be nil if Config.Accumulators is false.
	Compact func(Block)
	// BlockSize is the size in bytes at which a block is handed over; 0 is 1 MB.
	BlockSize int
	// Rest begins what the values of a pane go to beyond RestAbove bytes; such an
	// element is a block of its own, and its iterable a state-backed one. It is nil
	// where whoever reads Panes wants all values in the element.
	Rest      func() Rest
	RestAbove int

	panes, compact blockWriter
}

const defaultBlockSize = 1 << 20

// Flush hands over the blocks begun.
func (o *Output) Flush() {
	o.panes.flush(o.Panes)
	o.compact.flush(o.Compact)
	o.panes.more, o.compact.more = 0, 0
}

func (o *Output) blockSize() int {
	if o.BlockSize <= 0 {
		return defaultBlockSize
	}
	return o.BlockSize
}

// pane begins an element of Panes, of about size bytes; the caller appends to
// the writer's buffer and then calls endPane.
func (o *Output) pane(size int) *blockWriter {
	o.panes.begin(size, o.blockSize(), o.Panes)
	return &o.panes
}

func (o *Output) endPane(ts beam.EventTime) { o.panes.end(ts, o.blockSize(), o.Panes) }

// request begins an element of Compact, as pane does of Panes.
func (o *Output) request(size int) *blockWriter {
	o.compact.begin(size, o.blockSize(), o.Compact)
	return &o.compact
}

func (o *Output) endRequest(ts beam.EventTime) { o.compact.end(ts, o.blockSize(), o.Compact) }

// blockWriter writes one block after another.
type blockWriter struct {
	buf   []byte
	count int
	least beam.EventTime
	rest  Rest
	// more is how many bytes are likely to follow.
	more int
}

// begin makes room for an element of about size bytes, in a new block if it
// would make this one much too large.
func (w *blockWriter) begin(size, blockSize int, to func(Block)) {
	if len(w.buf)+size > max(blockSize, cap(w.buf)) {
		w.flush(to)
		w.more = max(w.more, blockSize)
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, max(size, min(w.more, blockSize)))
	}
	w.buf = slices.Grow(w.buf, size)
}

// end ends an element, and the block if that is full.
func (w *blockWriter) end(ts beam.EventTime, blockSize int, to func(Block)) {
	if w.count == 0 || ts < w.least {
		w.least = ts
	}
	w.count++
	if len(w.buf) >= blockSize {
		w.flush(to)
		w.more = max(w.more, blockSize)
	}
}

func (w *blockWriter) flush(to func(Block)) {
	if w.count == 0 {
		return
	}
	to(Block{Data: w.buf, Count: w.count, MinTimestamp: w.least, Rest: w.rest})
	*w = blockWriter{more: max(w.more-len(w.buf), 0)}
}

// beginValues begins an iterable of n values. The count of the usual form has 32
// bits; more values are one block of the form for unknown length.
func (w *blockWriter) beginValues(n int) {
	if n <= math.MaxInt32 {
		w.buf = coder.AppendIterableCount(w.buf, n)
		return
	}
	w.buf = coder.AppendVarInt(coder.AppendIterableCount(w.buf, -1), int64(n))
}

// endValues ends an iterable of n values.
func (w *blockWriter) endValues(n int) {
	if n > math.MaxInt32 {
		w.buf = coder.AppendVarInt(w.buf, 0)
	}
}

// writeCell writes a cell's values as one element.
func (w *blockWriter) writeCell(a *attic, c *cell, ts beam.EventTime, p beam.Pane) {
	w.cellHeader(c, ts, p)
	w.beginValues(c.values.count)
	w.buf = c.values.appendTo(a, w.buf)
	w.endValues(c.values.count)
}

// cellHeader writes all of an element but the values.
func (w *blockWriter) cellHeader(c *cell, ts beam.EventTime, p beam.Pane) {
	w.buf = coder.AppendTimestamp(w.buf, ts)
	w.buf = append(coder.AppendIterableCount(w.buf, 1), c.raw...)
	w.buf = append(coder.AppendPane(w.buf, p), c.key.key...)
}
