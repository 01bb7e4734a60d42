package window

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"fresnel/runner/store"
)

// far are the keys of a shard of the incremental way that memory has no room for,
// with all their cells. They are in a temporary store, beside the times that they
// wait for: what comes for a key, or a time that it waits for, fetches it.
//
//	cells ──Relieve──▶ far ──an element of the key, its time──▶ cells
//
//	key            value
//	… 'K' key      its least event time, timer and hold; its cells (state.go)
//	… 'E' time key    '' where an event time is next; 'T' a timer, 'H' a hold
//
// Times have 8 bytes, so that they sort.
type far struct {
	temp   *store.Temp
	prefix string
	attic  *attic // takes what goes wrong
	keys   int
	bytes  int64
	queues [len(farKinds)]farQueue
}

const (
	farKey   = 'K'
	farKinds = "ETH"
)

// The queues, as farKinds names them.
const (
	farEvents = iota
	farTimers
	farHolds
)

// farQueue knows the front of a queue: nothing is before from, so that nobody
// walks over what was taken. first is the first key, empty if there is none.
type farQueue struct {
	from, first string
	known       bool
}

// farTimes are the least times of a key, noTime where there is none.
type farTimes [len(farKinds)]int64

const noTime = math.MaxInt64

func newFar(t *store.Temp, a *attic) far {
	f := far{temp: t, attic: a}
	if t != nil {
		f.prefix = t.Prefix()
	}
	return f
}

func (f *far) row(kind byte, rest string) string { return f.prefix + string(kind) + rest }

// timeRow is the row of a time in a queue.
func (f *far) timeRow(queue int, at int64, key string) string {
	b := append([]byte(f.prefix), farKinds[queue])
	b = binary.BigEndian.AppendUint64(b, uint64(at)^1<<63)
	return string(b) + key
}

// split reads the row of a time.
func (f *far) split(row string) (at int64, key string) {
	rest := row[len(f.prefix)+1:]
	return int64(binary.BigEndian.Uint64([]byte(rest[:8])) ^ 1<<63), rest[8:]
}

// first is the first time of a queue.
func (f *far) first(queue int) (at int64, ok bool) {
	q := &f.queues[queue]
	if f.keys == 0 {
		*q = farQueue{}
		return 0, false
	}
	if !q.known {
		q.first = ""
		if rows := f.some(queue, q.from, 1); len(rows) > 0 {
			q.first, q.from = rows[0].Key, rows[0].Key
		}
		q.known = true
	}
	if q.first == "" {
		return 0, false
	}
	at, _ = f.split(q.first)
	return at, true
}

// some reads rows of a queue.
func (f *far) some(queue int, from string, some int) []store.Row {
	kind := farKinds[queue]
	rows, _, err := f.temp.Some(max(from, f.row(kind, "")), f.row(kind+1, ""), some)
	if err != nil {
		f.attic.fail(err)
	}
	return rows
}

// due are keys whose time in a queue is at most upTo, some of the first.
func (f *far) due(queue int, upTo int64) (keys []string) {
	if at, ok := f.first(queue); !ok || at > upTo {
		return nil
	}
	for _, row := range f.some(queue, f.queues[queue].from, fetchSome) {
		at, key := f.split(row.Key)
		if at > upTo {
			break
		}
		keys = append(keys, key)
	}
	return keys
}

var errGone = errors.New("a key is not where its times are")

// fetchSome is how many keys are fetched at a time.
const fetchSome = 256

// noted keeps the front of a queue after a row came.
func (q *farQueue) noted(row string) {
	if q.known && (q.first == "" || row < q.first) {
		q.first = row
	}
	q.from = min(q.from, row)
}

// gone keeps the front of a queue after a row went.
func (q *farQueue) gone(row string) {
	if q.known && q.first == row {
		q.known, q.from = false, row
	}
}

// put writes keys with their cells, if that can be.
func (f *far) put(keys []*keyed, g *Grouping) bool {
	var state []byte
	var size int64
	err := f.temp.Write(func(b *store.TempBatch) {
		for _, k := range keys {
			times := k.times(g)
			state = k.appendFar(times.appendTo(state[:0]))
			b.Put(f.row(farKey, k.key), state)
			for q, at := range times {
				if at != noTime {
					row := f.timeRow(q, at, k.key)
					b.Put(row, nil)
					f.queues[q].noted(row)
				}
			}
			size += int64(len(k.key) + len(state))
		}
	})
	if err != nil {
		f.queues = [len(farKinds)]farQueue{}
		return false
	}
	f.keys += len(keys)
	f.bytes += size
	return true
}

