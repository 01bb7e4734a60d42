package translate

import "slices"

// backIterables lets groups write the rest of a large iterable as a token, by
// which the harness gets it from the state service: where every reader is a
// harness that knows how, and reads nothing but the group. The bytes are else
// those of an iterable; only the data source's coder changes, as what the SDK
// derives from the collection's own must not hold tokens. A reader that wants its
// input sorted by time keeps elements longer than a token lives.
func backIterables(g *graph) error {
	b := backing{graph: g, readers: map[*stage][]edge{}, fed: map[*stage]int{}}
	for _, e := range g.edges {
		if e.kind == MainInput && e.input == 0 {
			b.fed[e.to]++
		}
		if e.output == 0 {
			b.readers[e.from] = append(b.readers[e.from], e)
		}
	}
	for _, s := range g.stages {
		if s.kind == Group && b.takeTokens(s) {
			values := g.coders.component(s.outputs[0].coder, 1)
			backed := g.coders.intern(values+"~backed", urnStateBackedIterable, nil, g.coders.component(values, 0))
			b.back(s, g.coders.kv(g.coders.component(s.outputs[0].coder, 0), backed))
		}
	}
	return nil
}

type backing struct {
	*graph
	// readers are the edges from a stage's first output, fed counts those into a
	// stage's main input.
	readers map[*stage][]edge
	fed     map[*stage]int
}

// takeTokens says whether all readers of a stage's first output can do with
// tokens. A Rewindow hands them on.
func (b *backing) takeTokens(s *stage) bool {
	for _, e := range b.readers[s] {
		if e.kind != MainInput || b.fed[e.to] != 1 {
			return false
		}
		harness := e.to.kind == Harness && !e.to.sorted && slices.Contains(b.comps.GetEnvironments()[e.to.env].GetCapabilities(), urnStateBackedIterable)
		if !harness && !(e.to.kind == Rewindow && b.takeTokens(e.to)) {
			return false
		}
	}
	return len(b.readers[s]) > 0
}

// back changes the coder of a stage's first output, and of those who read it.
func (b *backing) back(s *stage, coder string) {
	out := &s.outputs[0]
	out.coder, out.windowed = coder, b.coders.windowed(coder, b.windowCoder(out.coll))
	for _, e := range b.readers[s] {
		e.to.declared = e.to.main.Coder
		e.to.main.Coder, e.to.main.Windowed = out.coder, out.windowed
		if e.to.kind == Rewindow {
			b.back(e.to, coder)
		}
	}
}
