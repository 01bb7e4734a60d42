package window

import (
	"encoding/binary"
	"maps"
	"slices"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// The state of a shard, as bytes. All numbers are varints, signed ones zigzag;
// bytes have their length before them.
//
//	shard   version 1, way (0 append, 1 incremental), watermark, dropped late, dropped closed, body
//	append  count of buckets; each: window, hold, count of segments
//	          segment: watermark, count, bytes of the elements
//	incremental  count of keys; each: key, count of cells
//	          cell: window, flags, fresh, next index, next non-speculative index, stamp,
//	                unless closed: the nodes' flags and numbers, count of values, values,
//	                with a request: its count of values, and of bytes
//	        count of withdrawn requests; each: its id

const (
	stateVersion   = 1
	wayAppend      = 0
	wayIncremental = 1
)

// AppendState appends the whole state of the shard, for RestoreShard. It fails if
// some of it that is on disk cannot be read.
func (s *Shard) AppendState(dst []byte) ([]byte, error) {
	dst = append(dst, stateVersion, byte(bit(!s.g.appending)))
	dst = binary.AppendVarint(dst, int64(s.wm))
	dst = binary.AppendUvarint(dst, uint64(s.droppedLate))
	dst = binary.AppendUvarint(dst, uint64(s.droppedClosed))
	return s.appendState(dst)
}

// RestoreShard returns a shard with the state that AppendState gave, for an
// equal configuration.
func (g *Grouping) RestoreShard(state []byte) (*Shard, error) {
	s := g.NewShard()
	r := &reader{b: state}
	if r.byte() != stateVersion || r.byte() != byte(bit(!g.appending)) {
		return nil, badState()
	}
	s.wm = r.time()
	s.droppedLate, s.droppedClosed = int64(r.uint()), int64(r.uint())
	if err := s.restore(r); err != nil {
		return nil, err
	}
	if r.bad || len(r.b) > 0 {
		return nil, badState()
	}
	return s, nil
}

func badState() error {
	return &beam.Error{Code: beam.BadData, What: "the state of a grouping's shard does not parse"}
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// reader reads what stands in a state. After a mistake it is bad, and gives
// zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) time() beam.EventTime {
	return min(max(beam.EventTime(r.int()), beam.MinEventTime), beam.MaxEventTime)
}

// count reads how many things follow, each of a byte at least.
func (r *reader) count() int {
	v := r.uint()
	if v > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(v)
}

// number reads a count of what may take no bytes.
func (r *reader) number() int { return int(r.uint() & (1<<62 - 1)) }

func (r *reader) bytes() []byte {
	n := r.count()
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// err is what restoring returns.
func (r *reader) err() error {
	if r.bad {
		return badState()
	}
	return nil
}

// The append way.

func (a *appending) appendState(dst []byte) ([]byte, error) {
	var buf []byte
	dst = binary.AppendUvarint(dst, uint64(len(a.buckets)))
	for _, raw := range slices.Sorted(maps.Keys(a.buckets)) {
		b := a.buckets[raw]
		dst = binary.AppendVarint(appendBytes(dst, raw), int64(b.least))
		dst = binary.AppendUvarint(dst, uint64(len(b.segments)))
		for i := range b.segments {
			var err error
			if buf, err = a.s.g.load(b.segments[i].held, buf); err != nil {
				return nil, err
			}
			dst = a.s.g.appendSegment(dst, &b.segments[i], buf)
			if b.segments[i].away.Empty() {
				buf = nil // it is the segment's
			}
		}
	}
	return dst, nil
}

// appendSegment appends a segment in some held bytes.
func (g *Grouping) appendSegment(dst []byte, s *segment, data []byte) []byte {
	dst = binary.AppendVarint(dst, int64(s.wm))
	dst = binary.AppendUvarint(dst, uint64(s.count))
	if s.offsets == nil {
		return appendBytes(dst, data)
	}
	var own []byte
	var e coder.Element
	for _, at := range s.offsets {
		if _, err := g.Input.Scan(data[at:], &e); err == nil { // it was scanned before
			own = append(own, e.Raw...)
		}
	}
	return appendBytes(dst, own)
}

func (a *appending) restore(r *reader) error {
	for range r.count() {
		raw := r.bytes()
		if n, err := a.s.g.window.Skip(raw); err != nil || n != len(raw) || a.buckets[string(raw)] != nil {
			return badState()
		}
		b, err := a.bucket(raw)
		if err != nil || b == nil {
			return badState()
		}
		b.least = r.time()
		a.holds.set(b, int64(b.least))
		for range r.count() {
			if err := a.restoreSegment(b, r); err != nil {
				return err
			}
		}
	}
	return r.err()
}

func (a *appending) restoreSegment(b *bucket, r *reader) error {
	s := segment{held: &held{refs: 1}, wm: r.time(), count: r.number()}
	s.data = slices.Clone(r.bytes())
	s.size = len(s.data)
	var e coder.Element
	count := 0
	for at := 0; at < len(s.data); count++ {
		n, err := a.s.g.Input.Scan(s.data[at:], &e)
		if err != nil || n == 0 {
			return badState()
		}
		at += n
	}
	if count != s.count {
		return badState()
	}
	b.segments = append(b.segments, s)
	b.count, b.bytes = b.count+count, b.bytes+len(s.data)
	a.bytes += int64(len(s.data))
	return r.err()
}

// The incremental way.

func (w *incremental) appendState(dst []byte) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(w.keyCount()))
	w.eachKey(slices.Sorted(maps.Keys(w.keys)), func(k *keyed) {
		dst = appendBytes(dst, k.key)
		dst = binary.AppendUvarint(dst, uint64(len(k.closed)+len(k.cells)))
		for _, raw := range slices.Sorted(maps.Keys(k.closed)) {
			dst = k.closed[raw].appendState(w.attic, dst)
		}
		for _, c := range k.cells {
			dst = c.appendState(w.attic, dst)
		}
	})
	var withdrawn []string
	for id, r := range w.requests {
		if r.cell == nil {
			withdrawn = append(withdrawn, id)
		}
	}
	slices.Sort(withdrawn)
	dst = binary.AppendUvarint(dst, uint64(len(withdrawn)))
	for _, id := range withdrawn {
		dst = appendBytes(dst, id)
	}
	return dst, w.failure()
}

