package engine

import (
	"encoding/binary"
	"errors"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fresnel/internal/beam"
)

// FuzzEvents sends an engine events that make little sense: it must not panic,
// and must not ask to be woken in the past (I7).
func FuzzEvents(f *testing.F) {
	f.Add([]byte{})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(rng.UintN(256))
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { babble(t, data) })
}

// TestNonsense runs some of the same in each test.
func TestNonsense(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		data := make([]byte, rng.IntN(1500))
		for i := range data {
			data[i] = byte(rng.UintN(256))
		}
		babble(t, data)
	}
}

// babbler reads choices from bytes; at their end it reads zeros.
type babbler struct {
	data []byte
	e    *Engine
	spec Spec
	ids  []BundleID
	now  time.Time
	// emitted is what bundles have announced.
	emitted map[BundleID][]Output
	// image is that of the commits so far.
	image map[string][]byte
}

func (b *babbler) byte() int {
	if len(b.data) == 0 {
		return 0
	}
	v := b.data[0]
	b.data = b.data[1:]
	return int(v)
}

// num is mostly small, sometimes anything.
func (b *babbler) num() int {
	v := b.byte()
	if v < 250 {
		return v % 5
	}
	if len(b.data) < 8 {
		return -v
	}
	n := int(binary.LittleEndian.Uint64(b.data))
	b.data = b.data[8:]
	return n
}

func (b *babbler) time() time.Time {
	if n := b.num(); n != 0 {
		return b.now.Add(time.Duration(n) * time.Millisecond)
	}
	return time.Time{}
}

func babble(t *testing.T, data []byte) {
	b := &babbler{data: data, now: time.Unix(77, 0), image: map[string][]byte{}, emitted: map[BundleID][]Output{}}
	b.spec = b.newSpec()
	e, err := New(b.spec)
	if err != nil {
		t.Fatal(err)
	}
	b.e = e
	for n := 0; len(b.data) > 0 || n < 10; n++ {
		b.step(t)
	}
	_, _ = e.Snapshot(), e.Explain()
	b.restore(t)
}

func (b *babbler) newSpec() Spec {
	return Spec{
		Pools: []PoolSpec{{Name: "go", Native: true, Slots: 2}, {Name: "py", Slots: 2}},
		Stages: []StageSpec{
			{Name: "read", Role: Source, Shards: 2, Outputs: 2},
			{Name: "map", Pool: 1, Shards: 3, Outputs: 1, SideInputs: 1, Splittable: true},
			{Name: "sdf", Pool: 1, Shards: 1, Outputs: 1, Splittable: true, CheckpointAfter: 3 * time.Millisecond},
			{Name: "keyed", Pool: 1, Shards: 3, Outputs: 2, Exclusive: true},
			{Name: "stable", Shards: 2, Outputs: 1, StableInput: true},
			{Name: "write", Role: Sink, Shards: 2, MaxEntryRows: 3},
			{Name: "test", Role: Script, Shards: 2, Outputs: 1},
		},
		Edges: []EdgeSpec{{From: 0, To: 1}, {From: 0, Output: 1, To: 1, Kind: Side}, {From: 0, To: 2},
			{From: 1, To: 3}, {From: 2, To: 3}, {From: 3, To: 5, Keep: true}, {From: 3, Output: 1, To: 4},
			{From: 4, To: 3, Input: 1, Kind: Feedback}, {From: 6, To: 3}},
		Options: Options{Streaming: b.num()%2 == 0, UserRetries: b.num(), LostRetries: b.num(),
			MaxPendingBytes: int64(b.num()), MaxBundleElements: b.num(), Backoff: time.Duration(b.num()),
			Durable: true, fine: 4},
	}
}

