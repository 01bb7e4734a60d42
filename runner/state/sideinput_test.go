package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/store"
)

var kv = coder.KVOf(coder.StringUTF8, coder.StringUTF8)

func str(s string) string { return string(coder.AppendLengthPrefixed(nil, []byte(s))) }

func newSide(multimap bool) *SideInput { return NewSideInput(multimap, store.NewShelf(nil, nil, nil)) }

func delta(t *testing.T, s *SideInput, c *coder.Coder, values ...string) *SideDelta {
	t.Helper()
	d := s.NewDelta()
	for _, v := range values {
		window, value, _ := strings.Cut(v, " ")
		if err := d.Add([]byte(window), []byte(value), c); err != nil {
			t.Fatal(err)
		}
	}
	d.Seal()
	return d
}

func pair(k, v string) string { return str(k) + str(v) }

func iterable(t *testing.T, v *SideView, window string) string {
	t.Helper()
	return strings.Join(pages(t, func(token []byte) ([]byte, []byte, error) { return v.Iterable([]byte(window), token) }), "")
}

func TestAViewStaysAsItWasTaken(t *testing.T) {
	t.Parallel()
	s := newSide(false)
	empty := s.View()
	s.Apply(delta(t, s, nil, "w a", "w b", "v x"))
	first := s.View()
	s.Apply(delta(t, s, nil, "w c", "u y"))
	second := s.View()
	for i := range 50 {
		s.Apply(delta(t, s, nil, fmt.Sprintf("w %d ", i)))
	}
	for _, c := range []struct {
		view *SideView
		want string
	}{{empty, "||"}, {first, "ab|x|"}, {second, "abc|x|y"}} {
		if got := iterable(t, c.view, "w") + "|" + iterable(t, c.view, "v") + "|" + iterable(t, c.view, "u"); got != c.want {
			t.Errorf("the view reads %q, want %q", got, c.want)
		}
	}
	if got := iterable(t, s.View(), "w"); !strings.HasPrefix(got, "abc0 1 2 ") || !strings.HasSuffix(got, "48 49 ") {
		t.Errorf("after many deltas: %q", got)
	}
}

func TestWindowsAreForgottenInTheirOrder(t *testing.T) {
	t.Parallel()
	s := newSide(false)
	s.Apply(delta(t, s, nil, "a 1", "b 2", "c 3"))
	before := s.View()
	s.Forget("c")
	if got := iterable(t, s.View(), "b") + iterable(t, s.View(), "c"); got != "3" || s.Windows() != 1 {
		t.Errorf("left: %q, %d windows", got, s.Windows())
	}
	if got := iterable(t, before, "a") + iterable(t, before, "b"); got != "12" {
		t.Errorf("a view from before reads %q", got)
	}
}

// TestEachPaneHasAVersionOfItsOwn: the part of I11 that is about side inputs.
func TestEachPaneHasAVersionOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newSide(false)
	versions := []uint64{s.View().Version()}
	s.Apply(s.NewDelta())
	if v := s.View().Version(); v != versions[0] {
		t.Errorf("an empty delta made version %d of %d", v, versions[0])
	}
	for range 3 {
		s.Apply(delta(t, s, nil, "w a"))
		versions = append(versions, s.View().Version())
	}
	if len(slices.Compact(slices.Clone(versions))) != 4 {
		t.Errorf("versions %v", versions)
	}
}

func TestASideInputIsReadInPagesOfWholeElements(t *testing.T) {
	t.Parallel()
	s := newSide(false)
	var want strings.Builder
	for i := range 20 {
		value := str(strings.Repeat(fmt.Sprint(i%10), 90_000))
		want.WriteString(value)
		want.WriteString(value)
		s.Apply(delta(t, s, nil, "w "+value, "w "+value))
	}
	v := s.View()
	read := func(token []byte) ([]byte, []byte, error) { return v.Iterable([]byte("w"), token) }
	got := pages(t, read)
	if len(got) < 3 || strings.Join(got, "") != want.String() {
		t.Fatalf("%d pages, %d bytes of %d", len(got), len(strings.Join(got, "")), want.Len())
	}
	for i, page := range got {
		for rest := []byte(page); len(rest) > 0; {
			_, n, err := coder.DecodeLengthPrefixed(rest)
			if err != nil {
				t.Fatalf("page %d does not end with an element: %v", i, err)
			}
			rest = rest[n:]
		}
	}
	d := newDesk(t)
	d.wantBadToken(read, "x", "-1", "0", "9999999", "1.5")
}

