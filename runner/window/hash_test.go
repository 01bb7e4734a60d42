package window

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/store"
)

// grouped is a model of GroupByKey: the values of each key and window, one
// after another.
type grouped map[string][]byte

func (m grouped) add(window, key, value []byte) {
	id := string(window) + string(key)
	m[id] = append(m[id], value...)
}

// addOutput adds the groups of a block, each of which must be new.
func (m grouped) addOutput(t *testing.T, g *Grouping, b Block) {
	if b.Rest != nil {
		m.addHot(t, g, b)
		return
	}
	out := coder.NewWindowed(coder.KVOf(g.key, coder.IterableOf(g.value)), g.window)
	for data := b.Data; len(data) > 0; {
		var e coder.Element
		n, err := out.Scan(data, &e)
		must(err)
		data = data[n:]
		key, values, _ := out.Value().SplitKV(e.Value)
		id := string(e.Windows) + string(key)
		if m[id] != nil {
			t.Fatalf("%q comes twice", id)
		}
		m[id] = append([]byte{}, values[4:]...)
	}
}

// addHot adds a group whose values are in its element and beside it.
func (m grouped) addHot(t *testing.T, g *Grouping, b Block) {
	out := coder.NewWindowed(coder.KVOf(g.key, coder.StateBackedIterableOf(g.value)), g.window)
	var e coder.Element
	n, err := out.Scan(b.Data, &e)
	must(err)
	key, values, _ := out.Value().SplitKV(e.Value)
	id := string(e.Windows) + string(key)
	if n != len(b.Data) || b.Count != 1 || m[id] != nil {
		t.Fatalf("%q comes twice, or with others", id)
	}
	head := values[4:]
	count, size, err := coder.DecodeVarInt(head)
	must(err)
	for head = head[size:]; count > 0; count-- {
		n, err := g.value.Skip(head)
		must(err)
		m[id] = append(m[id], head[:n]...)
		head = head[n:]
	}
	m[id] = append(m[id], b.Rest.(*pages).data...)
}

// pages is a rest that a test looks at.
type pages struct {
	t     *testing.T
	value *coder.Coder
	data  []byte
}

func (p *pages) Page(values []byte) {
	p.data = append(p.data, values...)
	size, count := len(values), 0
	for ; len(values) > 0; count++ {
		n, err := p.value.Skip(values)
		must(err)
		values = values[n:]
	}
	if size > restPage && count > 1 {
		p.t.Errorf("a page has %d bytes", size)
	}
}

func (p *pages) Token() []byte { return []byte("a token") }

