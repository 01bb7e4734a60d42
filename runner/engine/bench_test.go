package engine

import (
	"runtime"
	"testing"
	"time"

	"fresnel/internal/beam"
)

// BenchmarkStep measures one bundle in a running streaming job: its end, its
// commit, and the start of what follows, per bundle and per block.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name   string
		blocks int
	}{{"blocks=1", 1}, {"blocks=16", 16}, {"blocks=256", 256}} {
		b.Run(c.name, func(b *testing.B) { benchmarkStep(b, c.blocks, false) })
		b.Run(c.name+"/durable", func(b *testing.B) { benchmarkStep(b, c.blocks, true) })
	}
}

func benchmarkStep(b *testing.B, blocks int, durable bool) {
	e, err := New(Spec{
		Pools: []PoolSpec{{Name: "go", Native: true, Slots: 4}},
		Stages: []StageSpec{
			{Name: "read", Role: Source, Shards: 1, Outputs: 1},
			{Name: "group", Shards: 64, Exclusive: true, Outputs: 1},
			{Name: "write", Role: Sink, Shards: 4},
		},
		Edges:   []EdgeSpec{{From: 0, To: 1}, {From: 1, To: 2}},
		Options: Options{Streaming: true, Durable: durable},
	})
	if err != nil {
		b.Fatal(err)
	}
	m := &mill{engine: e, blocks: blocks, now: time.Unix(0, 0)}
	m.step(Event{})
	b.ReportAllocs()
	b.ResetTimer()
	for m.bundles = 0; m.bundles < b.N; {
		m.turn()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(m.bundles*blocks), "ns/block")
}

// mill ends bundles as fast as it can.
type mill struct {
	engine  *Engine
	now     time.Time
	todo    []Bundle
	entries []Entry
	blocks  int
	bundles int
	last    BlockID
	out     []Output
	times   []ShardTimes
}

func (m *mill) step(ev Event) {
	m.now = m.now.Add(10 * time.Microsecond)
	ev.Now = m.now
	r := m.engine.Step(ev)
	m.todo = append(m.todo, r.Start...)
	m.entries = append(m.entries, r.Entries...)
}

func (m *mill) turn() {
	if len(m.entries) > 0 {
		en := m.entries[0]
		m.entries = append(m.entries[:0], m.entries[1:]...)
		m.step(Event{EntryWritten: &EntryWritten{Stage: en.Stage, Shard: en.Shard, N: en.N}})
		return
	}
	bundle := m.todo[0]
	m.todo = append(m.todo[:0], m.todo[1:]...)
	m.bundles++
	m.out, m.times = m.out[:0], m.times[:0]
	var o Outcome
	switch bundle.Stage {
	case 0:
		for i := range m.blocks {
			m.emit(0, i*7%64)
		}
		o.Sources = []SourceProgress{{Output: -1, Watermark: beam.EventTime(m.bundles)}}
	case 1:
		for i, w := range bundle.Work {
			m.emit(1, i%4)
			m.times = append(m.times, ShardTimes{Shard: w.Shard, NextEvent: beam.EventTime(m.bundles + 100),
				Hold: beam.EventTime(m.bundles + 50)})
		}
	}
	o.Outputs, o.Shards, o.Elapsed = m.out, m.times, 100*time.Microsecond
	m.step(Event{BundleDone: &BundleDone{Bundle: bundle.ID, Outcome: o}})
}

func (m *mill) emit(edge, shard int) {
	m.last++
	m.out = append(m.out, Output{Edge: edge, Shard: shard,
		Block: Block{ID: m.last, Count: 100, Bytes: 10000, MinTime: beam.EventTime(m.bundles)}})
}

// TestHeap measures what data costs the engine, pending or in flight: nothing for
// an element, and less than 200 bytes for a block.
func TestHeap(t *testing.T) {
	small, inFlight := bytesPerBlock(t, 1, false)
	pending, _ := bytesPerBlock(t, 1_000_000, false)
	durable, durableInFlight := bytesPerBlock(t, 1, true)
	t.Logf("durable: %.0f bytes for a pending block, %.0f for one in flight", durable, durableInFlight)
	if durable > 200 || durableInFlight > 200 {
		t.Errorf("a block of a durable job costs %.0f bytes pending, %.0f in flight", durable, durableInFlight)
	}
	t.Logf("%.0f bytes for a pending block, %.0f for one in flight, %.0f for one of one element", pending, inFlight, small)
	if pending > 200 || inFlight > 200 {
		t.Errorf("a block costs %.0f bytes pending, %.0f in flight", pending, inFlight)
	}
	if pending > small+8 {
		t.Errorf("elements cost memory: %.0f bytes a block instead of %.0f", pending, small)
	}
}

// bytesPerBlock brings many blocks, and then a worker that takes all of them.
func bytesPerBlock(t *testing.T, elements int, durable bool) (pending, inFlight float64) {
	const blocks = 200_000
	e, err := New(Spec{
		Pools: []PoolSpec{{Name: "go", Native: true, Slots: 1}, {Name: "py", Slots: 1}},
		Stages: []StageSpec{{Name: "read", Role: Source, Shards: 1, Outputs: 1},
			{Name: "map", Pool: 1, Shards: 16, Exclusive: true}},
		Edges:   []EdgeSpec{{From: 0, To: 1}},
		Options: Options{Durable: durable},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := heapInUse()
	id := e.Step(Event{Now: time.Unix(0, 0)}).Start[0].ID
	for n := 0; n < blocks; n += 1000 {
		var o Outcome
		for i := range 1000 {
			o.Outputs = append(o.Outputs, Output{Shard: (n + i) % 16, Block: Block{ID: BlockID(n + i + 1),
				Count: elements, Bytes: 100 * elements, MinTime: beam.EventTime(n * 7919 % blocks)}})
		}
		id = e.Step(Event{Now: time.Unix(0, int64(n)), BundleDone: &BundleDone{Bundle: id, Outcome: o}}).Start[0].ID
	}
	pending = float64(heapInUse()-before) / blocks
	e.stages[1].cost = cost{seen: maxElements, element: 1e-9} // one bundle may take all
	bundle := e.Step(Event{WorkerUp: &WorkerUp{Pool: 1}}).Start
	inFlight = float64(heapInUse()-before) / blocks
	if left := e.stages[1].queued.blocks; elements == 1 && (len(bundle) != 1 || left > 0) {
		t.Fatalf("%d blocks are left", left)
	}
	runtime.KeepAlive(e)
	return pending, inFlight
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
