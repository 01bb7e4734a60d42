package runner

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/runner/store"
	"fresnel/runner/window"
	"fresnel/translate"
)

// bench is a job that has nothing but a store and gates, and a collector with
// one output of string pairs in interval windows.
type bench struct {
	*collector
	t     testing.TB
	job   *job
	edges []*edge
}

var (
	pairs    = coder.KVOf(coder.StringUTF8, coder.StringUTF8)
	windowed = coder.NewWindowed(pairs, coder.IntervalWindow)
)

func newBench(t testing.TB, lane int, edges ...*edge) *bench {
	j := &job{store: store.NewMemory(), gates: newGates()}
	c := &collector{job: j, out: &engine.Outcome{}, fx: &effects{}, lane: lane}
	o := &outputCollector{c: c, windowed: windowed}
	for i, e := range edges {
		e.index = i
		o.serve(e)
	}
	c.outputs = []*outputCollector{o}
	return &bench{collector: c, t: t, job: j, edges: edges}
}

func mainEdge(shards int, r translate.Routing) *edge {
	return &edge{shards: shards, key: pairs, plan: translate.Edge{Kind: translate.MainInput, Routing: r}, to: &stage{}}
}

func minute(n int) beam.Window {
	return beam.Window{Start: beam.EventTime(n * 60_000), End: beam.EventTime((n + 1) * 60_000)}
}

func elem(ts int, key, value string, windows ...beam.Window) []byte {
	if len(windows) == 0 {
		windows = []beam.Window{minute(0)}
	}
	var raw []byte
	for _, w := range windows {
		raw = coder.AppendIntervalWindow(raw, w)
	}
	b := coder.AppendHeader(nil, beam.EventTime(ts), len(windows), raw, beam.NoFiring)
	b = coder.AppendLengthPrefixed(b, []byte(key))
	return coder.AppendLengthPrefixed(b, []byte(value))
}

