package translate

import (
	"fmt"
	"strings"
	"testing"
)

// String prints the nodes of a graph for goldens.
func (g *graph) String() string {
	var b strings.Builder
	for _, n := range g.nodes {
		fmt.Fprintf(&b, "%-10s %s %s", kindNames[n.kind], n.name, shortURN(n.urn))
		if n.begins {
			b.WriteString(" begins")
		}
		if n.routing != Keep {
			b.WriteString(" " + n.routing.String())
		}
		for _, local := range sortedKeys(n.inputs) {
			fmt.Fprintf(&b, "\n           <- %s %s", local, g.collectionName(n.inputs[local]))
		}
		for _, local := range sortedKeys(n.outputs) {
			fmt.Fprintf(&b, "\n           -> %s %s", local, g.coders.describe(g.coderOf(n.outputs[local])))
		}
		b.WriteByte('\n')
	}
	for i, s := range g.stages {
		names := make([]string, len(s.nodes))
		for j, n := range s.nodes {
			names[j] = n.name
		}
		fmt.Fprintf(&b, "stage %d %s: %s\n", i+1, s.kind, strings.Join(names, ", "))
	}
	return b.String()
}

// What each pass changes, one golden for each pipeline: a pass that is not in
// it changed nothing.
func TestPasses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"combine_streaming", "combine_counting_trigger", "sdf_read", "teststream", "reshuffle", "windows"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGraph(captured(t, name), Options{})
			var b strings.Builder
			before := ""
			for _, pass := range passes {
				if err := pass.run(g); err != nil {
					t.Fatal(err)
				}
				if after := g.String(); after != before {
					fmt.Fprintf(&b, "== %s\n%s", pass.name, changed(before, after))
					before = after
				}
			}
			golden(t, "passes_"+name, b.String())
		})
	}
}

// changed marks the lines that are new and those that are gone.
func changed(before, after string) string {
	old, b := map[string]int{}, strings.Builder{}
	for line := range strings.Lines(before) {
		old[line]++
	}
	for line := range strings.Lines(after) {
		if old[line] > 0 {
			old[line]--
			continue
		}
		b.WriteString("+ " + line)
	}
	for line := range strings.Lines(before) {
		if old[line] > 0 {
			old[line]--
			b.WriteString("- " + line)
		}
	}
	return b.String()
}