// restore checks that the image of whatever has happened is of use, and tells
// what the engine knew.
func (b *babbler) restore(t *testing.T) {
	e, r, err := Restore(b.spec, rowsOf(b.image))
	if err != nil {
		t.Fatalf("the engine's own image: %v", err)
	}
	if want := slices.Sorted(maps.Keys(b.e.readers)); !slices.Equal(r.Blocks, want) {
		t.Fatalf("blocks %v are restored, not %v", r.Blocks, want)
	}
	if b.e.state != Running {
		return
	}
	for i, st := range e.stages {
		was := b.e.stages[i]
		if st.input != was.input || !slices.Equal(st.output, was.output) {
			t.Fatalf("%s is restored at %v, %v, not at %v, %v", st.Name, st.input, st.output, was.input, was.output)
		}
	}
}

// FuzzRestore reads an image that anything may have happened to: it must not
// panic, and nor must the job that goes on from it (I7).
func FuzzRestore(f *testing.F) {
	f.Add([]byte{}, []byte{})
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(damaged(rng), randomBytes(rng, 200))
	}
	f.Fuzz(misread)
}

// TestDamage runs some of the same in each test.
func TestDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		misread(t, damaged(rng), randomBytes(rng, rng.IntN(300)))
	}
}

func randomBytes(rng *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.UintN(256))
	}
	return data
}

// damaged is an image with nothing or a little wrong, as bytes: of each row the
// lengths of its key and of its value, and then these.
func damaged(rng *rand.Rand) []byte {
	b := &babbler{data: randomBytes(rng, 2000), now: time.Unix(77, 0), image: map[string][]byte{}, emitted: map[BundleID][]Output{}}
	b.spec = b.newSpec()
	b.e, _ = New(b.spec)
	for len(b.data) > 0 {
		ev := b.event()
		ev.Now = b.now
		b.take(b.e.Step(ev))
	}
	var data []byte
	for key, val := range rowsOf(b.image) {
		data = append(data, byte(len(key)), byte(len(val)))
		data = append(append(data, key...), val...)
	}
	for n := rng.IntN(4); n > 0 && len(data) > 0; n-- {
		data[rng.IntN(len(data))] = byte(rng.UintN(256))
	}
	return data
}

func misread(t *testing.T, rows, events []byte) {
	b := &babbler{data: events, now: time.Unix(77, 0), image: map[string][]byte{}, emitted: map[BundleID][]Output{}}
	b.spec = b.newSpec()
	e, _, err := Restore(b.spec, rowsIn(rows))
	if err != nil {
		return
	}
	b.e = e
	for n := 0; len(b.data) > 0 || n < 10; n++ {
		b.step(t)
	}
	_, _ = e.Snapshot(), e.Explain()
}

func rowsIn(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(data) >= 2 {
			key, val := int(data[0]), int(data[1])
			data = data[2:]
			if len(data) < key+val || !yield(string(data[:key]), data[key:key+val]) {
				return
			}
			data = data[key+val:]
		}
	}
}

func (b *babbler) step(t *testing.T) {
	b.now = b.now.Add(time.Duration(b.num()) * time.Millisecond)
	ev := b.event()
	ev.Now = b.now
	r := b.e.Step(ev)
	b.take(r)
	if !r.Wake.IsZero() && b.e.state < Done && r.Wake.Before(b.e.time(b.e.now)) {
		t.Fatalf("wants to be woken at %v, it is %v", r.Wake, b.now)
	}
	if (r.State == Failed) != (r.Err != nil) {
		t.Fatalf("state %v with error %v", r.State, r.Err)
	}
}

func (b *babbler) take(r Ready) {
	for _, s := range r.Start {
		b.ids = append(b.ids, s.ID)
	}
	for _, c := range r.Commits {
		change(b.image, c.Image)
	}
}

func (b *babbler) id() BundleID {
	n := b.num()
	if len(b.ids) == 0 || n < 0 || n > len(b.ids) {
		return BundleID(n)
	}
	return b.ids[max(len(b.ids)-1-n, 0)]
}

