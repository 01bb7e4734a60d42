package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/store"
)

// desk is a shard of a stage over a store; begin and commit are a bundle.
type desk struct {
	*Shard
	t      *testing.T
	store  *store.Memory
	txn    *store.Txn
	bundle uint64
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, store: store.NewMemory()}
	d.begin()
	return d
}

// begin begins a bundle; one that was not committed is forgotten.
func (d *desk) begin() {
	d.bundle++
	d.txn = store.NewTxn(d.store.Entries())
	d.Shard = NewShard(d.txn, 3, 5, d.bundle)
}

// commit commits the bundle and begins the next.
func (d *desk) commit() {
	d.t.Helper()
	d.Flush()
	var b store.Batch
	d.txn.AppendTo(&b)
	if err := d.store.Apply(&b); err != nil {
		d.t.Fatal(err)
	}
	d.begin()
}

// entries counts what is in the store.
func (d *desk) entries() int {
	n := 0
	d.txn.Ascend("", "\xff\xff\xff", func(string, []byte) bool { n++; return true })
	return n
}

type pager func(token []byte) (data, next []byte, err error)

// all reads all pages; no page may be much larger than MaxPage.
func (d *desk) all(read pager) string {
	d.t.Helper()
	return strings.Join(pages(d.t, read), "")
}

func pages(t *testing.T, read pager) []string {
	t.Helper()
	var all []string
	var token []byte
	for {
		data, next, err := read(token)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
		if next == nil {
			return all
		}
		if bytes.Equal(next, token) || len(all) > 1000 {
			t.Fatalf("the token %q does not go on", next)
		}
		token = next
	}
}

func (d *desk) bag(k Key) string {
	return d.all(func(token []byte) ([]byte, []byte, error) { return d.Bag(k, token) })
}

func (d *desk) list(k Key, r Range) string {
	d.t.Helper()
	var text []string
	data := d.all(func(token []byte) ([]byte, []byte, error) { return d.OrderedList(k, r, token) })
	if err := eachListEntry([]byte(data), func(sortKey int64, e []byte) {
		text = append(text, fmt.Sprintf("%d:%s", sortKey, e[len(e)-1:]))
	}); err != nil {
		d.t.Fatal(err)
	}
	return strings.Join(text, " ")
}

