package window

import (
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// fuzzed are configurations that between them have all of the code.
func fuzzed() []Config {
	words := []map[string]string{
		{"window": "fixed(10s)"},
		{"window": "fixed(10s)", "output": "earliest"},
		{"window": "global", "trigger": "repeat(count(2))"},
		{"window": "fixed(10s)", "trigger": "end-of-window(early=delay(+1s), late=count(1))", "lateness": "10s", "output": "latest"},
		{"window": "sessions(10s)", "trigger": "after-each(count(1), repeat(count(2)))", "lateness": "10s", "mode": "accumulating"},
		{"window": "sessions(10s)", "trigger": "end-of-window(early=after-all(count(2), delay), late=always)", "closing": "always"},
	}
	var all []Config
	for i, w := range words {
		s := newStrategy(w)
		all = append(all, Config{Strategy: s, Accumulators: i%2 == 1, CompactAbove: 2,
			Input: coder.NewWindowed(coder.KVOf(coder.StringUTF8, coder.Bytes), s.WindowCoder())})
	}
	return all
}

// FuzzShard gives a shard any bytes as blocks, and its own state back to it. No
// input may make it panic or hang (I7), and what it emits must parse.
func FuzzShard(f *testing.F) {
	for i, c := range fuzzed() {
		d := newDesk(Config{Strategy: c.Strategy})
		block := d.element(nil, "k", "v", 1000)
		block = d.element(block, "k", "w", 9000)
		block = d.element(block, "l", "w", 15000)
		f.Add(uint8(i), block, int64(5000), []byte{})
		f.Add(uint8(i), block, int64(12000), block)
	}
	f.Fuzz(func(t *testing.T, which uint8, block []byte, wm int64, answers []byte) {
		configs := fuzzed()
		g, err := NewGrouping(configs[int(which)%len(configs)])
		must(err)
		s, now := g.NewShard(), time.UnixMicro(0)
		check := func(b Block) { g.decodeAny(b) }
		out := &Output{Panes: check, Compact: check}
		for _, at := range []beam.EventTime{beam.MinEventTime, beam.EventTime(wm)} {
			if s.Add(block, at, now, out) != nil || s.AddCompacted(answers, out) != nil {
				return
			}
			restored, err := g.RestoreShard(stateOf(s))
			if err != nil {
				t.Fatalf("its own state: %v", err)
			}
			s = restored
		}
		must(s.Advance(beam.MaxEventTime, now.Add(time.Hour), out))
		out.Flush()
		if !s.Empty() || s.Keys() != 0 {
			t.Error("not empty")
		}
	})
}

// decodeAny reads a block, whatever the keys and values are.
func (g *Grouping) decodeAny(b Block) {
	grouped := coder.NewWindowed(coder.KVOf(g.key, coder.IterableOf(g.value)), g.window)
	for data := b.Data; len(data) > 0; b.Count-- {
		var e coder.Element
		n, err := grouped.Scan(data, &e)
		must(err)
		data = data[n:]
	}
	if b.Count != 0 {
		panic("count")
	}
}

// FuzzRestore gives RestoreShard any bytes.
func FuzzRestore(f *testing.F) {
	for i, c := range fuzzed() {
		d := newDesk(Config{Strategy: c.Strategy})
		_ = d.add("a=x@1", "a=y@2", "b=z@8", "a=w@25")
		f.Add(uint8(i), stateOf(d.shard))
	}
	f.Fuzz(func(t *testing.T, which uint8, state []byte) {
		configs := fuzzed()
		g, err := NewGrouping(configs[int(which)%len(configs)])
		must(err)
		s, err := g.RestoreShard(state)
		if err != nil {
			return
		}
		out := &Output{Panes: func(Block) {}, Compact: func(Block) {}}
		s.Hold()
		stateOf(s)
		_ = s.Advance(beam.MaxEventTime, time.UnixMicro(1<<40), out)
	})
}

// FuzzParseStrategy gives ParseStrategy any proto, and groups by what parses.
func FuzzParseStrategy(f *testing.F) {
	for _, text := range []string{"default", "end-of-window(early=count(2), late=repeat(delay(+1s)))", "after-each(always, never)"} {
		b, err := proto.Marshal(strategyProto(map[string]string{"window": "sliding(20s every 10s)", "trigger": text}))
		must(err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ws pipepb.WindowingStrategy
		if proto.Unmarshal(b, &ws) != nil {
			return
		}
		for _, c := range []*coder.Coder{coder.IntervalWindow, coder.GlobalWindow} {
			s, err := ParseStrategy(&ws, c)
			if err != nil {
				if code := beam.CodeOf(err); code != beam.InvalidPipeline && code != beam.Unsupported {
					t.Errorf("%v", err)
				}
				continue
			}
			_ = s.String()
			tryOut(t, s)
		}
	})
}

// tryOut plays a little with a strategy.
func tryOut(t *testing.T, s *Strategy) {
	g, err := NewGrouping(Config{Strategy: s, Input: coder.NewWindowed(coder.KVOf(coder.StringUTF8, coder.StringUTF8), s.WindowCoder())})
	if err != nil {
		return
	}
	d := &desk{g: g, shard: g.NewShard(), wm: 0, now: time.UnixMicro(0)}
	d.out = Output{Panes: func(Block) {}}
	if d.g.window.Kind() == coder.KindIntervalWindow && !s.Fn().Standard() {
		return
	}
	for range 3 {
		if err := d.add("a=x@1", "a=y@2", "a=z@1000000000"); err != nil {
			t.Fatal(err)
		}
		d.wm += 1500
		d.now = d.now.Add(time.Second)
		if err := d.advance(); err != nil {
			t.Fatal(err)
		}
	}
	must(d.shard.Advance(beam.MaxEventTime, d.now, &d.out))
	if !d.shard.Empty() {
		t.Error("not empty")
	}
}
