package state

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"fresnel/internal/coder"
	"fresnel/runner/store"
)

// spilling is a shelf with a small budget.
func spilling(t *testing.T, limit int64) (*store.Shelf, *store.Budget, *store.Spill) {
	t.Helper()
	b, s := store.NewBudget(limit), store.NewSpill(t.TempDir())
	t.Cleanup(s.Close)
	return store.NewShelf(b, s, nil), b, s
}

// look returns all values of a key, iterated all keys with their values.
func look(t *testing.T, v *SideView, window, key string) string {
	t.Helper()
	return strings.Join(pages(t, func(token []byte) ([]byte, []byte, error) {
		return v.Multimap([]byte(window), []byte(str(key)), token)
	}), "")
}

var groupsOf = coder.KVOf(coder.StringUTF8, coder.IterableOf(coder.StringUTF8))

// iterated reads all keys with their values, and checks that each comes once.
func iterated(t *testing.T, v *SideView, window string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, page := range pages(t, func(token []byte) ([]byte, []byte, error) { return v.MultimapKeysValues([]byte(window), token) }) {
		for data := []byte(page); len(data) > 0; {
			e, n, err := groupsOf.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			pair := e.(coder.KV)
			if _, twice := all[pair.Key.(string)]; twice {
				t.Errorf("key %q comes twice", pair.Key)
			}
			values := []string{}
			for _, val := range pair.Value.([]any) {
				values = append(values, val.(string))
			}
			all[pair.Key.(string)] = values
			data = data[n:]
		}
	}
	return all
}

// TestASideInputManyTimesItsBudget (I9): what does not fit in the budget is on
// disk, all of it is read again, and a lookup reads little.
func TestASideInputManyTimesItsBudget(t *testing.T) {
	const limit, total, valueSize = 1 << 20, 16 << 20, 200
	for _, multimap := range []bool{true, false} {
		shelf, budget, _ := spilling(t, limit)
		s := NewSideInput(multimap, shelf)
		before := heapInUse()
		keys := fillSide(t, s, total/valueSize, valueSize)
		if used, grown := budget.Used(), int64(heapInUse())-int64(before); used > 3*limit || grown > 12*limit {
			t.Errorf("multimap %t: %d bytes are counted and %d in the heap, of %d", multimap, used, grown, limit)
		}
		v := s.View()
		if !multimap {
			read, count := 0, 0
			for token, more := []byte(nil), true; more; count++ {
				data, next, err := v.Iterable([]byte("w"), token)
				if err != nil {
					t.Fatal(err)
				}
				read, token, more = read+len(data), next, next != nil
			}
			if want := fill(keys, valueSize); read != want || count > want/(MaxPage/4) {
				t.Errorf("%d bytes of %d in %d pages", read, want, count)
			}
			continue
		}
		_ = look(t, v, "w", "k0") // the first reader makes many layers few
		const lookups = 200
		var from, to runtime.MemStats
		runtime.ReadMemStats(&from)
		for range lookups {
			k := rand.IntN(keys)
			if got := look(t, v, "w", fmt.Sprint("k", k)); got != str(fmt.Sprintf("%0*d", valueSize, k)) {
				t.Fatalf("key %d has %q", k, got)
			}
		}
		runtime.ReadMemStats(&to)
		if each := (to.TotalAlloc - from.TotalAlloc) / lookups; each > 40*pairPage {
			t.Errorf("a lookup takes %d bytes", each)
		}
		if all := iterated(t, v, "w"); len(all) != keys {
			t.Errorf("%d keys of %d", len(all), keys)
		}
		if used, grown := budget.Used(), int64(heapInUse())-int64(before); used > 3*limit || grown > 12*limit {
			t.Errorf("after reading: %d bytes are counted and %d in the heap, of %d", used, grown, limit)
		}
		v.Close()
	}
}

// fillSide adds n values, each under a key of its own, in deltas of all sizes.
func fillSide(t *testing.T, s *SideInput, n, size int) int {
	t.Helper()
	c := kv
	if !s.multimap {
		c = nil
	}
	for i := 0; i < n; {
		d := s.NewDelta()
		for range min(1<<rand.IntN(16), n-i) {
			if err := d.Add([]byte("w"), []byte(pair(fmt.Sprint("k", i), fmt.Sprintf("%0*d", size, i))), c); err != nil {
				t.Fatal(err)
			}
			i++
		}
		d.Seal()
		s.Apply(d)
	}
	return n
}

