package runner

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"fresnel/fnapi"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/translate"
)

// pieceBench has consumers that take elements out, or one that keeps bytes too.
func pieceBench(t testing.TB, keeps bool) *bench {
	edges := []*edge{mainEdge(4, translate.ByKey), mainEdge(2, translate.ByKey)}
	if keeps {
		edges = append(edges, mainEdge(4, translate.Keep))
	}
	return newBench(t, 2, edges...)
}

// addPayloads adds a stream in messages of some pieces each, and overwrites what
// it gave away, as the transport does.
func (b *bench) addPayloads(stream []byte, size, pieces int) {
	b.t.Helper()
	for len(stream) > 0 {
		var message fnapi.Payload
		for range pieces {
			n := min(size, len(stream))
			message = append(message, bytes.Clone(stream[:n]))
			stream = stream[n:]
		}
		if err := b.addPieces(0, message); err != nil {
			b.t.Fatal(err)
		}
		for _, piece := range message {
			for i := range piece {
				piece[i] = 0xff
			}
		}
	}
}

// TestPiecesAreCollectedAsTheWhole: every edge gets the same elements in the same
// order, whichever pieces and messages they come in; some elements span many.
func TestPiecesAreCollectedAsTheWhole(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	for i := range 300 {
		value := fmt.Sprint(i, strings.Repeat("v", rng.IntN(80)))
		if i%50 == 7 {
			value += strings.Repeat("w", 3000)
		}
		stream = append(stream, elem(rng.IntN(60_000), fmt.Sprint("k", i%37), value)...)
	}
	for _, keeps := range []bool{false, true} {
		whole := pieceBench(t, keeps)
		whole.add(stream)
		whole.end()
		for _, size := range []int{1, 7, 100, 257, 1000, 16 << 10} {
			for _, pieces := range []int{1, 3, len(stream)} {
				b := pieceBench(t, keeps)
				b.addPayloads(stream, size, pieces)
				b.end()
				for e := range b.edges {
					if got, want := joinedBlocks(b.got(e)), joinedBlocks(whole.got(e)); !maps.Equal(got, want) {
						t.Fatalf("edge %d, %d pieces of %d: got %v, want %v", e, pieces, size, got, want)
					}
				}
			}
		}
	}
}

// joinedBlocks forgets where blocks end.
func joinedBlocks(got map[int]string) map[int]string {
	for shard, s := range got {
		got[shard] = strings.ReplaceAll(s, "|", "")
	}
	return got
}

// TestALargeElementInPiecesIsReadFewTimes (I7): an iterable that was read from its
// start for each of its pieces, or copied for each of its messages, would take
// minutes.
func TestALargeElementInPiecesIsReadFewTimes(t *testing.T) {
	t.Parallel()
	values := coder.KVOf(coder.StringUTF8, coder.IterableOf(coder.Bytes))
	const n = 4 << 20
	e := coder.AppendHeader(nil, 0, 1, coder.AppendIntervalWindow(nil, minute(0)), beam.NoFiring)
	e = coder.AppendIterableCount(coder.AppendLengthPrefixed(e, []byte("k")), n)
	e = append(e, bytes.Repeat([]byte("\x05value"), n)...)
	for _, pieces := range []int{1, len(e)} {
		b := newBench(t, 0, mainEdge(4, translate.ByKey))
		b.edges[0].key, b.outputs[0].windowed = values, coder.NewWindowed(values, coder.IntervalWindow)
		b.addPayloads(e, 1<<10, pieces)
		b.end()
		if len(b.out.Outputs) != 1 || b.out.Outputs[0].Block.Bytes != len(e) {
			t.Errorf("messages of %d pieces: %d blocks", pieces, len(b.out.Outputs))
		}
	}
}

// TestABadElementInPiecesFailsTheBundle: also where two pieces share it.
func TestABadElementInPiecesFailsTheBundle(t *testing.T) {
	t.Parallel()
	bad := elem(0, "k", "v")
	bad[8] = 0x7f // of the count of windows
	stream := append(elem(0, "k", "v"), bad...)
	for _, size := range []int{len(stream), len(stream) - len(bad) + 10, 5} {
		b := pieceBench(t, false)
		var message fnapi.Payload
		for at := 0; at < len(stream); at += size {
			message = append(message, stream[at:min(at+size, len(stream))])
		}
		err := b.addPieces(0, message)
		if err == nil {
			err = b.finish()
		}
		if err == nil {
			t.Errorf("pieces of %d: no error", size)
		}
	}
}