// Both ways group as a map does, whatever the sizes of values, groups, blocks
// and windows; a key's values keep their order.
func TestGroupingIsThatOfAMap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		elements, keys     int
		valueSize          int
		windows, blockSize int
		trigger            string
	}{
		{"much", 300_000, 5_000, 40, 3, 0, "default"},
		{"distinct keys", 20_000, 1 << 40, 10, 1, 0, "default"},
		{"few keys", 20_000, 3, 10, 1, 4000, "default"},
		{"some keys", 20_000, 500, 30, 1, 4000, "default"},
		{"empty values", 5_000, 100, 0, 1, 100, "default"},
		{"windows in a block", 20_000, 100, 30, 50, 0, "default"},
		{"two windows in a block", 20_000, 100, 30, 2, 0, "default"},
		{"several batches", 300, 20, 200_000, 1, 0, "default"},
		{"large elements", 40, 4, 3 << 20, 2, 0, "default"},
		{"incremental", 20_000, 100, 30, 5, 4000, "end-of-window(early=never)"},
		{"incremental, many keys", 20_000, 10_000, 30, 2, 0, "end-of-window(early=never)"},
		{"incremental, hot", 20_000, 2, 300, 1, 0, "end-of-window(early=never)"},
	} {
		test := func(t *testing.T, spill *store.Spill, temp *store.Temp, hot bool) {
			t.Parallel()
			s := newStrategy(map[string]string{"window": "fixed(10s)", "trigger": c.trigger})
			g, err := NewGrouping(Config{Strategy: s, Input: coder.NewWindowed(coder.KVOf(coder.Bytes, coder.Bytes), coder.IntervalWindow), Spill: spill, Temp: temp})
			must(err)
			r := rand.New(rand.NewPCG(1, 2))
			shard, d := g.NewShard(), desk{g: g}
			want, got := grouped{}, grouped{}
			out := &Output{BlockSize: c.blockSize, Panes: func(b Block) { got.addOutput(t, g, b) }}
			if hot {
				out.RestAbove, out.Rest = 1000, func() Rest { return &pages{t: t, value: g.value} }
			}
			var block []byte
			for i := range c.elements {
				key, value := fmt.Append(nil, r.IntN(c.keys)), bytes.Repeat([]byte{byte(i)}, r.IntN(2*c.valueSize+1))
				ts := beam.EventTime(r.IntN(c.windows)) * 10_000
				block = d.element(block, string(key), string(value), ts)
				want.add(coder.AppendIntervalWindow(nil, beam.Window{Start: ts, End: ts + 10_000}),
					coder.AppendLengthPrefixed(nil, key), coder.AppendLengthPrefixed(nil, value))
				if len(block) > 100_000 {
					must(shard.Add(block, beam.MinEventTime, d.now, out))
					shard.Relieve()
					block = nil
				}
				if i == c.elements/2 {
					state, err := shard.AppendState(nil)
					must(err)
					shard, err = g.RestoreShard(state)
					must(err)
				}
			}
			must(shard.Add(block, beam.MinEventTime, d.now, out))
			must(shard.Advance(beam.MaxEventTime, d.now, out))
			out.Flush()
			if len(got) != len(want) {
				t.Fatalf("%d groups, want %d", len(got), len(want))
			}
			for id, values := range want {
				if !bytes.Equal(got[id], values) {
					t.Fatalf("%q has other values", id)
				}
			}
			if shard.Bytes() != 0 {
				t.Errorf("%d bytes are left", shard.Bytes())
			}
		}
		t.Run(c.name, func(t *testing.T) { test(t, nil, nil, false) })
		t.Run(c.name+", hot keys", func(t *testing.T) { test(t, nil, nil, true) })
		t.Run(c.name+", on disk", func(t *testing.T) {
			spill := store.NewSpill(t.TempDir())
			t.Cleanup(spill.Close)
			temp := store.NewTemp(store.TempOptions{Dir: t.TempDir()})
			t.Cleanup(temp.Close)
			test(t, spill, temp, true)
		})
	}
}

// A shard that is relieved holds next to nothing, however much came.
func TestWhatIsOnDiskIsNotHeld(t *testing.T) {
	t.Parallel()
	for _, fn := range []string{"global", "fixed(10s)"} {
		c := bytesConfig(map[string]string{"window": fn})
		c.Spill = store.NewSpill(t.TempDir())
		defer c.Spill.Close()
		ts := randomKey(30_000)
		l := makeLoad(c.Strategy, 200_000, randomKey(100), func(i int) beam.EventTime { return beam.EventTime(ts(i)) })
		g, err := NewGrouping(c)
		must(err)
		s, out := g.NewShard(), &Output{Panes: func(Block) {}}
		for _, b := range l.blocks {
			must(s.Add(b, beam.MinEventTime, desk{}.now, out))
			s.Relieve()
		}
		if most := int64(relieveLeast + 256<<10); s.Bytes() > most {
			t.Errorf("%s: %d bytes of %d are held", fn, s.Bytes(), l.bytes)
		}
		must(s.Advance(beam.MaxEventTime, desk{}.now, out))
		if s.Bytes() != 0 {
			t.Errorf("%s: %d bytes are held at the end", fn, s.Bytes())
		}
	}
}