func (d *desk) want(what, got, want string) {
	d.t.Helper()
	if got != want {
		d.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (d *desk) wantBadToken(read pager, tokens ...string) {
	d.t.Helper()
	for _, token := range tokens {
		if _, _, err := read([]byte(token)); beam.CodeOf(err) != beam.BadData {
			d.t.Errorf("token %q: error %v, want one of bad data", token, err)
		}
	}
}

func key(user string) Key {
	return Key{Transform: "t", Name: "s", Window: []byte("w"), User: []byte(user)}
}

func mapKey(user, entry string) Key {
	k := key(user)
	k.Map = []byte(entry)
	return k
}

func listEntry(sortKey int64, value string) []byte {
	return coder.AppendLengthPrefixed(coder.AppendVarInt(nil, sortKey), []byte(value))
}

func TestABagKeepsItsOrderAcrossBundles(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.AppendBag(key("k"), []byte("a"))
	d.AppendBag(key("k"), []byte("b"))
	d.want("own writes", d.bag(key("k")), "ab")
	d.commit()
	d.AppendBag(key("k"), []byte("c"))
	d.AppendBag(key("other"), []byte("x"))
	d.want("old and own", d.bag(key("k")), "abc")
	d.commit()
	d.want("committed", d.bag(key("k")), "abc")
	d.ClearBag(key("k"))
	d.AppendBag(key("k"), []byte("d"))
	d.want("cleared and written", d.bag(key("k")), "d")
	d.commit()
	d.want("after all", d.bag(key("k"))+d.bag(key("other"))+d.bag(key("none")), "dx")
}

// TestABundleThatIsNotCommittedLeavesNoTrace (I6).
func TestABundleThatIsNotCommittedLeavesNoTrace(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.AppendBag(key("k"), []byte("a"))
	d.SetTimer(timer("f", "k", 10))
	d.commit()
	d.ClearBag(key("k"))
	d.TakeDue(Due{Event: true, Watermark: 100, Limit: 10})
	d.AppendMultimap(mapKey("k", "m"), []byte("x"))
	d.begin() // the bundle failed
	d.want("bag", d.bag(key("k")), "a")
	if got := d.due(100); got != "f/k@10" {
		t.Errorf("timers %q", got)
	}
}

// TestCellsDoNotRunTogether: names and keys of any bytes stay apart.
func TestCellsDoNotRunTogether(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var cells []Key
	for _, name := range []string{"", "a", "ab", "a\x00", "\xff", "\xff\xff"} {
		for _, user := range []string{"", "b", "\x01b", "\xff", "\xff\xff\xff\xff\xff\xff"} {
			for _, window := range []string{"", "\xff"} {
				cells = append(cells, Key{Transform: "t", Name: name, Window: []byte(window), User: []byte(user)})
			}
		}
	}
	for i, c := range cells {
		d.AppendBag(c, []byte{byte(i)})
		d.AppendMultimap(c, []byte{byte(i)})
	}
	d.commit()
	for i, c := range cells {
		if i%2 == 0 {
			d.ClearBag(c)
			d.ClearMultimapKeys(c)
		}
	}
	for i, c := range cells {
		want := ""
		if i%2 == 1 {
			want = string([]byte{byte(i)})
		}
		d.want(fmt.Sprintf("bag %q", c), d.bag(c), want)
		d.want(fmt.Sprintf("map %q", c), d.all(func(token []byte) ([]byte, []byte, error) { return d.Multimap(c, token) }), want)
	}
}

func TestABagIsReadInPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var want strings.Builder
	for i := range 50 {
		run := strings.Repeat(string(rune('a'+i%26)), 100_000)
		want.WriteString(run)
		d.AppendBag(key("k"), []byte(run))
		if i%7 == 0 {
			d.commit()
		}
	}
	read := func(token []byte) ([]byte, []byte, error) { return d.Bag(key("k"), token) }
	got := pages(t, read)
	if len(got) < 4 || strings.Join(got, "") != want.String() {
		t.Errorf("%d pages, %d bytes, want %d bytes in some pages of 1 MB", len(got), len(strings.Join(got, "")), want.Len())
	}
	d.wantBadToken(read, "x", "\xff", "\x00")
	_, next, _ := read(nil)
	other := func(token []byte) ([]byte, []byte, error) { return d.Bag(key("other"), token) }
	d.wantBadToken(other, string(next))
}

// TestPagesAreNotSharedWithTheStore: a page of one entry is not copied, so that
// nothing may be appended to it in place.
func TestPagesAreNotSharedWithTheStore(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	value := append(make([]byte, 0, 100), "one"...)
	d.AppendBag(key("k"), value)
	data, _, _ := d.Bag(key("k"), nil)
	_ = append(data, "tail"...)
	if got := value[:7]; string(got[3:]) == "tail" {
		t.Error("a reader wrote into the store")
	}
}

func TestAMultimap(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	values := func(m string) string {
		return d.all(func(token []byte) ([]byte, []byte, error) { return d.Multimap(mapKey("k", m), token) })
	}
	keys := func() string {
		return d.all(func(token []byte) ([]byte, []byte, error) { return d.MultimapKeys(key("k"), token) })
	}
	d.AppendMultimap(mapKey("k", "one"), []byte("1"))
	d.AppendMultimap(mapKey("k", "two"), []byte("2"))
	d.AppendMultimap(mapKey("else", "three"), []byte("3"))
	d.commit()
	d.AppendMultimap(mapKey("k", "one"), []byte("11"))
	d.want("values", values("one")+","+values("two")+","+values("none"), "111,2,")
	d.want("keys", keys(), "onetwo")
	d.ClearMultimap(mapKey("k", "one"))
	d.want("keys without one", keys(), "two")
	d.AppendMultimap(mapKey("k", "one"), []byte("1"))
	d.commit()
	d.want("keys with one", keys(), "onetwo")
	d.ClearMultimapKeys(key("k"))
	d.want("nothing", keys()+values("one")+values("two"), "")
	d.commit()
	if n := d.entries(); n != 1 {
		t.Errorf("%d entries are left, want that of the other key", n)
	}
}

// TestTheEntriesOfAMultimap: each key with all its values, whatever the runs that
// they were added in.
func TestTheEntriesOfAMultimap(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	entries := func(values *coder.Coder) string {
		return d.all(func(token []byte) ([]byte, []byte, error) { return d.MultimapEntries(key("k"), values, token) })
	}
	varint := coder.VarInt
	d.want("nothing", entries(varint), "")
	d.AppendMultimap(mapKey("k", "one"), []byte{1, 2})
	d.AppendMultimap(mapKey("k", "two"), []byte{3})
	d.AppendMultimap(mapKey("other", "three"), []byte{9})
	d.commit()
	d.AppendMultimap(mapKey("k", "one"), []byte{0x81, 1})
	d.want("entries", entries(varint), "one\x00\x00\x00\x03\x01\x02\x81\x01two\x00\x00\x00\x01\x03")
	d.AppendMultimap(mapKey("k", "bad"), []byte{0x81})
	if _, _, err := d.MultimapEntries(key("k"), varint, nil); err == nil {
		t.Error("values that are not whole were read")
	}
	d.AppendMultimap(mapKey("set", "a"), nil)
	data, _, err := d.MultimapEntries(key("set"), coder.GlobalWindow, nil)
	if string(data) != "a\x00\x00\x00\x01" || err != nil {
		t.Errorf("of values without bytes there are %q, %v", data, err)
	}
}

// TestTheEntriesOfAMultimapAreReadInPages: a key whose values are on two pages is
// on both.
func TestTheEntriesOfAMultimapAreReadInPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	run := bytes.Repeat([]byte{1}, MaxPage/4)
	for _, m := range []string{"a", "b"} {
		for range 3 {
			d.AppendMultimap(mapKey("k", m), run)
		}
	}
	values := map[byte]int{}
	pages := 0
	for token := []byte(nil); pages == 0 || token != nil; pages++ {
		data, next, err := d.MultimapEntries(key("k"), coder.VarInt, token)
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			count := int(binary.BigEndian.Uint32(data[1:]))
			values[data[0]] += count
			data = data[5+count:]
		}
		token = next
	}
	if pages != 2 || values['a'] != 3*len(run) || values['b'] != 3*len(run) {
		t.Errorf("%d pages with %v values", pages, values)
	}
	if _, _, err := d.MultimapEntries(key("k"), coder.VarInt, []byte("x")); err == nil {
		t.Error("any token will do")
	}
}

func TestTheKeysOfAMultimapAreReadInPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var want strings.Builder
	for i := range 30 {
		// Some keys are at the edge of what a prefix can be, all have many values.
		k := strings.Repeat(string([]byte{byte(0xff - 30 + i + 1)}), 100_000)
		want.WriteString(k)
		for range 5 {
			d.AppendMultimap(mapKey("k", k), []byte("v"))
		}
	}
	d.commit()
	read := func(token []byte) ([]byte, []byte, error) { return d.MultimapKeys(key("k"), token) }
	got := pages(t, read)
	if len(got) < 3 || strings.Join(got, "") != want.String() {
		t.Errorf("%d pages, %d bytes, want %d", len(got), len(strings.Join(got, "")), want.Len())
	}
	d.wantBadToken(read, "\xff", "x")
}

func TestAnOrderedListSortsByItsKeys(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const least, most = -1 << 63, 1<<63 - 1
	add := func(entries ...[]byte) {
		if err := d.AppendOrderedList(key("k"), bytes.Join(entries, nil)); err != nil {
			t.Fatal(err)
		}
	}
	add(listEntry(5, "e"), listEntry(-1, "b"), listEntry(most, "z"))
	d.commit()
	add(listEntry(least, "a"), listEntry(0, "c"), listEntry(5, "f"))
	d.want("all", d.list(key("k"), Range{}), "-9223372036854775808:a -1:b 0:c 5:e 5:f 9223372036854775807:z")
	d.want("a range", d.list(key("k"), Range{-1, 5, true}), "-1:b 0:c")
	d.want("an empty range", d.list(key("k"), Range{5, 5, true})+d.list(key("k"), Range{6, 1, true}), "")
	d.ClearOrderedList(key("k"), Range{0, 6, true})
	d.ClearOrderedList(key("k"), Range{9, 3, true})
	d.commit()
	d.want("a range cleared", d.list(key("k"), Range{}), "-9223372036854775808:a -1:b 9223372036854775807:z")
	d.ClearOrderedList(key("k"), Range{})
	d.commit()
	if n := d.entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// TestABadEntryAddsNothing (I7).
func TestABadEntryAddsNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	good := listEntry(1, "a")
	for _, bad := range [][]byte{{0x80}, {1, 5, 'x'}, bytes.Repeat([]byte{0xff}, 20)} {
		err := d.AppendOrderedList(key("k"), append(bytes.Clone(good), bad...))
		if beam.CodeOf(err) != beam.BadData {
			t.Errorf("%x: error %v", bad, err)
		}
	}
	d.want("list", d.list(key("k"), Range{}), "")
}

func TestAnOrderedListIsReadInPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("%d:x", i))
		if err := d.AppendOrderedList(key("k"), listEntry(int64(i), strings.Repeat("x", 100_000))); err != nil {
			t.Fatal(err)
		}
	}
	d.want("list", d.list(key("k"), Range{}), strings.Join(want, " "))
	read := func(token []byte) ([]byte, []byte, error) { return d.OrderedList(key("k"), Range{3, 30, true}, token) }
	if got := pages(t, read); len(got) < 3 {
		t.Errorf("%d pages", len(got))
	}
	d.wantBadToken(read, "x", d.listKey(key("k"), 2), d.listKey(key("k"), 30))
}

// TestLaterBundlesAppendBehindEarlierOnes: whatever the numbers of the bundles.
func TestLaterBundlesAppendBehindEarlierOnes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	want := ""
	for i, bundle := range []uint64{1, 2, 255, 256, 1 << 16, 1 << 31, 1 << 35} {
		d.bundle = bundle - 1
		d.begin()
		for j := range 3 {
			v := fmt.Sprintf("%d%d ", i, j)
			want += v
			d.AppendBag(key("k"), []byte(v))
		}
		d.commit()
	}
	d.want("bag", d.bag(key("k")), want)
}
