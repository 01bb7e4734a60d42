package fnapi

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
)

// inPieces is a message as the transport has it: in pieces of some size, with an
// empty one in front.
func inPieces(wire []byte, size int) mem.BufferSlice {
	pieces := mem.BufferSlice{mem.SliceBuffer(nil)}
	for len(wire) > 0 {
		n := min(size, len(wire))
		pieces = append(pieces, mem.SliceBuffer(wire[:n:n]))
		wire = wire[n:]
	}
	return pieces
}

// countedBuffer counts its references.
type countedBuffer struct {
	mem.SliceBuffer
	refs *int
}

func (b countedBuffer) Ref()  { *b.refs++ }
func (b countedBuffer) Free() { *b.refs-- }

// TestBuffersOfAMessageAreHeldUntilItsRelease: from the second message on, the
// reader uses what it has again.
func TestBuffersOfAMessageAreHeldUntilItsRelease(t *testing.T) {
	t.Parallel()
	f := newFeed(&Bundle{ID: "bundle", Source: "source", Input: [][]byte{[]byte("some"), bytes.Repeat([]byte("more"), copyBelow)}})
	msg, _ := f.next()
	var in elementsIn
	refs := 0
	for range 2 {
		message := mem.BufferSlice{}
		for _, b := range inPieces(msg.wire.Materialize(), 1000) {
			message = append(message, countedBuffer{b.(mem.SliceBuffer), &refs})
		}
		if err := newCodec().Unmarshal(message, &in); err != nil {
			t.Fatal(err)
		}
		if len(in.entries) != 2 || in.entries[0].data.Size() != 4+4*copyBelow || refs != len(message) {
			t.Fatalf("%d entries, %d references to %d buffers", len(in.entries), refs, len(message))
		}
		in.release()
		if refs != 0 || len(in.entries) != 0 {
			t.Fatalf("%d references to buffers are left", refs)
		}
	}
	if err := newCodec().Unmarshal(mem.BufferSlice{countedBuffer{mem.SliceBuffer{0x0a, 0x7f}, &refs}}, &in); err == nil || refs != 0 {
		t.Errorf("of a malformed message %d references are left, error %v", refs, err)
	}
}