// What the append way holds of a window is little more than its data, also
// where windows share blocks (DESIGN section 15: 1.2 bytes for a byte).
func TestHeldBytes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fn         string
		most, half float64 // of all windows, of half of them
	}{
		{"global", 1.01, 1.01},
		{"fixed(10s)", 1.2, 0.72},
		{"sliding(30s every 10s)", 1.7, 1.4},
		// A window that has a small part of a block copies its elements, each in that
		// window only: without the other 29 windows, which are most of it.
		{"sliding(30s every 1s)", 3.2, 2.2},
	} {
		c := bytesConfig(map[string]string{"window": test.fn})
		ts := randomKey(100_000)
		l := makeLoad(c.Strategy, 50_000, randomKey(100), func(i int) beam.EventTime { return beam.EventTime(ts(i)) })
		g, err := NewGrouping(c)
		must(err)
		s, out := g.NewShard(), &Output{Panes: func(Block) {}}
		for _, b := range l.blocks {
			must(s.Add(b, beam.MinEventTime, desk{}.now, out))
		}
		if ratio := float64(s.Bytes()) / float64(l.bytes); ratio > test.most {
			t.Errorf("%s: %.2f bytes held for a byte", test.fn, ratio)
		}
		// A window that ends gives back what only it held.
		must(s.Advance(50_000, desk{}.now, out))
		if ratio := float64(s.Bytes()) / float64(l.bytes); ratio > test.half {
			t.Errorf("%s: %.2f bytes held for a byte after half of the windows", test.fn, ratio)
		}
	}
}

// The blocks of an output are of the size asked for, unless one element is larger.
func TestBlocksAreOfTheSizeAskedFor(t *testing.T) {
	t.Parallel()
	for _, trigger := range []string{"default", "end-of-window(early=never)"} {
		c := bytesConfig(map[string]string{"trigger": trigger})
		l := makeLoad(c.Strategy, 10_000, randomKey(2_000), at0)
		g, err := NewGrouping(c)
		must(err)
		s, blocks := g.NewShard(), 0
		out := &Output{BlockSize: 10_000, Panes: func(b Block) {
			if blocks++; len(b.Data) > 11_000 {
				t.Errorf("%s: a block of %d bytes", trigger, len(b.Data))
			}
		}}
		for _, b := range l.blocks {
			must(s.Add(b, beam.MinEventTime, desk{}.now, out))
		}
		must(s.Advance(beam.MaxEventTime, desk{}.now, out))
		out.Flush()
		if blocks < 70 || blocks > 120 {
			t.Errorf("%s: %d blocks", trigger, blocks)
		}
	}
}

// The loops over elements allocate for blocks, groups and windows, not for
// elements.
func TestGroupingAllocatesNothingForAnElement(t *testing.T) {
	c := bytesConfig(nil)
	l := makeLoad(c.Strategy, 50_000, randomKey(100), at0)
	g, err := NewGrouping(c)
	must(err)
	out := &Output{Panes: func(Block) {}}
	allocs := testing.AllocsPerRun(3, func() {
		s := g.NewShard()
		for _, b := range l.blocks {
			must(s.Add(b, beam.MinEventTime, desk{}.now, out))
		}
		must(s.Advance(beam.MaxEventTime, desk{}.now, out))
		out.Flush()
	})
	if allocs > 200 {
		t.Errorf("%g allocations for %d elements", allocs, l.count)
	}
	s := c
	s.Strategy = newStrategy(map[string]string{"trigger": "repeat(count(1000000))"})
	if g, err = NewGrouping(s); err != nil {
		t.Fatal(err)
	}
	shard := g.NewShard()
	for _, b := range l.blocks { // the keys are there, and have room
		must(shard.Add(b, beam.MinEventTime, desk{}.now, out))
	}
	allocs = testing.AllocsPerRun(3, func() {
		for _, b := range l.blocks {
			must(shard.Add(b, beam.MinEventTime, desk{}.now, out))
		}
	})
	if allocs > float64(l.count)/50 { // chunks of values
		t.Errorf("incremental: %g allocations for %d elements", allocs, l.count)
	}
}
