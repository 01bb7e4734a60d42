package engine

import (
	"testing"
	"time"

	"fresnel/internal/beam"
)

// BenchmarkRestore restores a million pending blocks.
func BenchmarkRestore(b *testing.B) {
	spec, image := manyBlocks(b, 1_000_000)
	keys := make([]string, 0, len(image))
	values := make([][]byte, 0, len(image))
	bytes := 0
	for key, val := range rowsOf(image) {
		keys, values = append(keys, key), append(values, val)
		bytes += len(key) + len(val)
	}
	b.ReportMetric(float64(bytes)/float64(len(keys)), "B/row")
	b.ReportAllocs()
	for b.Loop() {
		_, r, err := Restore(spec, func(yield func(string, []byte) bool) {
			for i := range keys {
				if !yield(keys[i], values[i]) {
					return
				}
			}
		})
		if err != nil || len(r.Blocks) != 1_000_000 {
			b.Fatal(err)
		}
	}
}

// TestManyBlocksRestore: a large image is restored whole.
func TestManyBlocksRestore(t *testing.T) {
	spec, image := manyBlocks(t, 100_000)
	_, r, err := Restore(spec, rowsOf(image))
	if err != nil || len(r.Blocks) != 100_000 {
		t.Fatalf("%d blocks: %v", len(r.Blocks), err)
	}
}

// manyBlocks is the image of a job with pending blocks.
func manyBlocks(t testing.TB, blocks int) (Spec, map[string][]byte) {
	spec := Spec{
		Pools: []PoolSpec{{Name: "go", Native: true, Slots: 1}, {Name: "py", Slots: 1}},
		Stages: []StageSpec{{Name: "read", Role: Source, Shards: 1, Outputs: 1},
			{Name: "map", Pool: 1, Shards: 16, Exclusive: true}},
		Edges:   []EdgeSpec{{From: 0, To: 1}},
		Options: Options{Durable: true},
	}
	e, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	image := map[string][]byte{}
	id := e.Step(Event{Now: time.Unix(1_700_000_000, 0)}).Start[0].ID
	for n := 0; n < blocks; n += 1000 {
		o := Outcome{Sources: []SourceProgress{{Output: -1, Watermark: 1_600_000_000_000}}}
		for i := range 1000 {
			o.Outputs = append(o.Outputs, Output{Shard: (n + i) % 16, Block: Block{ID: BlockID(n + i + 1),
				Count: 100, Bytes: 10_000, MinTime: beam.EventTime(1_700_000_000_000 + n*7919%blocks)}})
		}
		r := e.Step(Event{Now: time.Unix(1_700_000_001, int64(n)), BundleDone: &BundleDone{Bundle: id, Outcome: o}})
		change(image, r.Commits[0].Image)
		id = r.Start[0].ID
	}
	return spec, image
}
