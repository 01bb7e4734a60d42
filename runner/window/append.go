package window

import (
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/store"
)

// The append way: nothing is known of a key until its window closes.
//
//	block ──▶ held ◀── segment ◀── bucket (a window)
//	            ▲                    ▲
//	            └───── segment ◀── bucket (another)
//
// A block is kept as it came, and each window has segments that say which of
// its elements are the window's: all, or those at some offsets. What is small
// is copied instead, so that a few elements do not keep a block alive, nor a
// small block cost as much as it holds. When a window closes, hash.go groups
// its segments.

// held is element bytes that segments share.
type held struct {
	data []byte
	refs int
	// size is what they take of memory.
	size int
	// away is where they are, if they are on disk.
	away store.Extent
}

// segment is the part of a window in some held bytes.
type segment struct {
	*held
	// offsets are where the window's elements begin; nil is all elements.
	offsets []uint32
	count   int
	// wm was the watermark when the elements came: those behind it do not
	// count for the timestamp of their pane.
	wm beam.EventTime
}

// bucket is what a shard holds of one window.
type bucket struct {
	raw      string // the encoded window
	end      beam.EventTime
	segments []segment
	count    int
	bytes    int
	// tail is the held bytes that small parts are copied to, nil if none is open.
	tail *held
	// least is the hold of the elements, end if they have none.
	least beam.EventTime

	// touched are the elements of the block that is being added.
	touched      []span
	touchedBytes int

	due, held slot
}

// span is where an element is in a block, and how much of it is windows.
type span struct{ at, size, windows uint32 }

type appending struct {
	s       *Shard
	buckets map[string]*bucket
	// last are the buckets of the last element, without those of dead windows, and
	// lastRaw its windows: neighbours mostly share them.
	last    []*bucket
	lastRaw []byte
	due     schedule[*bucket]
	holds   schedule[*bucket]
	touched []*bucket
	// bytes are those in memory, awayBytes those on disk.
	bytes, awayBytes int64
}

const (
	// maxPart is where a block is parted, as offsets have 32 bits.
	maxPart = 1 << 30
	// maxElement is the size of the largest element.
	maxElement = 1 << 31
	// A tail has room for a quarter of what its window has, within these bounds.
	minTail = 512
	maxTail = 256 << 10
	// sharedPart and sharedSize: below one part in so many of a block, or below
	// so many bytes, elements are copied: to share would cost more.
	sharedPart = 4
	sharedSize = 4 << 10
	// bucketSize is about what a bucket takes beside its elements.
	bucketSize = 256
)

func newAppending(s *Shard) *appending {
	return &appending{
		s:       s,
		buckets: make(map[string]*bucket),
		due:     schedule[*bucket]{slot: func(b *bucket) *slot { return &b.due }},
		holds:   schedule[*bucket]{slot: func(b *bucket) *slot { return &b.held }},
	}
}

func (a *appending) add(block []byte, _ instant, _ *Output) error {
	for len(block) > 0 {
		n, err := a.addPart(block)
		if err != nil {
			return err
		}
		block = block[n:]
	}
	return nil
}

// addPart adds the elements at the start of block.
func (a *appending) addPart(block []byte) (int, error) {
	var e coder.Element
	at, count, plain := 0, 0, true
	for at < len(block) && at < maxPart {
		n, err := a.s.g.Input.Scan(block[at:], &e)
		if err != nil {
			return 0, badBlock(err)
		}
		if n >= maxElement {
			return 0, &beam.Error{Code: beam.ResourceExhausted, What: "an element of a GroupByKey is larger than 2 GiB"}
		}
		if err := a.route(&e, span{uint32(at), uint32(n), uint32(len(e.Windows))}); err != nil {
			return 0, err
		}
		plain = plain && e.WindowCount == 1
		at, count = at+n, count+1
	}
	a.settle(block[:at:at], count, plain)
	return at, nil
}

// route notes the element in the bucket of each of its windows.
func (a *appending) route(e *coder.Element, at span) error {
	if len(a.last) != e.WindowCount || string(a.lastRaw) != string(e.Windows) {
		if err := a.find(e); err != nil {
			return err
		}
	}
	for _, b := range a.last {
		a.touch(b, e.Timestamp, at)
	}
	return nil
}

// find makes last the buckets of an element.
func (a *appending) find(e *coder.Element) error {
	a.last, a.lastRaw = a.last[:0], append(a.lastRaw[:0], e.Windows...)
	raw := e.Windows
	for range e.WindowCount {
		n, err := a.s.g.window.Skip(raw)
		if err != nil {
			return badBlock(err)
		}
		b, err := a.bucket(raw[:n])
		if err != nil {
			return err
		}
		if b != nil {
			a.last = append(a.last, b)
		}
		raw = raw[n:]
	}
	return nil
}

func (a *appending) touch(b *bucket, ts beam.EventTime, at span) {
	if len(b.touched) == 0 {
		a.touched = append(a.touched, b)
	}
	b.touched = append(b.touched, at)
	b.touchedBytes += int(at.size)
	if a.s.g.stamps() && ts >= a.s.wm && ts < b.least {
		b.least = ts
	}
}