func (b *bench) add(pieces ...[]byte) {
	b.t.Helper()
	for _, p := range pieces {
		if err := b.collector.add(0, p); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) end() {
	b.t.Helper()
	if err := b.finish(); err != nil {
		b.t.Fatal(err)
	}
}

// got is what an edge got, by shard: values in order, "|" after each block.
// Count and least timestamp of each block must be those of its elements.
func (b *bench) got(e int) map[int]string {
	b.t.Helper()
	all := map[int]string{}
	for _, o := range b.out.Outputs {
		if o.Edge != e {
			continue
		}
		data := b.job.store.Block(uint64(o.Block.ID))
		if len(data) != o.Block.Bytes {
			b.t.Errorf("a block of %d bytes is said to have %d", len(data), o.Block.Bytes)
		}
		count, least := 0, beam.MaxEventTime
		for len(data) > 0 {
			var el coder.Element
			n, err := windowed.Scan(data, &el)
			if err != nil {
				b.t.Fatal(err)
			}
			_, value, _ := pairs.SplitKV(el.Value)
			all[o.Shard] += string(value[1:]) + " "
			count, least = count+1, min(least, el.Timestamp)
			data = data[n:]
		}
		if count != o.Block.Count || least != o.Block.MinTime || o.Block.Hold != o.Block.MinTime {
			b.t.Errorf("a block of %d elements from %d on is said to have %d from %d, held at %d", count, least, o.Block.Count, o.Block.MinTime, o.Block.Hold)
		}
		all[o.Shard] += "|"
	}
	return all
}

// elements are what an edge got of all shards, sorted.
func (b *bench) elements(e int) []string {
	b.t.Helper()
	var all []string
	for _, s := range b.got(e) {
		all = append(all, strings.Fields(strings.ReplaceAll(s, "|", " "))...)
	}
	slices.Sort(all)
	return all
}

// TestElementsMayBeCutAnywhere: a stream of elements gives each edge the same
// whichever pieces it comes in, all of one byte included.
func TestElementsMayBeCutAnywhere(t *testing.T) {
	t.Parallel()
	var stream []byte
	var want []string
	for i := range 12 {
		v := fmt.Sprintf("v%02d", i)
		want = append(want, v)
		stream = append(stream, elem(i*10_000, fmt.Sprintf("k%d", i%5), v, minute(i/6))...)
	}
	run := func(pieces ...[]byte) {
		t.Helper()
		side := &edge{plan: translate.Edge{Kind: translate.SideInput}, side: state.NewSideInput(true, store.NewShelf(nil, nil, nil)), key: pairs, to: &stage{}}
		b := newBench(t, 6, mainEdge(4, translate.Keep), mainEdge(4, translate.ByKey), mainEdge(4, translate.Spread), side)
		b.add(pieces...)
		b.end()
		for e := range 3 {
			if got := b.elements(e); !slices.Equal(got, want) {
				t.Fatalf("edge %d got %v of pieces %v", e, got, sizes(pieces))
			}
		}
		if got := b.got(0)[2]; strings.ReplaceAll(got, "|", "") != strings.Join(want, " ")+" " {
			t.Fatalf("lane 6 is not in order in shard 2: %s", got)
		}
		for shard, got := range b.got(1) {
			if values := strings.Fields(strings.ReplaceAll(got, "|", " ")); !slices.IsSorted(values) {
				t.Fatalf("shard %d is not in order: %v", shard, values)
			}
		}
		side.side.Apply(b.fx.sides[0].delta)
		first := coder.AppendIntervalWindow(nil, minute(0))
		data, _, err := side.side.View().Multimap(first, coder.AppendLengthPrefixed(nil, []byte("k1")), nil)
		if err != nil || string(data) != "\x03v01" {
			t.Fatalf("the side input has %q, %v", data, err)
		}
	}
	run(stream)
	single := make([][]byte, len(stream))
	for i := range stream {
		single[i] = stream[i : i+1]
		run(stream[:i], stream[i:])
	}
	run(single...)
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var pieces [][]byte
		for rest := stream; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 90))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		run(pieces...)
	}
}

func sizes(pieces [][]byte) []int {
	var all []int
	for _, p := range pieces {
		all = append(all, len(p))
	}
	return all
}

// TestAnElementThatIsNotWholeAtTheEndIsAnError (I7).
func TestAnElementThatIsNotWholeAtTheEndIsAnError(t *testing.T) {
	t.Parallel()
	whole := elem(0, "k", "v")
	for n := 1; n < len(whole); n++ {
		b := newBench(t, 0, mainEdge(1, translate.Keep))
		b.add(whole, whole[:n])
		if err := b.finish(); err == nil {
			t.Errorf("no error for %d of %d bytes", n, len(whole))
		}
	}
	b := newBench(t, 0, mainEdge(1, translate.Keep))
	bad := elem(0, "k", "v")
	copy(bad[8:], []byte{0xff, 0xff, 0xff, 0xff}) // the number of windows
	if err := b.collector.add(0, bad); beam.CodeOf(err) != beam.BadData {
		t.Errorf("bytes that are no element: %v", err)
	}
}

// TestALargeElementInManyPiecesIsReadFewTimes (I7): in 8,000 pieces an element
// would otherwise be copied, and its parts skipped, 8,000 times.
func TestALargeElementInManyPiecesIsReadFewTimes(t *testing.T) {
	t.Parallel()
	small := elem(5, "k", "small")
	huge := elem(7, "k", strings.Repeat("x", 8<<20))
	b := newBench(t, 0, mainEdge(4, translate.Keep), mainEdge(4, translate.ByKey))
	stream := slices.Concat(small, huge, small)
	for at := 0; at < len(stream); at += 1000 {
		b.add(stream[at:min(at+1000, len(stream))])
	}
	b.end()
	for e := range b.edges {
		if got := b.elements(e); len(got) != 3 {
			t.Errorf("edge %d got %d elements", e, len(got))
		}
	}
}