func fill(n, size int) (bytes int) {
	for i := range n {
		bytes += len(fmt.Sprint("k", i)) + 1 + size + 2
	}
	return bytes
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSideInputsReadTheSameWhereverTheyAre: random deltas, views and forgotten
// windows, in memory, beyond a budget, and in a durable job that goes on, read
// as a plain map does, and leave nothing behind.
func TestSideInputsReadTheSameWhereverTheyAre(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		for _, limit := range []int64{-1, 50_000, 1 << 40} {
			r := &sideTrial{t: t, rand: rand.New(rand.NewPCG(seed, 1)), limit: limit, model: map[string]map[string][]string{}}
			r.run()
		}
	}
}

type sideTrial struct {
	t     *testing.T
	rand  *rand.Rand
	limit int64
	side  *SideInput
	notes []SideNote
	// model has the values by window and key; views are open, with what they see.
	model map[string]map[string][]string
	views []openView
}

type openView struct {
	*SideView
	model map[string]map[string][]string
}

func cloneModel(m map[string]map[string][]string) map[string]map[string][]string {
	all := map[string]map[string][]string{}
	for w, keys := range m {
		all[w] = map[string][]string{}
		for k, values := range keys {
			all[w][k] = slices.Clone(values)
		}
	}
	return all
}

func (r *sideTrial) run() {
	t := r.t
	spill := store.NewSpill(t.TempDir())
	defer spill.Close()
	budget := store.NewBudget(r.limit)
	fs := vfs.NewMem()
	disk := r.disk(fs)
	r.side = NewSideInput(true, store.NewShelf(budget, spill, disk))
	for range 40 {
		switch r.rand.IntN(6) {
		case 0, 1, 2:
			r.add()
		case 3:
			r.views = append(r.views, openView{r.side.View(), cloneModel(r.model)})
		case 4:
			r.closeOne()
		case 5:
			if r.rand.IntN(4) == 0 {
				r.side.Forget("b")
				delete(r.model, "a")
				r.notes = slices.DeleteFunc(r.notes, func(n SideNote) bool { return n.Window == "a" })
			}
		}
	}
	r.views = append(r.views, openView{r.side.View(), r.model})
	for len(r.views) > 0 {
		r.closeOne()
	}
	r.goesOn(fs, disk)
	r.side.Forget("z")
	if used := budget.Used(); used != 0 {
		t.Errorf("limit %d: %d bytes are left", r.limit, used)
	}
}