// bucket returns the bucket of a window, nil if the window is dead.
func (a *appending) bucket(raw []byte) (*bucket, error) {
	if b := a.buckets[string(raw)]; b != nil {
		return b, nil
	}
	end, err := a.s.g.maxTimestamp(raw)
	if err != nil {
		return nil, err
	}
	if end < a.s.wm {
		a.s.droppedLate++
		return nil, nil
	}
	b := &bucket{raw: string(raw), end: end, least: end}
	a.buckets[b.raw] = b
	a.due.set(b, int64(end))
	a.bytes += bucketSize
	return b, nil
}

// settle gives the buckets that were touched their part of the block.
func (a *appending) settle(block []byte, count int, plain bool) {
	h := &held{data: block, size: len(block)}
	for _, b := range a.touched {
		switch {
		case b.touchedBytes < max(len(block)/sharedPart, sharedSize):
			a.copy(b, block)
		case plain && len(b.touched) == count:
			b.share(h, nil, a.s.wm)
		default:
			b.share(h, offsets(b.touched), a.s.wm)
		}
		b.count += len(b.touched)
		b.touched, b.touchedBytes = b.touched[:0], 0
		a.holds.set(b, int64(b.least))
	}
	if h.refs > 0 {
		a.bytes += int64(len(block))
	}
	clear(a.touched)
	a.touched = a.touched[:0]
}

// addWhole adds a block of elements in the global window.
func (a *appending) addWhole(block []byte, count int, least beam.EventTime) error {
	b, err := a.bucket(nil)
	if b == nil {
		a.s.droppedLate += int64(count - 1) // one is counted
		return err
	}
	if a.s.g.stamps() {
		b.least = min(b.least, least)
	}
	if len(block) < sharedSize {
		a.openTail(b, len(block))
		b.tail.data = append(b.tail.data, block...)
		b.segments[len(b.segments)-1].count += count
	} else {
		a.bytes += int64(len(block))
		b.segments = append(b.segments, segment{held: &held{data: block, refs: 1, size: len(block)}, count: count, wm: a.s.wm})
		b.tail = nil
	}
	b.count += count
	b.bytes += len(block)
	a.holds.set(b, int64(b.least))
	return nil
}

func offsets(spans []span) []uint32 {
	at := make([]uint32, len(spans))
	for i, s := range spans {
		at[i] = s.at
	}
	return at
}

// share adds the elements touched as a segment of h.
func (b *bucket) share(h *held, offsets []uint32, wm beam.EventTime) {
	h.refs++
	b.bytes += b.touchedBytes
	b.segments = append(b.segments, segment{held: h, offsets: offsets, count: len(b.touched), wm: wm})
	b.tail = nil
}

// ownBytes is how much the elements touched take without their other windows.
func (b *bucket) ownBytes() int {
	own := b.touchedBytes + len(b.touched)*len(b.raw)
	for _, s := range b.touched {
		own -= int(s.windows)
	}
	return own
}

// copy adds the elements touched to the bucket's tail, as if they were in no
// other window.
func (a *appending) copy(b *bucket, block []byte) {
	own := b.ownBytes()
	a.openTail(b, own)
	last := &b.segments[len(b.segments)-1]
	for _, s := range b.touched {
		b.tail.data = coder.AppendInWindow(b.tail.data, block[s.at:s.at+s.size], int(s.windows), b.raw)
	}
	last.count += len(b.touched)
	b.bytes += own
}

// openTail makes the last segment one with room for elements of some bytes.
func (a *appending) openTail(b *bucket, room int) {
	if b.tail != nil && cap(b.tail.data)-len(b.tail.data) >= room &&
		(!a.s.g.stamps() || b.segments[len(b.segments)-1].wm == a.s.wm) {
		return
	}
	size := max(room, min(max(b.bytes/4, minTail), maxTail))
	b.tail = &held{data: make([]byte, 0, size), refs: 1, size: size}
	b.segments = append(b.segments, segment{held: b.tail, wm: a.s.wm})
	a.bytes += int64(size)
}

// fireEventTime closes the windows that the watermark has passed.
func (a *appending) fireEventTime(out *Output) error {
	for {
		b, end, ok := a.due.first()
		if !ok || beam.EventTime(end) >= a.s.wm {
			return nil
		}
		a.drop(b)
		if err := a.s.g.group(b, out); err != nil {
			return err
		}
		a.release(b)
	}
}

// drop forgets a bucket.
func (a *appending) drop(b *bucket) {
	a.due.remove(b)
	a.holds.remove(b)
	delete(a.buckets, b.raw)
	clear(a.last)
	a.last = a.last[:0]
	a.bytes -= bucketSize
	for _, s := range b.segments {
		if s.refs--; s.refs == 0 {
			a.bytes -= int64(s.held.size)
		}
	}
}

func (a *appending) nextEventTime() (beam.EventTime, bool) {
	_, end, ok := a.due.first()
	return beam.EventTime(end), ok
}

func (a *appending) hold() beam.EventTime {
	_, least, ok := a.holds.first()
	if !ok {
		return beam.MaxEventTime
	}
	return beam.EventTime(least)
}

func (a *appending) size() int64   { return a.bytes }
func (a *appending) away() int64   { return a.awayBytes }
func (a *appending) keyCount() int { return 0 }

// failure: what goes wrong is told at once.
func (a *appending) failure() error { return nil }

// Nothing of the append way waits for processing time or for answers.

func (a *appending) fireProcessingTime(instant, *Output)                   {}
func (a *appending) nextProcessingTime() (instant, bool)                   { return never, false }
func (a *appending) addCompacted(_ *coder.Element, _, _ []byte, _ *Output) {}