func TestWholeBlocksAreNotCopied(t *testing.T) {
	t.Parallel()
	data := slices.Concat(elem(1, "a", "1"), elem(2, "b", "2"))
	b := newBench(t, 5, mainEdge(4, translate.Keep), mainEdge(2, translate.Keep))
	b.add(data)
	if err := b.addCounted(0, data, 2, 1); err != nil {
		t.Fatal(err)
	}
	b.end()
	for _, o := range b.out.Outputs {
		if block := b.job.store.Block(uint64(o.Block.ID)); &block[0] != &data[0] || cap(block) != len(data) {
			t.Error("a block is a copy, or can be appended to in place")
		}
	}
	if a, c := b.got(0)[1], b.got(1)[1]; a != "1 2 |1 2 |" || c != a {
		t.Errorf("shards of lane 5 got %q and %q", a, c)
	}
}

func TestCountedBlocksAreLookedAtWhereNeeded(t *testing.T) {
	t.Parallel()
	data := slices.Concat(elem(1, "a", "1"), elem(2, "b", "2"))
	b := newBench(t, 0, mainEdge(4, translate.Keep), mainEdge(4, translate.ByKey))
	for range 2 {
		if err := b.addCounted(0, data, 2, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.addCounted(0, nil, 0, beam.MaxEventTime); err != nil {
		t.Fatal(err)
	}
	b.end()
	if a, c := b.elements(0), b.elements(1); !slices.Equal(a, []string{"1", "1", "2", "2"}) || !slices.Equal(a, c) {
		t.Errorf("edges got %v and %v", a, c)
	}
}

func TestElementsOfAKeyGoToItsShard(t *testing.T) {
	t.Parallel()
	b := newBench(t, 3, mainEdge(8, translate.ByKey))
	want := map[int]string{}
	for i := range 100 {
		k := fmt.Sprint("key", i%20)
		b.add(elem(i, k, fmt.Sprint(i)))
		want[shardOf(coder.AppendLengthPrefixed(nil, []byte(k)), 8)] += fmt.Sprint(i) + " "
	}
	b.end()
	for shard, got := range b.got(0) {
		if strings.ReplaceAll(got, "|", "") != want[shard] {
			t.Errorf("shard %d got %q, want %q", shard, got, want[shard])
		}
	}
}

// TestKeyedBlocksAreAsLargeAsTheyHaveToBe: many elements fill blocks of about
// 1 MB without room to spare, in one piece or in many.
func TestKeyedBlocksAreAsLargeAsTheyHaveToBe(t *testing.T) {
	t.Parallel()
	var stream []byte
	for i := range 40_000 {
		stream = append(stream, elem(i, fmt.Sprint("key", i%5000), strings.Repeat("v", 180))...)
	}
	for _, piece := range []int{len(stream), 4 << 20, 300_000} {
		b := newBench(t, 0, mainEdge(4, translate.ByKey))
		for at := 0; at < len(stream); at += piece {
			b.add(stream[at:min(at+piece, len(stream))])
		}
		b.end()
		spare, blocks := 0, len(b.out.Outputs)
		for _, o := range b.out.Outputs {
			data := b.job.store.Block(uint64(o.Block.ID))
			if len(data) > maxBlock+200 {
				t.Errorf("a block of %d bytes", len(data))
			}
			spare += cap(data) - len(data)
		}
		if total := b.job.store.BlockBytes(); total != int64(len(stream)) || spare > len(stream)/4 || blocks > 24 {
			t.Errorf("pieces of %d: %d bytes in %d blocks with %d to spare, of %d", piece, total, blocks, spare, len(stream))
		}
	}
}

// TestAHandfulOfElementsStaysTogether: it is one bundle.
func TestAHandfulOfElementsStaysTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t, 0, mainEdge(4, translate.Spread))
	var stream []byte
	for i := range spreadFirst {
		stream = append(stream, elem(i, "k", fmt.Sprint(i))...)
	}
	b.add(stream)
	b.end()
	if len(b.out.Outputs) != 1 || b.out.Outputs[0].Block.Count != spreadFirst {
		t.Errorf("got %v", b.got(0))
	}
}

