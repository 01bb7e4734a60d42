package window

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// load is elements of KV<bytes, bytes> in blocks of about 1 MB.
type load struct {
	blocks [][]byte
	count  int
	bytes  int64
}

// makeLoad returns count elements of 100 bytes, of which key takes about 10,
// whose keys key gives and whose timestamps ts gives.
func makeLoad(s *Strategy, count int, key func(i int) int, ts func(i int) beam.EventTime) load {
	var l load
	var block []byte
	value := make([]byte, 70)
	for i := range count {
		var raw []byte
		windows := s.Fn().Assign(nil, ts(i))
		for _, w := range windows {
			if s.WindowCoder().Kind() == coder.KindIntervalWindow {
				raw = coder.AppendIntervalWindow(raw, w)
			}
		}
		block = coder.AppendHeader(block, ts(i), len(windows), raw, beam.NoFiring)
		block = coder.AppendLengthPrefixed(block, fmt.Appendf(nil, "key-%06d", key(i)))
		block = coder.AppendLengthPrefixed(block, value)
		if len(block) >= 1<<20 {
			l.blocks, l.bytes, block = append(l.blocks, block), l.bytes+int64(len(block)), nil
		}
	}
	l.blocks, l.bytes = append(l.blocks, block), l.bytes+int64(len(block))
	l.count = count
	return l
}

func bytesConfig(words map[string]string) Config {
	s := newStrategy(words)
	return Config{Strategy: s, Input: coder.NewWindowed(coder.KVOf(coder.Bytes, coder.Bytes), s.WindowCoder())}
}

func benchmarkGroup(b *testing.B, c Config, l load) {
	g, err := NewGrouping(c)
	if err != nil {
		b.Fatal(err)
	}
	out := Output{Panes: func(Block) {}}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	for range b.N {
		s := g.NewShard()
		for _, block := range l.blocks {
			if err := s.Add(block, beam.MinEventTime, time.Time{}, &out); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Advance(beam.MaxEventTime, time.Time{}, &out); err != nil {
			b.Fatal(err)
		}
		out.Flush()
	}
	elements := float64(b.N * l.count)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/elements, "ns/element")
	b.ReportMetric(float64(cpuTime()-before)/elements, "cpu-ns/element")
}

// cpuTime is what the process has used, the garbage collector included: on a
// machine that does other work too, it tells more than the wall.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func at0(int) beam.EventTime { return 0 }

func randomKey(keys int) func(int) int {
	r := rand.New(rand.NewPCG(1, 2))
	return func(int) int { return r.IntN(keys) }
}

// The budget of DESIGN section 15 is 600 ns an element, in and out.
func BenchmarkGroup1M(b *testing.B) {
	const count = 1_000_000
	for _, keys := range []int{10, 10_000, count} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			c := bytesConfig(nil)
			c.Bounded = true
			benchmarkGroup(b, c, makeLoad(c.Strategy, count, randomKey(keys), at0))
		})
	}
	b.Run("hot", func(b *testing.B) { // half of the data has one key
		c, key := bytesConfig(nil), randomKey(20_000)
		c.Bounded = true
		benchmarkGroup(b, c, makeLoad(c.Strategy, count, func(i int) int { return max(key(i)-10_000, 0) }, at0))
	})
	b.Run("sessions of one element", func(b *testing.B) {
		c := bytesConfig(map[string]string{"window": "sessions(5s)"})
		c.Bounded = true
		benchmarkGroup(b, c, makeLoad(c.Strategy, count, func(i int) int { return i % 1000 }, func(i int) beam.EventTime { return beam.EventTime(10 * i) }))
	})
	for _, fn := range []string{"fixed(10s)", "sliding(30s every 10s)"} {
		b.Run(fn, func(b *testing.B) { // in 100 windows, in random order
			c, ts := bytesConfig(map[string]string{"window": fn}), randomKey(1000_000)
			benchmarkGroup(b, c, makeLoad(c.Strategy, count, randomKey(100), func(i int) beam.EventTime { return beam.EventTime(ts(i)) }))
		})
	}
}

func BenchmarkIncremental(b *testing.B) {
	const count = 200_000
	for _, trigger := range []string{"repeat(count(10))", "repeat(delay(+1s))", "end-of-window(early=count(100), late=count(1))"} {
		for _, fn := range []string{"global", "fixed(10s)", "sessions(10s)"} {
			b.Run(trigger+"/"+fn, func(b *testing.B) {
				c := bytesConfig(map[string]string{"window": fn, "trigger": trigger})
				benchmarkGroup(b, c, makeLoad(c.Strategy, count, randomKey(10_000), func(i int) beam.EventTime { return beam.EventTime(i) }))
			})
		}
	}
}

// BenchmarkMainJob is the grouping of the main job: few keys, an accumulating
// delay, elements that are accumulators, never merged here.
func BenchmarkMainJob(b *testing.B) {
	c := bytesConfig(map[string]string{"trigger": "repeat(delay(+1s))", "mode": "accumulating"})
	benchmarkGroup(b, c, makeLoad(c.Strategy, 200_000, randomKey(34), at0))
}

// BenchmarkTimers is one element for each of many keys, whose delays then pass
// one by one.
func BenchmarkTimers(b *testing.B) {
	const keys = 100_000
	c := bytesConfig(map[string]string{"trigger": "repeat(delay(+1s))"})
	g, _ := NewGrouping(c)
	s, out := g.NewShard(), Output{Panes: func(Block) {}}
	var elements [][]byte
	for i := range keys {
		elements = append(elements, makeLoad(c.Strategy, 1, func(int) int { return i }, at0).blocks[0])
	}
	now := time.UnixMicro(0)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	defer func() { b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/element") }()
	for i := range b.N {
		now = now.Add(time.Second / keys)
		_ = s.Advance(beam.MinEventTime, now, &out)
		_ = s.Add(elements[i%keys], beam.MinEventTime, now, &out)
		s.Hold()
		s.NextProcessingTime()
	}
}

func BenchmarkRewindow(b *testing.B) {
	c := bytesConfig(nil)
	l := makeLoad(c.Strategy, 10_000, randomKey(100), func(i int) beam.EventTime { return beam.EventTime(i) })
	var out []byte
	for _, fn := range []string{"fixed(10s)", "sliding(30s every 10s)", "global"} {
		f := newStrategy(map[string]string{"window": fn}).Fn()
		b.Run(fn, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				var n int
				out, n, _, _ = f.Rewindow(out[:0], c.Input, l.blocks[0])
				if n != l.count {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*l.count), "ns/element")
		})
	}
}