func (b *babbler) event() Event {
	switch b.byte() % 16 {
	case 0:
		return Event{WorkerUp: &WorkerUp{Pool: b.num(), Worker: b.num()}}
	case 1:
		if b.num()%2 == 0 {
			return Event{WorkerLeaving: &WorkerLeaving{Pool: b.num(), Worker: b.num()}}
		}
		return Event{WorkerLost: &WorkerLost{Pool: b.num(), Worker: b.num()}}
	case 2:
		return Event{BundleFailed: &BundleFailed{Bundle: b.id(), Err: b.failure()}}
	case 3:
		return Event{SplitDone: &SplitDone{Bundle: b.id(), Accepted: b.num() > 0, Primary: b.parts(), Residual: b.parts()}}
	case 4, 5:
		return Event{EntryWritten: &EntryWritten{Stage: 5, Shard: b.num(), N: int64(b.num())}}
	case 6:
		seq := CommitSeq(b.num())
		return Event{Durable: &seq}
	case 7:
		if b.byte() < 20 {
			return Event{Drain: b.num() > 1, Cancel: b.num() == 4, Halt: b.num() == 3}
		}
		return Event{EntryWritten: &EntryWritten{Stage: b.num(), Shard: b.num(), N: int64(b.num())}}
	case 8:
		return Event{}
	case 9, 10:
		id := b.id()
		b.emitted[id] = b.outcome().Outputs
		return Event{BundleEmitted: &BundleEmitted{Bundle: id, Outputs: b.emitted[id]}}
	}
	done := &BundleDone{Bundle: b.id(), Outcome: b.outcome()}
	if b.byte() < 220 {
		done.Outcome.Outputs = append(slices.Clone(b.emitted[done.Bundle]), done.Outcome.Outputs...)
	}
	return Event{BundleDone: done}
}

func (b *babbler) failure() error {
	switch b.num() {
	case 0:
		return nil
	case 1:
		return errors.New("oh")
	case 2:
		return &beam.Error{Code: beam.UserCode}
	}
	return &beam.Error{Code: beam.Unavailable}
}

// outcome is one that the bundle might have, now and then with nonsense in it.
func (b *babbler) outcome() Outcome {
	var o Outcome
	for range b.byte() % 5 {
		o.Outputs = append(o.Outputs, Output{Edge: b.edge(), Shard: b.num() % 3, Block: b.block()})
	}
	switch b.byte() % 4 {
	case 0:
		o.Shards = []ShardTimes{{Shard: b.num(), NextEvent: beam.EventTime(b.num()), NextProcessing: b.time(),
			Hold: beam.EventTime(b.num())}}
	case 1:
		o.Residuals = b.parts()
	case 2:
		o.Sources = []SourceProgress{{Shard: b.num(), Output: b.num() - 1, Watermark: beam.EventTime(b.num()),
			Done: b.byte() < 50, NotBefore: b.time()}}
	}
	if b.byte() < 40 {
		o.NewGates = []Gate{{ID: GateID(b.num()), Stage: 1, SideInput: b.num() / 4, End: beam.EventTime(b.num())}}
	}
	if b.byte() < 40 {
		o.Opened = []GateID{GateID(b.num())}
	}
	o.Elapsed = time.Duration(b.num())
	return o
}

// edge is mostly one that starts at the stage of the last bundle.
func (b *babbler) edge() int {
	n := b.num()
	if len(b.ids) == 0 {
		return n
	}
	bundle := b.e.bundles[b.ids[len(b.ids)-1]]
	if bundle == nil || n > 3 {
		return n
	}
	for i, edge := range b.spec.Edges {
		if edge.From == bundle.stage.index {
			if n--; n < 0 {
				return i
			}
		}
	}
	return 0
}

func (b *babbler) parts() []ShardBlocks {
	var all []ShardBlocks
	for range b.byte() % 3 {
		p := ShardBlocks{Shard: b.num()}
		for range b.byte() % 3 {
			p.Blocks = append(p.Blocks, InputBlock{Input: b.num(), Block: b.block()})
		}
		all = append(all, p)
	}
	return all
}

func (b *babbler) block() Block {
	block := Block{ID: BlockID(b.num()), Count: b.num(), Bytes: b.num(), MinTime: beam.EventTime(b.num()),
		Hold: beam.EventTime(b.num()), NotBefore: b.time()}
	for range b.byte() % 3 {
		block.Gates = append(block.Gates, GateID(b.num()))
	}
	return block
}