// TestAHandfulOfRestrictionsIsSpread: each may be as much work as all the others.
func TestAHandfulOfRestrictionsIsSpread(t *testing.T) {
	t.Parallel()
	e := mainEdge(4, translate.Spread)
	e.to.spec.Restrictions = true
	b := newBench(t, 0, e)
	var stream []byte
	for i := range 4 {
		stream = append(stream, elem(i, "k", fmt.Sprint(i))...)
	}
	b.add(stream)
	b.end()
	if n := len(b.out.Outputs); n != 4 {
		t.Errorf("%d blocks of 4 restrictions", n)
	}
	for shard, got := range b.got(0) {
		if strings.Count(got, "|") > 1 || got == "" {
			t.Errorf("shard %d got %q", shard, got)
		}
	}
}

// TestFewElementsAreSpread: each of a few elements may be one that takes long.
func TestFewElementsAreSpread(t *testing.T) {
	t.Parallel()
	b := newBench(t, 0, mainEdge(4, translate.Spread))
	var stream []byte
	for i := range spreadFirst + 16 {
		stream = append(stream, elem(i, "k", fmt.Sprint(i))...)
	}
	b.add(stream)
	b.end()
	for shard := range 4 {
		if got := strings.Count(b.got(0)[shard], "|"); got < 2 {
			t.Errorf("shard %d got %d blocks", shard, got)
		}
	}
}

func TestManyElementsAreSpreadInRuns(t *testing.T) {
	t.Parallel()
	var stream []byte
	for i := range 50_000 {
		stream = append(stream, elem(i, "k", "0123456789")...)
	}
	b := newBench(t, 0, mainEdge(4, translate.Spread))
	b.add(stream)
	b.end()
	most := 0
	for _, got := range b.got(0) {
		most = max(most, len(strings.Fields(strings.ReplaceAll(got, "|", " "))))
	}
	if n := len(b.out.Outputs); n > 200 || most > 15_000 {
		t.Errorf("%d blocks, and %d elements in one of 4 shards", n, most)
	}
}

// TestSmallBundlesSpreadToo: the next bundle goes on where the last has ended.
func TestSmallBundlesSpreadToo(t *testing.T) {
	t.Parallel()
	e := mainEdge(4, translate.Spread)
	seen := map[int]bool{}
	for range 4 {
		b := newBench(t, 0, e)
		b.add(elem(0, "k", "v"))
		b.end()
		seen[b.out.Outputs[0].Shard] = true
	}
	if len(seen) != 4 {
		t.Errorf("4 bundles of one element went to shards %v", seen)
	}
}

// TestElementsWaitForTheWindowsOfASideInput.
func TestElementsWaitForTheWindowsOfASideInput(t *testing.T) {
	t.Parallel()
	b := newBench(t, 0)
	two := window.Fn{Kind: window.Fixed, Size: 2 * time.Minute}
	g := &gater{gates: b.job.gates, stage: 7, main: coder.IntervalWindow, sides: []sideGate{{input: 1, fn: two, awaited: func(end beam.EventTime) beam.EventTime { return end }}}}
	g.static = []engine.Gate{b.job.gates.of(sideKey{7, 0}, beam.EndOfGlobalWindow)}
	keep, keyed := mainEdge(1, translate.Keep), mainEdge(2, translate.ByKey)
	for i, e := range []*edge{keep, keyed} {
		e.gater, e.index = g, i
		b.outputs[0].serve(e)
	}
	b.add(elem(0, "a", "1", minute(0)), elem(0, "a", "2", minute(1)), elem(0, "a", "3", minute(2)),
		elem(0, "a", "4", minute(0)), elem(0, "a", "5", minute(1), minute(2)))
	b.end()
	waits := map[string]string{}
	for _, o := range b.out.Outputs {
		if o.Edge != 0 {
			continue
		}
		var ends []string
		for _, id := range o.Block.Gates {
			for _, gate := range b.out.NewGates {
				if gate.ID == id {
					ends = append(ends, fmt.Sprintf("%d:%d", gate.SideInput, gate.End))
					break
				}
			}
		}
		data := b.job.store.Block(uint64(o.Block.ID))
		waits[strings.Join(ends, " ")] += fmt.Sprint(o.Block.Count, " of ", len(data)/len(elem(0, "a", "1")))
	}
	global := fmt.Sprintf("0:%d", beam.EndOfGlobalWindow)
	for _, want := range []string{global + " 1:119999", global + " 1:239999", global + " 1:119999 1:239999"} {
		if waits[want] == "" {
			t.Errorf("no element waits for %q; they wait for %v", want, waits)
		}
	}
	if len(waits) != 3 || !strings.HasPrefix(waits[global+" 1:119999"], "3 ") {
		t.Errorf("%v", waits)
	}
}