// take returns the cells of a key, which are far no more.
func (f *far) take(key string) (cells *reader, ok bool) {
	row := f.row(farKey, key)
	state, ok, err := f.temp.Get(row)
	if err != nil {
		f.attic.fail(err)
	}
	if !ok {
		return nil, false
	}
	r := &reader{b: state}
	times := r.farTimes()
	err = f.temp.Write(func(b *store.TempBatch) {
		b.Delete(row)
		for q, at := range times {
			if at != noTime {
				row := f.timeRow(q, at, key)
				b.Delete(row)
				f.queues[q].gone(row)
			}
		}
	})
	if err != nil {
		f.attic.fail(err)
	}
	f.keys--
	f.bytes -= int64(len(key) + len(state))
	return r, true
}

// after are keys in order, those after one.
func (f *far) after(key string) (keys []string) {
	rows, _, err := f.temp.Some(f.row(farKey, key)+"\x00", f.row(farKey+1, ""), fetchSome)
	if err != nil {
		f.attic.fail(err)
	}
	for _, row := range rows {
		keys = append(keys, strings.TrimPrefix(row.Key, f.row(farKey, "")))
	}
	return keys
}

func (t *farTimes) appendTo(dst []byte) []byte {
	for _, at := range t {
		dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	}
	return dst
}

func (r *reader) farTimes() (t farTimes) {
	for i := range t {
		if len(r.b) < 8 {
			r.fail()
			return t
		}
		t[i], r.b = int64(binary.BigEndian.Uint64(r.b)), r.b[8:]
	}
	return t
}

// times are the least times of a key.
func (k *keyed) times(g *Grouping) farTimes {
	t := farTimes{noTime, noTime, noTime}
	k.each(func(c *cell) {
		if c.event.pos > 0 {
			t[farEvents] = min(t[farEvents], c.event.at)
		}
		if c.timer.pos > 0 {
			t[farTimers] = min(t[farTimers], c.timer.at)
		}
		if hold := g.Strategy.holdOf(c); hold < noHold {
			t[farHolds] = min(t[farHolds], int64(hold))
		}
	})
	return t
}

// each calls f with all cells of a key.
func (k *keyed) each(f func(*cell)) {
	for _, c := range k.closed {
		f(c)
	}
	for _, c := range k.cells {
		f(c)
	}
}

// What follows is how the incremental way uses it.

// fetch brings a key back, nil if it is not far.
func (w *incremental) fetch(key string) *keyed {
	if w.far.keys == 0 {
		return nil
	}
	r, ok := w.far.take(key)
	if !ok {
		return nil
	}
	defer func(x extent) { w.probe = x }(w.probe) // the window of the element that asks
	k := newKeyed([]byte(key))
	w.keys[k.key] = k
	w.bytes += keyFootprint(k.key)
	for range r.count() {
		if err := w.restoreCell(k, r, (*incremental).restoreFarValues); err != nil {
			w.attic.fail(err)
		}
	}
	return k
}

// fetchDue brings back keys whose time has come, some of the first, and tells
// whether there were any, and up to which time none is far.
func (w *incremental) fetchDue(queue int, upTo int64) (some bool, until int64) {
	keys := w.far.due(queue, upTo)
	for _, key := range keys {
		if w.fetch(key) == nil {
			w.attic.fail(errGone)
		}
	}
	until = upTo
	if at, ok := w.far.first(queue); ok {
		until = min(until, at)
	}
	return len(keys) > 0 && w.attic.failed == nil, until
}

// breathe makes room within a long piece of work.
func (w *incremental) breathe() {
	if w.s.g.Crowded != nil && w.s.g.Crowded() {
		w.relieve(w.s.g.Spill)
	}
}

// relieve moves large values to disk, and then keys, first those that nothing came
// for of late, until half of what was held is left.
func (w *incremental) relieve(*store.Spill) {
	if w.bytes < relieveLeast {
		return
	}
	enough := max(w.bytes/2, relieveLeast/2)
	for _, k := range w.keys {
		if !w.spill(k) {
			return
		}
	}
	for range 2 {
		if w.bytes > enough && w.far.temp != nil {
			w.evict(enough)
		}
	}
}

