package store

import (
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"
)

// table has the entries of a store that has them all on disk. Those that were
// used of late are in memory too: near. Ranges of keys of which something is on
// disk only are gaps; outside of them near is complete, so that it also knows
// what is not there.
//
//	read ──▶ near ──in a gap──▶ disk: what is read fills the gap
//	apply ─▶ disk, then near, but for what is in a gap
//	crowded: a hand goes round near, and what was not used since it last came by
//	         becomes a gap
//
// A store that begins empty has no gap, one that is opened is a single one. What
// is at the front of a range that things are taken from, as timers are, stays
// near for as long as it is asked for: so nobody walks over what was deleted of
// the range on disk, but who comes after a long time.
//
// When there is no room, a range that is read whole becomes near only if it was
// read of late already: most of a large state is read once in a long time, and
// would only drive out what is used.
//
// A table gives out what is there now: who reads must see to it that nobody else
// changes what it reads.
//
// That of a job that ends with its process has nothing on disk but what it had no
// room for: it writes an entry there when it becomes part of a gap, and the changes
// of what is in one. Outside of gaps there may be older values of entries that are near, and
// of nothing else.
type table struct {
	disk diskReader
	pass diskPass
	// temp takes what is forgotten; nil where the disk has it anyway.
	temp   *Temp
	budget *Budget
	// least is what the table keeps in memory, however crowded it is.
	least int64

	mu    sync.RWMutex
	near  *btree.Map[string, *entry]
	far   gaps
	loads map[*load]struct{}
	// hand is where the next sweep begins.
	hand string
	// bytes is what near and the gaps take, counted what the budget knows of it.
	bytes, counted int64
	lately         *lately

	unread atomic.Pointer[error]
}

// diskReader reads entries with from <= key < to, some of the first, and tells up
// to which key these are all.
type diskReader func(from, to string, some int) (rows []row, upTo string, err error)

// diskPass reads all that is in spans, which are in order, and leaves large ones
// out. It ends when each returns false.
type diskPass func(spans []span, each func(span, []row) bool) error

// entry is a value in memory. used: it was read or written since the hand was
// there. there: Temp has a value of it; clean: it has this one.
type entry struct {
	value        []byte
	used         atomic.Bool
	there, clean bool
}

// row is an entry with its key; entry is nil if it was just read from the disk.
type row struct {
	key   string
	value []byte
	entry *entry
}

// load is a read of the disk under way. stale: what it reads was changed since.
type load struct {
	from, to string
	stale    bool
}

const (
	// entryCost and gapCost are about what an entry and a gap take beside their bytes.
	entryCost = 160
	gapCost   = 240
	// loadRows is how many entries a read of the disk brings, where so many are
	// asked for.
	loadRows = 64
)

func newTable(disk diskReader, pass diskPass, b *Budget, fresh bool) *table {
	t := &table{disk: disk, pass: pass, budget: b, least: b.Share(), near: btree.NewMap[string, *entry](32), far: newGaps(), loads: map[*load]struct{}{}, lately: newLately(b)}
	if !fresh {
		t.far.add("", lastKey)
	}
	return t
}

// newSpillingTable returns an empty table that writes what it has no room for to a
// temporary store; nil keeps all in memory.
func newSpillingTable(b *Budget, temp *Temp) *table {
	if temp == nil {
		return newTable(nil, nil, nil, true)
	}
	t := newTable(temp.readEntries, temp.fetchEntries, b, true)
	t.temp = temp
	return t
}

// Get looks a key up.
func (t *table) Get(key string) ([]byte, bool) {
	t.mu.RLock()
	e, ok := t.near.Get(key)
	far := !ok && t.far.has(key)
	t.mu.RUnlock()
	if ok {
		e.use()
		return e.value, true
	}
	if !far {
		return nil, false
	}
	if rows, _ := t.load(key, key+"\x00", 1); len(rows) > 0 {
		return rows[0].value, true
	}
	return nil, false
}

// use tells the hand to pass by.
func (e *entry) use() {
	if e != nil && !e.used.Load() {
		e.used.Store(true)
	}
}

