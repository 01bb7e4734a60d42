package runner

import (
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/store"
	"fresnel/translate"
)

// TestAnEntryIsNeverWrittenInPart: a block that cannot be read is an error before
// anything is sent. The sink's progress would say that the rest is there.
func TestAnEntryIsNeverWrittenInPart(t *testing.T) {
	t.Parallel()
	blocks := store.NewMemory()
	j := &job{store: blocks}
	x := &sinkExecutor{job: j, stage: &stage{plan: &translate.Stage{Name: "Write"}}, input: coder.NewWindowed(pairs, coder.GlobalWindow)}
	whole, lost := blocks.AddBlock(at(1, "k", "v")), blocks.AddBlock(at(2, "k", "w"))
	entry := engine.Entry{N: 1, Blocks: []engine.BlockID{engine.BlockID(whole), engine.BlockID(lost)}}
	if all, err := x.elements(entry); err != nil || len(all) != 2 {
		t.Fatalf("%d elements, %v", len(all), err)
	}
	var b store.Batch
	b.Free(lost)
	if err := blocks.Apply(&b); err != nil {
		t.Fatal(err)
	}
	if all, err := x.elements(entry); beam.CodeOf(err) != beam.Internal {
		t.Errorf("%d of 2 elements would be written: %v", len(all), err)
	}
}