func TestAMultimapSideInput(t *testing.T) {
	t.Parallel()
	s := newSide(true)
	s.Apply(delta(t, s, kv, "w "+pair("a", "1"), "w "+pair("b", "2"), "w "+pair("a", "3")))
	early := s.View()
	for range 3 {
		s.Apply(delta(t, s, kv, "w "+pair("c", "4"), "w "+pair("a", "5")))
	}
	check := func(v *SideView, a, c, keys string) {
		t.Helper()
		read := func(k string) string {
			return strings.Join(pages(t, func(token []byte) ([]byte, []byte, error) {
				return v.Multimap([]byte("w"), []byte(str(k)), token)
			}), "")
		}
		if got := read("a") + "|" + read("c") + "|" + read("none"); got != a+"|"+c+"|" {
			t.Errorf("values %q, want %q and %q", got, a, c)
		}
		if got := pages(t, func(token []byte) ([]byte, []byte, error) { return v.MultimapKeys([]byte("w"), token) }); strings.Join(got, "") != keys {
			t.Errorf("keys %q, want %q", got, keys)
		}
	}
	check(early, str("1")+str("3"), "", str("a")+str("b"))
	check(s.View(), str("1")+str("3")+str("5")+str("5")+str("5"), str("4")+str("4")+str("4"), str("a")+str("b")+str("c"))
	for range 20 {
		s.Apply(delta(t, s, kv, "w "+pair("d", "6")))
	}
	check(s.View(), str("1")+str("3")+str("5")+str("5")+str("5"), str("4")+str("4")+str("4"), str("a")+str("b")+str("c")+str("d"))

	groups, _, err := early.MultimapKeysValues([]byte("w"), nil)
	want := str("a") + "\x00\x00\x00\x02" + str("1") + str("3") + str("b") + "\x00\x00\x00\x01" + str("2")
	if err != nil || string(groups) != want {
		t.Errorf("groups %q, %v, want %q", groups, err, want)
	}
	if data, next, err := s.View().MultimapKeysValues([]byte("none"), nil); data != nil || next != nil || err != nil {
		t.Errorf("a window without elements: %q, %q, %v", data, next, err)
	}
}

func TestKeysOfManyLayersAreReadOnceInPages(t *testing.T) {
	t.Parallel()
	s := newSide(true)
	var want []string
	for i := range 7 {
		d := s.NewDelta()
		for k := range 20 {
			key := str(fmt.Sprintf("%02d", k+i*10) + strings.Repeat("k", 20_000))
			if i == 0 || k >= 10 {
				want = append(want, key)
			}
			if err := d.Add([]byte("w"), []byte(key+str("v")), kv); err != nil {
				t.Fatal(err)
			}
		}
		d.Seal()
		s.Apply(d)
	}
	v := s.View()
	got := pages(t, func(token []byte) ([]byte, []byte, error) { return v.MultimapKeys([]byte("w"), token) })
	if len(got) < 2 || strings.Join(got, "") != strings.Join(want, "") {
		t.Errorf("%d pages, %d bytes of %d", len(got), len(strings.Join(got, "")), len(strings.Join(want, "")))
	}
}

// TestASideInputIsReadAsItIsDeclared (I7).
func TestASideInputIsReadAsItIsDeclared(t *testing.T) {
	t.Parallel()
	i, m := newSide(false).View(), newSide(true).View()
	_, _, err1 := m.Iterable(nil, nil)
	_, _, err2 := i.Multimap(nil, nil, nil)
	_, _, err3 := i.MultimapKeys(nil, nil)
	_, _, err4 := i.MultimapKeysValues(nil, nil)
	for n, err := range []error{err1, err2, err3, err4} {
		if beam.CodeOf(err) != beam.BadData || !strings.Contains(err.Error(), "declares") {
			t.Errorf("%d: %v", n, err)
		}
	}
	if err := newSide(true).NewDelta().Add(nil, []byte{9}, kv); beam.CodeOf(err) != beam.BadData {
		t.Errorf("a value that is no pair: %v", err)
	}
}

// BenchmarkApply: a commit must not take longer for a large delta.
func BenchmarkApply(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := newSide(true)
		d := s.NewDelta()
		for i := range 100_000 {
			_ = d.Add([]byte("w"), []byte(pair(fmt.Sprint(i), "v")), kv) // never fails
		}
		d.Seal()
		b.StartTimer()
		s.Apply(d)
	}
}