// The flags of a cell, and those of a node.
const (
	flagEnded = 1 << iota
	flagLate
	flagClosed
	flagStamp
	flagRequest
)

const (
	flagSet = 1 << iota
	flagReached
	flagFinished
	flagPassed
)

// appendHead appends all of a cell but its values.
func (c *cell) appendHead(dst []byte) []byte {
	flags := bit(c.ended)*flagEnded | bit(c.late)*flagLate | bit(c.closed)*flagClosed |
		bit(c.stamp.set)*flagStamp | bit(c.request != nil)*flagRequest
	dst = append(appendBytes(dst, c.raw), byte(flags))
	dst = binary.AppendUvarint(dst, uint64(c.fresh))
	dst = binary.AppendUvarint(dst, uint64(c.panes.index))
	dst = binary.AppendUvarint(dst, uint64(c.panes.nonSpeculative))
	dst = binary.AppendVarint(dst, int64(c.stamp.at))
	if c.closed {
		return dst
	}
	for i := range c.trig {
		dst = c.trig[i].appendState(dst)
	}
	return dst
}

func (c *cell) appendState(a *attic, dst []byte) []byte {
	if dst = c.appendHead(dst); c.closed {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(c.values.count))
	dst = binary.AppendUvarint(dst, uint64(c.values.size))
	dst = c.values.appendTo(a, dst)
	if c.request != nil {
		dst = binary.AppendUvarint(dst, uint64(c.request.count))
		dst = binary.AppendUvarint(dst, uint64(c.request.size()))
	}
	return dst
}

// size is that of the values under way.
func (r *request) size() int {
	n := 0
	for _, chunk := range r.cell.values.full[:r.chunks] {
		n += chunk.size
	}
	return n
}