// Ascend walks in pieces that grow: many who ask want the first entry only.
func (t *table) Ascend(from, to string, f func(key string, value []byte) bool) {
	for some := 4; from < to; some = min(2*some, 4*loadRows) {
		rows, upTo := t.some(from, to, some)
		for _, r := range rows {
			r.entry.use()
			if !f(r.key, r.value) {
				return
			}
		}
		from = upTo
	}
}

// some returns the first entries of a range, and up to where these are all.
func (t *table) some(from, to string, some int) (rows []row, upTo string) {
	rows, upTo, near := t.someNear(from, to, some)
	if near {
		return rows, upTo
	}
	return t.load(from, upTo, max(some, loadRows))
}

// someNear does so for what is near; else it is the range of the gap.
func (t *table) someNear(from, to string, some int) (rows []row, upTo string, near bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	upTo = to
	if start, end, ok := t.far.at(from); ok {
		if start <= from {
			return nil, min(to, end), false
		}
		upTo = min(to, start)
	}
	limit := upTo
	t.near.Ascend(from, func(k string, e *entry) bool {
		if k >= limit {
			return false
		}
		if len(rows) == some {
			upTo = k
			return false
		}
		rows = append(rows, row{k, e.value, e})
		return true
	})
	return rows, upTo, true
}

// load reads entries from the disk and keeps them. What cannot be read fails the
// next commit: what was made without it must not count.
func (t *table) load(from, to string, some int) ([]row, string) {
	for {
		l := &load{from: from, to: to}
		t.mu.Lock()
		t.loads[l] = struct{}{}
		t.mu.Unlock()
		rows, upTo, err := t.disk(from, to, some)
		if err != nil {
			t.unread.CompareAndSwap(nil, &err)
		}
		t.mu.Lock()
		delete(t.loads, l)
		ok := err == nil && !l.stale
		keep := ok && (upTo != to || !t.tight() || t.lately.again(from))
		if keep {
			t.fill(from, upTo, rows)
		}
		t.mu.Unlock()
		switch {
		case err != nil:
			return nil, to
		case keep:
			t.shrink(len(rows))
			return rows, upTo
		case ok:
			return rows, upTo
		}
	}
}

// fill makes a range that was read from the disk near. Parts of it may be near
// already.
func (t *table) fill(from, to string, rows []row) {
	for _, r := range rows {
		if t.far.has(r.key) {
			t.near.Set(r.key, &entry{value: r.value, there: true, clean: true})
			t.bytes += cost(r.key, r.value)
		}
	}
	t.far.cut(from, to)
	t.mend()
	t.count()
}

func cost(key string, value []byte) int64 { return int64(len(key)+len(value)) + entryCost }

// count tells the budget what the table takes.
func (t *table) count() {
	now := t.bytes + int64(t.far.ends.Len())*gapCost
	t.budget.Add(now - t.counted)
	t.counted = now
}

// apply changes entries; where the disk has them all, they were changed there.
func (t *table) apply(changes []change) {
	if len(changes) == 0 {
		return
	}
	t.mu.Lock()
	var away []*change
	for i := range changes {
		away = t.change(&changes[i], away)
	}
	if t.temp != nil {
		t.changeAway(away)
	}
	t.count()
	t.mu.Unlock()
	t.shrink(len(changes))
}

// change changes an entry, and adds the change to away if the disk must know.
func (t *table) change(c *change, away []*change) []*change {
	t.disturb(c.key)
	if t.far.has(c.key) {
		return append(away, c)
	}
	var old *entry
	var was bool
	if c.delete {
		if old, was = t.near.Delete(c.key); was && old.there {
			away = append(away, c)
		}
	} else {
		e := &entry{value: c.value}
		if old, was = t.near.Set(c.key, e); was {
			e.there = old.there
		}
		t.bytes += cost(c.key, c.value)
	}
	if was {
		t.bytes -= cost(c.key, old.value)
	}
	return away
}

