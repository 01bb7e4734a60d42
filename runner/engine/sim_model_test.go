package engine

import (
	"cmp"
	"fmt"
	"slices"

	"fresnel/internal/beam"
)

// content is what counts of an element when results are compared.
type content struct {
	key  int
	val  int64
	time beam.EventTime
}

func (e elem) content() content { return content{e.key, e.val, e.time} }

func sorted(elems []elem) []content {
	all := make([]content, 0, len(elems))
	for _, e := range elems {
		all = append(all, e.content())
	}
	slices.SortFunc(all, func(a, b content) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.key, b.key), cmp.Compare(a.val, b.val))
	})
	return all
}

// model computes a plan stage by stage, each on the whole of its input, and
// returns what its sinks get.
func (p *simPlan) model() map[int][]elem {
	outputs := map[collection][]elem{}
	sinks := map[int][]elem{}
	for i, st := range p.stages { // planned in topological order
		var in []elem
		sides := make([]map[beam.EventTime]int64, len(st.sides))
		for k := range sides {
			sides[k] = map[beam.EventTime]int64{}
		}
		for _, edge := range p.edges {
			if edge.To != i || edge.Kind == Feedback {
				continue
			}
			from := outputs[collection{edge.From, edge.Output}]
			if edge.Kind == Main {
				in = append(in, from...)
				continue
			}
			for _, e := range from {
				sides[edge.Input][windowEnd(e.time, st.sides[edge.Input])] += e.val
			}
		}
		if st.kind == simSink {
			sinks[i] = in
			continue
		}
		for o, out := range st.compute(in, sides) {
			outputs[collection{i, o}] = out
		}
	}
	return sinks
}

// compute is the stage's function on the whole of its input.
func (st *simStage) compute(in []elem, sides []map[beam.EventTime]int64) [][]elem {
	out := make([][]elem, st.spec.Outputs)
	switch st.kind {
	case simSource, simScript:
		for _, batches := range st.batches {
			for _, b := range batches {
				out[0] = append(out[0], b.elems...)
			}
		}
	case simMap:
		for _, e := range in {
			for o := range out {
				out[o] = append(out[o], e.mapped(o)...)
			}
		}
	case simSide:
		for _, e := range in {
			out[0] = append(out[0], st.withSides(e, sides))
		}
	case simSDF:
		for _, e := range in {
			for at := range e.size() {
				out[0] = append(out[0], e.position(at))
			}
		}
	case simGroup, simAccum:
		out[0] = st.combined(in)
	case simBuffer, simMerge:
		out[0] = in
	case simCount:
		n := map[int]int{}
		for _, e := range in {
			out[0] = append(out[0], elem{key: e.key, val: int64(n[e.key]), time: st.late})
			n[e.key]++
		}
	}
	return out
}

// mapped is what a map emits for an element on an output: none, one or two.
func (e elem) mapped(output int) []elem {
	h := mix(7, int64(e.key), e.val, int64(output))
	out := make([]elem, h%3)
	for i := range out {
		out[i] = e
		out[i].val = int64(mix(h, i) % 1000)
		out[i].key = int(h>>8) % 5
		out[i].time += beam.EventTime(h >> 16 % 20)
	}
	return out
}

func (st *simStage) withSides(e elem, sides []map[beam.EventTime]int64) elem {
	for k, window := range st.sides {
		e.val = int64(mix(uint64(e.val), sides[k][windowEnd(e.time, window)]) % 1000)
	}
	return e
}

// size is the number of positions of an element's restriction.
func (e elem) size() int { return 1 + int(mix(3, e.val)%6) }

// rate is the event time between two positions.
const rate = 5

// position is what an SDF emits at a position of an element's restriction.
func (e elem) position(at int) elem {
	return elem{key: e.key, val: int64(mix(5, e.val, int64(at)) % 1000), time: e.time + beam.EventTime(at*rate)}
}

// group names a key and the end of a window.
type group struct {
	end beam.EventTime
	key int
}

// acc is what is kept of a group.
type acc struct {
	sum int64
	n   int
	// away is what is out to be merged.
	away bool
}

func (st *simStage) groupOf(e elem) group {
	g := group{end: windowEnd(e.time, st.window), key: e.key}
	if st.oneKey {
		g.key = 0
	}
	return g
}

func (g group) result(a acc) elem {
	return elem{key: g.key, val: int64(mix(9, a.sum, int64(a.n)) % 1000), time: g.end}
}

func (st *simStage) combined(in []elem) []elem {
	accs := map[group]acc{}
	for _, e := range in {
		g := st.groupOf(e)
		a := accs[g]
		accs[g] = acc{sum: a.sum + e.val, n: a.n + 1}
	}
	var out []elem
	for g, a := range accs {
		out = append(out, g.result(a))
	}
	return out
}

// windowEnd is the maximum timestamp of the fixed window of t.
func windowEnd(t, size beam.EventTime) beam.EventTime { return t - t%size + size - 1 }

// diff tells the first difference between two results.
func diff(got, want []elem) string {
	a, b := sorted(got), sorted(want)
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return fmt.Sprintf("misses %v (%d of %d)", b[i], len(a), len(b))
		case i >= len(b):
			return fmt.Sprintf("has %v too much (%d of %d)", a[i], len(a), len(b))
		case a[i] != b[i]:
			return fmt.Sprintf("has %v instead of %v", a[i], b[i])
		}
	}
	return ""
}
