package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestWhatIsFetchedIsThere: cells and single keys that were fetched are read like
// others, those that are large, near or not there too, and without another look at
// the disk where they were on it.
func TestWhatIsFetchedIsThere(t *testing.T) {
	t.Parallel()
	d := crowdedDisk(t, vfs.NewMem(), -1)
	fetching(t, d, d.table)
	m := crowdedMemory(t, -1)
	fetching(t, m, m.table)
}

func fetching(t *testing.T, d Store, tb *table) {
	r := rand.New(rand.NewPCG(1, 6))
	s := &shelf{t: t, d: d, r: r, want: map[string]string{}}
	reads := 0
	disk := tb.disk
	tb.disk = func(from, to string, some int) ([]row, string, error) { reads++; return disk(from, to, some) }
	asked := 0
	for range 200 {
		s.apply()
		txn, want := NewTxn(d.Entries()), model(maps.Clone(s.want))
		var cells, keys []string
		for range 10 {
			cells, keys = append(cells, fmt.Sprintf("%02d", r.IntN(60))), append(keys, s.key())
		}
		for i := range cells {
			txn.Want(cells[i], past(cells[i]))
			txn.Want(keys[i], keys[i]+"\x00")
		}
		txn.Fetch()
		reads = 0
		for range r.IntN(10) {
			step(t, r, txn, want)
		}
		reads = 0
		for i, c := range cells {
			var got string
			txn.Ascend(c, past(c), func(k string, v []byte) bool { got += k + "=" + string(v) + " "; return true })
			if w := want.entries(c, past(c), 1<<30); got != w {
				t.Fatalf("cell %s has %q, want %q", c, got, w)
			}
			if v, ok := txn.Get(keys[i]); string(v) != want[keys[i]] || ok != (want[keys[i]] != "") {
				t.Fatalf("%s is %q, %t, want %q", keys[i], v, ok, want[keys[i]])
			}
		}
		asked += reads
	}
	if asked > 2000 {
		t.Errorf("the disk was read %d times for 4000 spans that were fetched", asked)
	}
}

// TestLargeCellsAreNotFetched: they are read page by page.
func TestLargeCellsAreNotFetched(t *testing.T) {
	t.Parallel()
	d := crowdedDisk(t, vfs.NewMem(), -1)
	apply(t, d, func(b *Batch) {
		for i := range fetchRows + 1 {
			b.Put(fmt.Sprintf("aa%03d", i), []byte("x"))
		}
		b.Put("bb", make([]byte, fetchBytes+1))
		b.Put("cc", []byte("x"))
		b.Put("ee", []byte("x"))
	})
	d.table.forgetAll(t)
	var spans []span
	for _, c := range []string{"aa", "bb", "cc", "dd"} {
		spans = append(spans, span{c, past(c)})
	}
	if got := slices.Sorted(maps.Keys(d.table.fetch(spans))); !slices.Equal(got, []string{"cc", "dd"}) {
		t.Errorf("%q were fetched", got)
	}
}

// forgetAll makes one gap of all.
func (t *table) forgetAll(tt *testing.T) {
	tt.Helper()
	for range 10 {
		t.shrink(10_000)
	}
	if t.near.Len() > 0 {
		tt.Fatalf("%d entries are in memory", t.near.Len())
	}
}

// TestWhatIsReadOnceStaysOnTheDisk, where memory is crowded: what is read again
// soon comes near.
func TestWhatIsReadOnceStaysOnTheDisk(t *testing.T) {
	t.Parallel()
	d := crowdedDisk(t, vfs.NewMem(), -1)
	apply(t, d, func(b *Batch) {
		for i := range 100 {
			b.Put(fmt.Sprintf("%02d/x", i), []byte("x"))
		}
	})
	d.table.forgetAll(t)
	for i, near := range []int{0, 1} {
		if _, ok := d.Entries().Get("07/x"); !ok {
			t.Fatal("it is not there")
		}
		if got := d.table.near.Len(); got > near {
			t.Errorf("%d entries are in memory after %d reads", got, i+1)
		}
	}
	if !d.table.lately.again("07/x") || d.table.lately.again("08/x") {
		t.Error("what was read is not known")
	}
}

// TestTheTreeHasACache: it takes the memory of its memtables from it.
func TestTheTreeHasACache(t *testing.T) {
	t.Parallel()
	d := crowdedDisk(t, vfs.NewMem(), 1)
	for i := range 10 { // memtables grow
		apply(t, d, func(b *Batch) { b.Put(fmt.Sprintf("%02d", i), make([]byte, 1<<20)) })
		if err := d.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		if _, _, err := d.readEntries(fmt.Sprintf("%02d", i), "9", 1); err != nil {
			t.Fatal(err)
		}
	}
	if m := d.db.Metrics(); m.BlockCache.Size < 1<<20 {
		t.Errorf("there are %d bytes in the cache, and %d in memtables", m.BlockCache.Size, m.MemTable.Size)
	}
}