func (r *sideTrial) disk(fs vfs.FS) *store.Disk {
	d, err := store.OpenDisk("store", store.DiskOptions{FS: fs})
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// add applies a delta, or discards it.
func (r *sideTrial) add() {
	d, next := r.side.NewDelta(), cloneModel(r.model)
	for range r.rand.IntN(1 << r.rand.IntN(9)) {
		w, k := string(rune('a'+r.rand.IntN(3))), fmt.Sprint("k", r.rand.IntN(40))
		v := strings.Repeat(fmt.Sprint(r.rand.IntN(10)), 1+r.rand.IntN(1<<r.rand.IntN(12)))
		if r.rand.IntN(300) == 0 {
			v = strings.Repeat("L", 3*pairPage)
		}
		if err := d.Add([]byte(w), []byte(pair(k, v)), kv); err != nil {
			r.t.Fatal(err)
		}
		if next[w] == nil {
			next[w] = map[string][]string{}
		}
		next[w][k] = append(next[w][k], v)
		if r.rand.IntN(100) == 0 {
			d.Seal()
		}
	}
	d.Seal()
	if r.rand.IntN(5) == 0 {
		d.Discard()
		return
	}
	d.Notes(func(n SideNote) { n.Data = bytes.Clone(n.Data); r.notes = append(r.notes, n) })
	r.side.Apply(d)
	r.model = next
}

func (r *sideTrial) closeOne() {
	if len(r.views) == 0 {
		return
	}
	i := r.rand.IntN(len(r.views))
	v := r.views[i]
	r.views = slices.Delete(r.views, i, i+1)
	r.check(v.SideView, v.model)
	v.Close()
}

func (r *sideTrial) check(v *SideView, model map[string]map[string][]string) {
	t := r.t
	t.Helper()
	for _, w := range []string{"a", "b", "c"} {
		if got := iterated(t, v, w); !maps.EqualFunc(got, model[w], slices.Equal) {
			t.Fatalf("limit %d: window %s has %d keys, or not their values, want %d", r.limit, w, len(got), len(model[w]))
		}
		keys := strings.Join(pages(t, func(token []byte) ([]byte, []byte, error) { return v.MultimapKeys([]byte(w), token) }), "")
		var want []string
		for k := range model[w] {
			want = append(want, str(k))
		}
		if slices.Sort(want); keys != strings.Join(want, "") {
			t.Fatalf("limit %d: the keys of window %s are %q", r.limit, w, keys)
		}
		k := fmt.Sprint("k", r.rand.IntN(42))
		var values strings.Builder
		for _, val := range model[w][k] {
			values.WriteString(str(val))
		}
		if got := look(t, v, w, k); got != values.String() {
			t.Fatalf("limit %d: window %s key %s has %d bytes of %d", r.limit, w, k, len(got), values.Len())
		}
	}
}

// goesOn reads the notes in another process.
func (r *sideTrial) goesOn(fs vfs.FS, disk *store.Disk) {
	disk.Close()
	again := r.disk(fs)
	defer again.Close()
	spill := store.NewSpill(r.t.TempDir())
	defer spill.Close()
	s := NewSideInput(true, store.NewShelf(store.NewBudget(r.limit), spill, again))
	for _, n := range r.notes {
		blocks := n.Blocks
		if err := s.Load(&n); err != nil || !slices.Equal(blocks, n.Blocks) {
			r.t.Fatal(err, blocks, n.Blocks)
		}
	}
	v := s.View()
	r.check(v, r.model)
	v.Close()
}

// TestAKeyOfManyPages: a key's values are read page by page, from all its layers.
func TestAKeyOfManyPages(t *testing.T) {
	t.Parallel()
	shelf, _, _ := spilling(t, -1)
	s := NewSideInput(true, shelf)
	var want strings.Builder
	for i := range 12 {
		d := s.NewDelta()
		for k := range 300 {
			value := strings.Repeat(fmt.Sprint((i+k)%10), 1000)
			want.WriteString(str(value))
			for _, key := range []string{"hot", "a", "z"} {
				if err := d.Add([]byte("w"), []byte(pair(key, value)), kv); err != nil {
					t.Fatal(err)
				}
			}
		}
		d.Seal()
		s.Apply(d)
	}
	v := s.View()
	read := func(token []byte) ([]byte, []byte, error) { return v.Multimap([]byte("w"), []byte(str("hot")), token) }
	got := pages(t, read)
	if len(got) < 3 || strings.Join(got, "") != want.String() {
		t.Errorf("%d bytes of %d in %d pages", len(strings.Join(got, "")), want.Len(), len(got))
	}
	desk := newDesk(t)
	desk.wantBadToken(read, "x", "\x00", "\x00\x00\x00", "\x09\x00\x00", "\x00\x00\x01", "\x00\x7f\x00", "\x00\x01\x00\x00", strings.Repeat("\xff", 12))
	desk.wantBadToken(func(token []byte) ([]byte, []byte, error) { return v.MultimapKeys([]byte("w"), token) }, "x")
}

// TestWhatCannotBeReadBackIsTold.
func TestWhatCannotBeReadBackIsTold(t *testing.T) {
	t.Parallel()
	shelf, _, spill := spilling(t, -1)
	for _, multimap := range []bool{true, false} {
		s := NewSideInput(multimap, shelf)
		fillSide(t, s, 1000, 100)
		v := s.View()
		if multimap {
			defer func() {
				_, _, err := v.Multimap([]byte("w"), []byte(str("k5")), nil)
				_, _, err2 := v.MultimapKeys([]byte("w"), nil)
				if err == nil || err2 == nil || !strings.Contains(err.Error(), "side input") {
					t.Errorf("%v, %v", err, err2)
				}
			}()
			continue
		}
		spill.Close()
		if _, _, err := v.Iterable([]byte("w"), nil); err == nil || !strings.Contains(err.Error(), "side input") {
			t.Errorf("%v", err)
		}
	}
}

// FuzzSideNote: a note may be any bytes (I7).
func FuzzSideNote(f *testing.F) {
	s := newSide(true)
	d := s.NewDelta()
	_ = d.Add([]byte("w"), []byte(pair("a", "1")), kv) // a pair
	d.Seal()
	d.Notes(func(n SideNote) { f.Add(n.Data, n.Paged, true); f.Add(n.Data, n.Paged, false) })
	f.Add([]byte("\x01a\x05\x01"), true, true)
	f.Fuzz(func(t *testing.T, data []byte, paged, multimap bool) {
		s := newSide(multimap)
		if s.Load(&SideNote{Window: "w", Paged: paged, Data: data}) != nil {
			return
		}
		v := s.View()
		defer v.Close()
		_, _, _ = v.Iterable([]byte("w"), nil)
		_, _, _ = v.Multimap([]byte("w"), []byte("a"), []byte{0, 0, 0})
		_, _, _ = v.MultimapKeysValues([]byte("w"), nil)
	})
}