// TestShardsOfKeysNeverChange: state is kept by them.
func TestShardsOfKeysNeverChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key       string
		of8, of1k int
	}{
		{"", 3, 947}, {"\x00", 1, 89}, {"a", 2, 714}, {"b", 5, 101}, {"\x01a", 4, 516}, {"\x05hello", 2, 610},
		{"province", 0, 816}, {strings.Repeat("x", 1000), 4, 148},
	} {
		if a, b := shardOf([]byte(c.key), 8), shardOf([]byte(c.key), 1000); a != c.of8 || b != c.of1k {
			t.Errorf("%.10q is in shards %d of 8 and %d of 1000, but state is kept in %d and %d", c.key, a, b, c.of8, c.of1k)
		}
	}
}

func TestKeysAreDealtEvenly(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{numbered("%d", 8000), numbered("\x04%04d", 8000), numbered("user-%08d", 8000)} {
		var counts [8]int
		for _, k := range keys {
			counts[shardOf([]byte(k), 8)]++
		}
		if least, most := slices.Min(counts[:]), slices.Max(counts[:]); least < 850 || most > 1150 {
			t.Errorf("%s...: %v", keys[0], counts)
		}
	}
}

func numbered(format string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

// TestCollectingAllocatesNothingForAnElement: what a bundle's output allocates is
// for its blocks; ten times the elements in as many blocks cost no more.
func TestCollectingAllocatesNothingForAnElement(t *testing.T) {
	stream := func(n int) []byte {
		var all []byte
		for i := range n {
			all = append(all, elem(i, fmt.Sprint("key", i%100), "v")...)
		}
		return all
	}
	for _, r := range []translate.Routing{translate.Keep, translate.ByKey, translate.Spread} {
		few, many := stream(4000), stream(40_000)
		allocs := func(data []byte) float64 {
			return testing.AllocsPerRun(5, func() {
				c := newBench(t, 0, mainEdge(8, r))
				c.add(data)
				c.end()
				c.job.store.Close()
			})
		}
		// Slices that grow are made some more times.
		if a, b := allocs(few), allocs(many); b > a+20 {
			t.Errorf("%v: %.0f allocations for 4,000 elements, %.0f for 40,000", r, a, b)
		}
	}
}

// BenchmarkCollector routes elements of 100 bytes (DESIGN.md section 15: 0.1 us
// by key).
func BenchmarkCollector(b *testing.B) {
	var stream []byte
	const n = 10_000
	for i := range n {
		stream = append(stream, elem(i, fmt.Sprint("key", i), strings.Repeat("v", 65))...)
	}
	for _, r := range []translate.Routing{translate.Keep, translate.ByKey, translate.Spread} {
		b.Run(r.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := newBench(b, 0, mainEdge(8, r))
				c.add(bytes.Clone(stream))
				c.end()
				c.job.store.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/element")
		})
	}
}
