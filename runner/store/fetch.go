package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// A bundle that knows what it will read has it read at once: what is on disk is
// read in the order of the keys, by one pass over each table, and filters and
// blocks are looked up once for all that is in them. What is read so is the
// bundle's own, and is forgotten with it.

// span is a range of keys, from <= key < to.
type span struct{ from, to string }

// fetched is all that is in a span.
type fetched struct {
	to   string
	rows []row
}

// fetcher is a Reader that reads many ranges at once.
type fetcher interface {
	// fetch reads what is in the spans, which are in order, those that are near or
	// large left out.
	fetch(spans []span) map[string]fetched
	// scarce tells that what is read may be on disk only.
	scarce() bool
}

// Scarce tells that it may save something to Want and Fetch: that memory does not
// hold all there is.
func (t *Txn) Scarce() bool {
	f, ok := t.base.(fetcher)
	return ok && f.scarce()
}

// Want notes that all entries with from <= key < to will be read.
func (t *Txn) Want(from, to string) { t.wanted = append(t.wanted, span{from, to}) }

// Fetch reads what is wanted, where that saves anything, and forgets what was
// fetched before.
func (t *Txn) Fetch() {
	wanted := t.wanted
	t.wanted, t.ahead = nil, nil
	f, ok := t.base.(fetcher)
	if !ok || len(wanted) == 0 {
		return
	}
	slices.SortFunc(wanted, func(a, b span) int { return strings.Compare(a.from, b.from) })
	t.ahead = f.fetch(slices.CompactFunc(wanted, func(a, b span) bool { return a.from == b.from }))
}

// walk is the base's Ascend.
func (t *Txn) walk(from, to string, f func(key string, value []byte) bool) {
	a, ok := t.ahead[from]
	if !ok || a.to != to {
		t.base.Ascend(from, to, f)
		return
	}
	for _, r := range a.rows {
		if !f(r.key, r.value) {
			return
		}
	}
}

// look is the base's Get.
func (t *Txn) look(key string) ([]byte, bool) {
	a, ok := t.ahead[key]
	switch {
	case !ok || len(a.to) != len(key)+1:
		return t.base.Get(key)
	case len(a.rows) == 0:
		return nil, false
	}
	return a.rows[0].value, true
}

// fetch implements fetcher. What cannot be read fails the next commit.
func (t *table) fetch(spans []span) map[string]fetched {
	far := t.farOf(spans)
	if len(far) == 0 {
		return nil
	}
	got := make(map[string]fetched, len(far))
	room := max(t.least, fetchLeast)
	err := t.pass(far, func(s span, rows []row) bool {
		got[s.from] = fetched{s.to, rows}
		room -= fetchCost
		for _, r := range rows {
			room -= cost(r.key, r.value)
		}
		return room > 0
	})
	if err != nil {
		t.unread.CompareAndSwap(nil, &err)
	}
	return got
}

func (t *table) scarce() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tight()
}

const (
	// fetchCost is about what it takes to know of a span that nothing is there.
	fetchCost = 100
	// fetchLeast is what is fetched at once, in bytes, however little there may be
	// in memory.
	fetchLeast = 64 << 10
)

// farOf are the spans that are on disk only, and are to stay so.
func (t *table) farOf(spans []span) []span {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.tight() {
		return nil
	}
	var far []span
	for _, s := range spans {
		start, _, ok := t.far.at(s.from)
		if ok && start < s.to && t.none(s.from, s.to) && !t.lately.again(s.from) {
			far = append(far, s)
		}
	}
	return far
}

// fetchEntries reads what is in spans, which are in order, for a table. What is
// large is left out. It ends when each returns false.
func (d *tree) fetchEntries(spans []span, each func(span, []row) bool) (err error) {
	defer d.survive(&err)
	d.open.RLock()
	defer d.open.RUnlock()
	if d.ended() {
		return errClosed
	}
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: []byte{diskEntry}, UpperBound: []byte{diskEntry + 1}, UseL6Filters: true})
	if err != nil {
		return fmt.Errorf("reading the store: %w", err)
	}
	for _, s := range spans {
		rows, whole, failed := d.rowsOf(it, s)
		if failed != nil {
			err = fmt.Errorf("reading the store: %w", failed)
			break
		}
		if whole && !each(s, rows) {
			break
		}
	}
	if closing := it.Close(); err == nil && closing != nil {
		err = fmt.Errorf("reading the store: %w", closing)
	}
	return err
}

// rowsOf reads a span, unless it is large.
func (d *tree) rowsOf(it *pebble.Iterator, s span) (rows []row, whole bool, err error) {
	seek := it.SeekGE
	if d.inCell(diskEntry, s.from, s.to) {
		seek = it.SeekPrefixGE
	}
	size := 0
	for ok := seek(diskKey(diskEntry, s.from)); ok && string(it.Key()[1:]) < s.to; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, false, err
		}
		if size += len(v); size > fetchBytes || len(rows) == fetchRows {
			return nil, false, nil
		}
		rows = append(rows, row{key: string(it.Key()[1:]), value: append([]byte(nil), v...)})
	}
	return rows, true, it.Error()
}

// What is larger is read when it is asked for, page by page.
const (
	fetchRows  = 64
	fetchBytes = 64 << 10
)