// disturb has those who are reading a key from the disk read it again.
func (t *table) disturb(key string) {
	for l := range t.loads {
		if l.from <= key && key < l.to {
			l.stale = true
		}
	}
}

// changeAway changes what is in temporary files. What cannot be written there
// fails the next commit.
func (t *table) changeAway(away []*change) {
	if len(away) == 0 {
		return
	}
	err := t.temp.Write(func(b *TempBatch) {
		for _, c := range away {
			b.change(c)
		}
	})
	if err != nil {
		t.unread.CompareAndSwap(nil, &err)
	}
}

// crowded tells that there should be less in memory.
func (t *table) crowded() bool {
	return t.bytes > t.least && t.budget.Over() && (t.temp == nil || t.temp.Err() == nil)
}

// tight tells that there is hardly room for more.
func (t *table) tight() bool { return t.bytes >= t.least && t.budget.Tight() }

// sweepRows is how many entries the hand passes at a time.
const sweepRows = 512

// shrink makes room after so many entries came, not much at once.
func (t *table) shrink(came int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for left := 8*came + 2*sweepRows; left > 0 && t.crowded(); left -= sweepRows {
		t.sweep()
		t.count()
	}
}

// sweep moves the hand on, and makes gaps of what was not used.
func (t *table) sweep() {
	var runs [][]string
	var run []string
	passed, next := 0, ""
	t.near.Ascend(t.hand, func(k string, e *entry) bool {
		if passed++; passed > sweepRows {
			next = k
			return false
		}
		if !e.used.Swap(false) {
			run = append(run, k)
		} else if run != nil {
			runs, run = append(runs, run), nil
		}
		return true
	})
	if run != nil {
		runs = append(runs, run)
	}
	t.hand = next
	if t.temp != nil && !t.put(runs) {
		return
	}
	for _, run := range runs {
		t.forget(run)
	}
}

// put writes to temporary files what will be forgotten, where they have it not.
func (t *table) put(runs [][]string) bool {
	return t.temp.Write(func(b *TempBatch) {
		for _, run := range runs {
			for _, k := range run {
				if e, _ := t.near.Get(k); !e.clean {
					b.change(&change{key: k, value: e.value})
					t.disturb(k)
				}
			}
		}
	}) == nil
}

// forget makes a gap of entries that stand together, and joins it with the gaps
// between and beside them. Where an entry that stays is between, it keeps what is known of its
// neighbourhood.
func (t *table) forget(run []string) {
	for _, k := range run {
		e, _ := t.near.Delete(k)
		t.bytes -= cost(k, e.value)
	}
	from, to := run[0], run[len(run)-1]+"\x00"
	if start, end, ok := t.far.before(from); ok && t.none(end, from) {
		t.far.ends.Delete(start)
		from = start
	}
	if start, end, ok := t.far.at(to); ok && t.none(to, start) {
		t.far.ends.Delete(start)
		to = end
	}
	t.far.cut(from, to) // those between them
	t.far.add(from, to)
}

// none tells that nothing of a range is near.
func (t *table) none(from, to string) bool {
	none := true
	t.near.Ascend(from, func(k string, _ *entry) bool {
		none = k >= to
		return false
	})
	return none
}

// mend joins gaps between which nothing is near: each time that something is
// looked for in a gap and not found there may be one more.
func (t *table) mend() {
	if t.far.ends.Len() <= 2*t.near.Len()+1024 {
		return
	}
	joined := newGaps()
	var from, to string
	open := false
	t.far.ends.Scan(func(start, end string) bool {
		if open && t.none(to, start) {
			to = end
			return true
		}
		if open {
			joined.add(from, to)
		}
		from, to, open = start, end, true
		return true
	})
	if open {
		joined.add(from, to)
	}
	t.far = joined
}

// failure is why something could not be read.
func (t *table) failure() error {
	if err := t.unread.Load(); err != nil {
		return *err
	}
	return nil
}

// close forgets everything.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.near, t.far, t.bytes = btree.NewMap[string, *entry](32), newGaps(), 0
	t.count()
}