func (st *nodeState) appendState(dst []byte) []byte {
	flags := bit(st.set)*flagSet | bit(st.reached)*flagReached | bit(st.finished)*flagFinished | bit(st.passed)*flagPassed
	return binary.AppendVarint(append(dst, byte(flags)), st.n)
}

func (w *incremental) restore(r *reader) error {
	for n := range r.count() {
		key := r.bytes()
		if n, err := w.s.g.key.Skip(key); err != nil || n != len(key) || w.keys[string(key)] != nil {
			return badState()
		}
		k := newKeyed(key)
		w.keys[k.key] = k
		w.bytes += keyFootprint(k.key)
		cells := r.count()
		for range cells {
			if err := w.restoreCell(k, r, (*incremental).restoreValues); err != nil {
				return err
			}
		}
		if n%fetchSome == 0 {
			w.breathe()
		}
		if cells == 0 {
			return badState()
		}
	}
	for range r.count() {
		w.requests[string(r.bytes())] = &request{}
	}
	return r.err()
}

// valuesReader reads the values of a cell, of which the first may be under way.
type valuesReader func(w *incremental, c *cell, r *reader, request bool) error

func (w *incremental) restoreCell(k *keyed, r *reader, values valuesReader) error {
	raw := r.bytes()
	if n, err := w.s.g.window.Skip(raw); err != nil || n != len(raw) {
		return badState()
	}
	x, err := w.extent(raw)
	if err != nil {
		return badState()
	}
	if w.s.g.sessions() {
		x = w.s.g.newSession(x.bounds)
	}
	if k.find(x) != nil {
		return badState()
	}
	flags := r.byte()
	c := w.open(k, x)
	c.ended, c.late = flags&flagEnded != 0, flags&flagLate != 0
	c.fresh = r.number()
	c.panes = panes{index: int64(r.number()), nonSpeculative: int64(r.number())}
	c.stamp = stamp{at: r.time(), set: flags&flagStamp != 0}
	w.events.set(c, int64(c.nextEvent()))
	if flags&flagClosed != 0 {
		w.close(c)
		return r.err()
	}
	for i := range c.trig {
		c.trig[i] = r.node()
	}
	if err := values(w, c, r, flags&flagRequest != 0); err != nil {
		return err
	}
	w.settle(c)
	return r.err()
}

func (r *reader) node() nodeState {
	flags := r.byte()
	return nodeState{
		n:        r.int(),
		set:      flags&flagSet != 0,
		reached:  flags&flagReached != 0,
		finished: flags&flagFinished != 0,
		passed:   flags&flagPassed != 0,
	}
}

func (w *incremental) restoreValues(c *cell, r *reader, request bool) error {
	count, b := r.number(), r.bytes()
	w.bytes += int64(len(b))
	if request {
		return w.restoreRequest(c, r, count, b)
	}
	var ok bool
	if c.values, ok = w.s.g.values(count, b); !ok {
		return badState()
	}
	return r.err()
}

// restoreRequest restores count values, the first of which are under way.
func (w *incremental) restoreRequest(c *cell, r *reader, count int, b []byte) error {
	under, size := r.number(), r.number()
	if under > count || size > len(b) {
		return badState()
	}
	first, ok := w.s.g.values(under, b[:size])
	rest, alsoOK := w.s.g.values(count-under, b[size:])
	if !ok || !alsoOK {
		return badState()
	}
	c.request = &request{cell: c, count: under, chunks: first.seal()}
	first.join(&rest)
	c.values = first
	w.requests[requestID(c.raw, []byte(c.key.key))] = c.request
	return r.err()
}

// values are count encoded values, copied; false if b is not these.
func (g *Grouping) values(count int, b []byte) (v values, ok bool) {
	for range count {
		n, err := g.value.Skip(b)
		if err != nil {
			return v, false
		}
		if n == 0 { // and so are all
			break
		}
		v.add(b[:n])
		b = b[n:]
	}
	v.count = count
	return v, len(b) == 0
}
