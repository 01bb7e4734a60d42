package state

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// bigDesk works as a stage's bundles do, on shards of a store on disk.
type bigDesk struct {
	t      *testing.T
	d      *store.Disk
	keys   int
	order  uint64
	bundle int
	peak   uint64
}

const bigShards = 8

func (b *bigDesk) user(n int) []byte {
	return fmt.Appendf(nil, "user-%08x", uint32(n)*2654435761)
}

func (b *bigDesk) cell(user []byte) Key {
	return Key{Transform: "work", Name: "count", User: user}
}

// commit runs f on a shard as a bundle.
func (b *bigDesk) commit(shard int, f func(*Shard)) {
	b.order++
	txn := store.NewTxn(b.d.Entries())
	s := NewShard(txn, 1, shard, b.order)
	f(s)
	s.Times(0)
	var batch store.Batch
	txn.AppendTo(&batch)
	if err := b.d.Apply(&batch); err != nil {
		b.t.Fatal(err)
	}
	if b.order%50 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.peak = max(b.peak, m.HeapInuse)
	}
}

// round changes the cell of each key, and sets its timer.
func (b *bigDesk) round(round int) {
	for first := 0; first < b.keys; first += b.bundle * bigShards {
		for shard := range bigShards {
			b.commit(shard, func(s *Shard) {
				for n := first + shard; n < min(first+b.bundle*bigShards, b.keys); n += bigShards {
					b.update(s, n, round)
				}
			})
		}
	}
}

func (b *bigDesk) update(s *Shard, n, round int) {
	user := b.user(n)
	got, _, err := s.Bag(b.cell(user), nil)
	want := ""
	if round > 0 {
		want = b.value(n, round-1)
	}
	if err != nil || string(got) != want {
		b.t.Fatalf("the cell of %s is %q, %v; want %q", user, got, err, want)
	}
	s.ClearBag(b.cell(user))
	s.AppendBag(b.cell(user), []byte(b.value(n, round)))
	s.SetTimer(Timer{TimerID: TimerID{Transform: "work", Family: "f", User: user},
		Fire: beam.EventTime(1 + n*7919%100_003), Hold: beam.EventTime(1 + n*7919%100_003), Pane: []byte{0}})
}

func (b *bigDesk) value(n, round int) string { return fmt.Sprintf("%032d", n+round) }

// fire has all timers fire, and each read and clear its cell.
func (b *bigDesk) fire(last int) int {
	fired := 0
	for shard := range bigShards {
		for more := true; more; {
			b.commit(shard, func(s *Shard) {
				due := s.TakeDue(Due{Event: true, Watermark: 200_000, Limit: 10_000})
				more = len(due) > 0
				fired += len(due)
				for _, t := range due {
					if got, _, err := s.Bag(b.cell(t.User), nil); err != nil || len(got) != 32 {
						b.t.Fatalf("the cell of %s is %q, %v", t.User, got, err)
					}
					s.ClearBag(b.cell(t.User))
				}
			})
		}
	}
	return fired
}

// TestCellsAndTimersOnDisk (I9): of many keys, each with a cell and a timer, few
// are in memory. FRESNEL_STATE_KEYS and FRESNEL_STATE_LIMIT, in MB, make it a
// measurement.
func TestCellsAndTimersOnDisk(t *testing.T) {
	keys, limit, bundle := 4_000, int64(200_000), 100
	if n, err := strconv.Atoi(os.Getenv("FRESNEL_STATE_KEYS")); err == nil {
		mb, _ := strconv.Atoi(os.Getenv("FRESNEL_STATE_LIMIT"))
		keys, limit, bundle = n, int64(mb)*1_000_000, 2_000
		if limit >= 256_000_000 { // below that the tree takes most of it
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit - limit/8))
		}
	}
	var budget *store.Budget
	if limit > 0 {
		budget = store.NewBudget(limit * 3 / 10)
	}
	open := func() *store.Disk {
		d, err := store.OpenDisk(t.TempDir(), store.DiskOptions{Budget: budget})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	b := &bigDesk{t: t, d: open(), keys: keys, bundle: bundle}
	defer b.d.Close()
	begin := time.Now()
	took := func() float64 {
		us := float64(time.Since(begin).Microseconds()) / float64(keys)
		begin = time.Now()
		return us
	}
	b.round(0)
	set := took()
	b.round(1)
	update := took()
	if fired := b.fire(1); fired != keys {
		t.Errorf("%d timers of %d fired", fired, keys)
	}
	t.Logf("%d keys: heap %d MB, on disk %d MB; set %.1f us a key, update %.1f us, fire %.1f us",
		keys, b.peak>>20, b.d.DiskBytes()>>20, set, update, took())
}
