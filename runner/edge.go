package runner

import (
	"sync/atomic"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/runner/engine"
	"fresnel/runner/state"
	"fresnel/translate"
)

// edge is an edge of the plan at run time: how the elements of an output find
// the shards of a consumer.
type edge struct {
	index int
	plan  translate.Edge
	to    *stage
	// shards of the consumer.
	shards int
	key    *coder.Coder // the KV coder, for ByKey
	gater  *gater
	// turn counts the runs that a Spread edge has dealt.
	turn atomic.Uint64
	// side is the side input that the edge feeds, triggered if panes of it may
	// come before its windows end.
	side        *state.SideInput
	triggered   bool
	sideWindows *coder.Coder
	wholeEnd    beam.EventTime
	awaited     func(end beam.EventTime) (until beam.EventTime) // of its windows, see Strategy.AwaitedUntil
}

// gates are those of all elements of the edge.
func (e *edge) gates() []engine.Gate {
	if e.gater == nil {
		return nil
	}
	return e.gater.static
}

// keep is the consumer's shard of what stays in a lane.
func (e *edge) keep(lane int) int { return lane % e.shards }

// byKey is the consumer's shard of an element.
func (e *edge) byKey(el *coder.Element) (int, error) {
	key, _, err := e.key.SplitKV(el.Value)
	if err != nil {
		return 0, err
	}
	return shardOf(key, e.shards), nil
}

// shardOf deals a key. The hash is FNV-1a with a final mix, fixed for good:
// state is kept by it.
func shardOf(key []byte, shards int) int {
	h := uint64(14695981039346656037)
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	h ^= h >> 29
	return int(h % uint64(shards))
}
