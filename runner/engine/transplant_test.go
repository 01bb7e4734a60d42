package engine

import (
	"maps"
	"slices"
	"testing"
	"time"

	"fresnel/internal/beam"
)

// TestATransplantKeepsNoneOfItsInput: the store gives each row in a buffer that it uses again.
func TestATransplantKeepsNoneOfItsInput(t *testing.T) {
	t.Parallel()
	spec := Spec{Pools: []PoolSpec{{Name: "go", Native: true, Slots: 1}},
		Stages: []StageSpec{{Name: "read", Role: Source, Shards: 1, Outputs: 1}, {Name: "write", Role: Sink, Shards: 1}},
		Edges:  []EdgeSpec{{From: 0, To: 1}}, Options: Options{Durable: true, Streaming: true}}
	image := imageOfTwoReads(t, spec)
	move := Transplant{From: spec, To: spec, Stages: map[int]int{0: 0, 1: 1},
		Place:   func(stage, input int, id BlockID) []Place { return []Place{{Stage: stage, Input: input, Block: id}} },
		Reached: make([]StageSnapshot, len(spec.Stages))}
	buffer := make([]byte, 0, 1<<10)
	rows, err := move.Rows(func(yield func(string, []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(image)) {
			buffer = append(buffer[:0], image[key]...)
			if !yield(key, buffer) {
				return
			}
		}
		clear(buffer[:cap(buffer)])
	})
	if err != nil {
		t.Fatal(err)
	}
	_, restored, err := Restore(spec, func(yield func(string, []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			if !yield(key, rows[key]) {
				return
			}
		}
	})
	if err != nil || restored.Commits == 0 {
		t.Fatalf("%+v: %v", restored, err)
	}
}

// imageOfTwoReads is the image of a job whose source has told a block, twice.
func imageOfTwoReads(t *testing.T, spec Spec) map[string][]byte {
	t.Helper()
	e, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	image := map[string][]byte{}
	step := func(ev Event) Ready {
		ev.Now = time.Unix(1_700_000_000, 0)
		r := e.Step(ev)
		for _, c := range r.Commits {
			for _, row := range c.Image {
				if image[row.Key] = row.Value; row.Value == nil {
					delete(image, row.Key)
				}
			}
		}
		return r
	}
	r := step(Event{})
	for i := range 2 {
		if len(r.Start) != 1 {
			t.Fatalf("%d bundles of the source", len(r.Start))
		}
		r = step(Event{BundleDone: &BundleDone{Bundle: r.Start[0].ID, Outcome: Outcome{
			Outputs: []Output{{Edge: 0, Block: Block{ID: BlockID(i + 1), Count: 1, Bytes: 10, Hold: beam.EventTime(i)}}},
			Sources: []SourceProgress{{Output: -1, Watermark: beam.EventTime(i)}}}}})
	}
	return image
}