// spill moves the large values of a key to disk.
func (w *incremental) spill(k *keyed) (ok bool) {
	ok = true
	k.each(func(c *cell) {
		if ok && c.request == nil {
			w.bytes -= c.values.held()
			ok = c.values.spill(w.attic)
			w.bytes += c.values.held()
		}
	})
	return ok
}

// evict moves keys that were not used since it was last called.
func (w *incremental) evict(enough int64) {
	var keys []*keyed
	size := int64(0)
	for _, k := range w.keys {
		if w.bytes <= enough {
			break
		}
		if k.used || k.pinned() {
			k.used = false
			continue
		}
		keys = append(keys, k)
		if size += k.held(); size < evictBytes && w.bytes-size > enough {
			continue
		}
		if !w.moveFar(keys) {
			return
		}
		keys, size = keys[:0], 0
	}
	w.moveFar(keys)
}

// evictBytes is about what is moved at a time.
const evictBytes = 1 << 20

// pinned tells that a merge of a key's accumulators is under way.
func (k *keyed) pinned() (pinned bool) {
	k.each(func(c *cell) { pinned = pinned || c.request != nil })
	return pinned
}

// held is what a key takes of memory.
func (k *keyed) held() int64 {
	size := keyFootprint(k.key)
	k.each(func(c *cell) { size += c.footprint() + c.values.held() })
	return size
}

// moveFar forgets keys that are then far.
func (w *incremental) moveFar(keys []*keyed) bool {
	if len(keys) == 0 {
		return true
	}
	if !w.far.put(keys, w.s.g) {
		return false
	}
	for _, k := range keys {
		w.bytes -= k.held()
		k.each(func(c *cell) {
			w.events.remove(c)
			w.timers.remove(c)
			w.holds.remove(c)
			w.leave(c.extent)
		})
		delete(w.keys, k.key)
	}
	return true
}

// eachKey calls f with all keys, those that are far after the others: each is
// brought back for the call.
func (w *incremental) eachKey(near []string, f func(*keyed)) {
	for _, key := range near {
		f(w.keys[key])
	}
	if w.far.keys == 0 {
		return
	}
	for keys := w.far.after(""); len(keys) > 0; keys = w.far.after(keys[len(keys)-1]) {
		var back []*keyed
		for _, key := range keys {
			if k := w.fetch(key); k != nil {
				f(k)
				back = append(back, k)
			}
		}
		w.moveFar(back)
	}
}

// first is the least time of a schedule, and of what is far.
func (w *incremental) first(queue int, near *schedule[*cell]) (at int64, ok bool) {
	_, at, ok = near.first()
	if far, there := w.far.first(queue); there && (!ok || far < at) {
		return far, true
	}
	return at, ok
}

// Far values are chunks, some of which are the attic's.

func (v *values) appendFar(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(v.count))
	dst = binary.AppendUvarint(dst, uint64(len(v.full)))
	for _, c := range v.full {
		dst = binary.AppendUvarint(dst, c.id)
		if c.id != 0 {
			dst = binary.AppendUvarint(dst, uint64(c.size))
		} else {
			dst = appendBytes(dst, c.data)
		}
	}
	return appendBytes(dst, v.last)
}

func (k *keyed) appendFar(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(k.closed)+len(k.cells)))
	k.each(func(c *cell) {
		if dst = c.appendHead(dst); !c.closed {
			dst = c.values.appendFar(dst)
		}
	})
	return dst
}

// restoreFarValues is restoreCell's way with values that were far.
func (w *incremental) restoreFarValues(c *cell, r *reader, _ bool) error {
	v := values{count: r.number()}
	for range r.count() {
		ch := chunk{id: r.uint()}
		if ch.id != 0 {
			ch.size = r.number()
			v.away += ch.size
		} else {
			ch.data = append([]byte(nil), r.bytes()...)
			ch.size = len(ch.data)
		}
		v.full = append(v.full, ch)
		v.size += ch.size
	}
	if last := r.bytes(); len(last) > 0 {
		v.last = append([]byte(nil), last...)
		v.size += len(last)
	}
	c.values = v
	w.bytes += v.held()
	return r.err()
}

// failure is why the shard must not be used any more.
func (w *incremental) failure() error { return w.attic.failed }

func (w *incremental) away() int64 { return w.attic.bytes + w.far.bytes }
