package window

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

// A plot is a random strategy and a random run of elements, watermarks and
// clock ticks. Properties play one plot in several ways.
type plot struct {
	words  map[string]string
	events []event
}

// event is elements that arrive, or else an Advance.
type event struct {
	elements []string
	wm       beam.EventTime
	now      time.Time
}

func newPlot(seed uint64) plot {
	r := rand.New(rand.NewPCG(seed, seed))
	p := plot{words: map[string]string{
		"window":   pick(r, "global", "fixed(10s)", "fixed(7s at 3s)", "sliding(20s every 10s)", "sessions(4s)"),
		"trigger":  randomTrigger(r, 3),
		"mode":     pick(r, "discarding", "accumulating"),
		"lateness": pick(r, "0s", "0s", "8s", "30s"),
		"output":   pick(r, "", "earliest", "latest"),
		"closing":  pick(r, "always", "nonempty"),
		"ontime":   pick(r, "always", "nonempty"),
		"sdk":      pick(r, "java", "python"),
	}}
	if r.IntN(3) == 0 { // so that the append way has its share
		p.words["trigger"], p.words["lateness"] = "default", "0s"
	}
	p.events = randomEvents(r)
	return p
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func randomTrigger(r *rand.Rand, depth int) string {
	leaf := pick(r, "default", "always", "never", "count(1)", "count(2)", "count(3)", "delay(+3s)", "delay", "end-of-window", "synchronized")
	if depth == 0 {
		return leaf
	}
	sub := func() string { return randomTrigger(r, depth-1) }
	switch r.IntN(8) {
	case 0:
		return fmt.Sprintf("end-of-window(early=%s, late=%s)", sub(), sub())
	case 1:
		return fmt.Sprintf("end-of-window(early=%s)", sub())
	case 2, 3:
		return fmt.Sprintf("repeat(%s)", sub())
	case 4:
		return fmt.Sprintf("or-finally(%s, %s)", sub(), sub())
	case 5:
		return fmt.Sprintf("%s(%s, %s)", pick(r, "after-any", "after-all"), sub(), sub())
	case 6:
		return fmt.Sprintf("after-each(%s, %s, %s)", sub(), sub(), sub())
	}
	return leaf
}

func randomEvents(r *rand.Rand) []event {
	var events []event
	wm, now := beam.MinEventTime, time.UnixMicro(0)
	for i := range 30 {
		now = now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
		at := beam.EventTime(i * 1500)
		if r.IntN(2) == 0 {
			wm = max(wm, at-beam.EventTime(r.IntN(6000)))
			events = append(events, event{wm: wm, now: now})
		}
		var elements []string
		for k := range r.IntN(5) {
			ts := float64(at)/1000 + float64(r.IntN(16)) - 8
			elements = append(elements, fmt.Sprintf("%c=%d.%d@%g", 'a'+r.IntN(3), i, k, ts))
		}
		events = append(events, event{elements: elements})
	}
	return append(events, event{wm: beam.MaxEventTime, now: now})
}

// play plays the plot; cut parts the elements of an event into blocks, and
// after is called after each step.
func (p plot) play(d *desk, cut func([]string) [][]string, after func()) []emitted {
	var all []emitted
	for _, e := range p.events {
		if e.elements == nil {
			d.wm, d.now = max(d.wm, e.wm), maxTime(d.now, e.now)
			must(d.advance())
		}
		for _, block := range cut(e.elements) {
			must(d.add(block...))
		}
		all = append(all, d.take()...)
		after()
	}
	slices.SortStableFunc(all, byKeyAndWindow)
	return all
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func byKeyAndWindow(a, b emitted) int {
	if c := strings.Compare(a.key, b.key); c != 0 {
		return c
	}
	if a.window.End != b.window.End {
		return int(a.window.End - b.window.End)
	}
	return int(a.window.Start - b.window.Start)
}

func oneBlock(elements []string) [][]string { return [][]string{elements} }

func single(elements []string) [][]string {
	var blocks [][]string
	for _, e := range elements {
		blocks = append(blocks, []string{e})
	}
	return blocks
}

func nothing() {}

// stateOf is the state of a shard that has all in memory.
func stateOf(s *Shard) []byte {
	state, err := s.AppendState(nil)
	must(err)
	return state
}

// forPlots runs f on many plots.
func forPlots(t *testing.T, f func(t *testing.T, p plot)) {
	t.Helper()
	t.Parallel()
	plots := uint64(600)
	if testing.Short() {
		plots = 100
	}
	for seed := range plots {
		p := newPlot(seed)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f(t, p)
			if t.Failed() {
				t.Log(p.words)
				for _, e := range p.events {
					t.Log(e.elements, printTime(e.wm), e.now.UnixMilli())
				}
			}
		})
	}
}

func compare(t *testing.T, got, want []emitted) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "none", "none"
		if i < len(got) {
			g = got[i].String()
		}
		if i < len(want) {
			w = want[i].String()
		}
		if g != w {
			t.Fatalf("pane %d:\ngot  %s\nwant %s", i, g, w)
		}
	}
}

// I12: the output does not depend on where blocks begin and end.
func TestBlockBoundariesChangeNothing(t *testing.T) {
	forPlots(t, func(t *testing.T, p plot) {
		want := p.play(newDesk(Config{Strategy: newStrategy(p.words)}), oneBlock, nothing)
		got := p.play(newDesk(Config{Strategy: newStrategy(p.words)}), single, nothing)
		compare(t, got, want)
	})
}

// I10: nor on whether the shard was saved and restored on the way.
func TestRestoredShardsGoOn(t *testing.T) {
	forPlots(t, func(t *testing.T, p plot) {
		want := p.play(newDesk(Config{Strategy: newStrategy(p.words)}), oneBlock, nothing)
		d := newDesk(Config{Strategy: newStrategy(p.words)})
		got := p.play(d, oneBlock, func() {
			state := stateOf(d.shard)
			restored, err := d.g.RestoreShard(state)
			must(err)
			if again := stateOf(restored); string(again) != string(state) {
				t.Fatalf("state %q\nbecame %q", state, again)
			}
			d.shard = restored
		})
		compare(t, got, want)
	})
}

// I10: nor on which keys are in memory.
func TestKeysThatAreFarAreTheSame(t *testing.T) {
	temp := store.NewTemp(store.TempOptions{Dir: t.TempDir()})
	t.Cleanup(temp.Close)
	fetched := 0
	forPlots(t, func(t *testing.T, p plot) {
		want := p.play(newDesk(Config{Strategy: newStrategy(p.words)}), single, nothing)
		d := newDesk(Config{Strategy: newStrategy(p.words), Temp: temp})
		w, ok := d.shard.way.(*incremental)
		if !ok {
			t.Skip("the append way has no keys")
		}
		r := rand.New(rand.NewPCG(1, 2))
		got := p.play(d, single, func() {
			var some []*keyed
			for _, key := range slices.Sorted(maps.Keys(w.keys)) {
				if k := w.keys[key]; !k.pinned() && r.IntN(3) > 0 {
					some = append(some, k)
				}
			}
			before, hold, size := stateOf(d.shard), d.shard.Hold(), d.shard.Size()
			if !w.moveFar(some) {
				t.Fatal("a key cannot be moved")
			}
			fetched += len(some)
			if d.shard.Hold() != hold || len(some) > 0 && d.shard.Size() >= size {
				t.Errorf("with %d keys far: hold %s and %d bytes, before %s and %d", len(some), printTime(d.shard.Hold()), d.shard.Size(), printTime(hold), size)
			}
			if after := stateOf(d.shard); len(after) != len(before) {
				t.Errorf("state %q\nbecame %q", before, after)
			}
		})
		compare(t, got, want)
		if w.far.keys != 0 || w.far.bytes != 0 || w.bytes != 0 {
			t.Errorf("at the end %d keys and %d bytes are far, %d bytes near", w.far.keys, w.far.bytes, w.bytes)
		}
	})
	if fetched == 0 {
		t.Error("no key was ever far")
	}
}

// The two ways agree where both can be gone.
func TestAppendWayIsAnOptimisation(t *testing.T) {
	forPlots(t, func(t *testing.T, p plot) {
		c := Config{Strategy: newStrategy(p.words), Bounded: p.words["mode"] == "discarding"}
		if c.Strategy.Merging() {
			t.Skip("windows merge")
		}
		d := newDesk(c)
		if !d.g.appending {
			t.Skip("not one pane a window")
		}
		want := p.play(d, oneBlock, nothing)
		d = newDesk(c)
		d.g.appending = false
		d.shard = d.g.NewShard()
		compare(t, p.play(d, oneBlock, nothing), want)
	})
}

// I5: a pane that is not late is not behind the output watermark, which is what
// the engine makes of the input watermark and the hold.
func TestHoldsHold(t *testing.T) {
	forPlots(t, func(t *testing.T, p plot) {
		d := newDesk(Config{Strategy: newStrategy(p.words)})
		output, seen := beam.MinEventTime, 0
		d.out.Panes = func(b Block) { d.panes = append(d.panes, d.g.decode(b)...) }
		check := func() {
			output = max(output, min(d.wm, d.shard.Hold()))
		}
		emit := d.out.Panes
		d.out.Panes = func(b Block) {
			emit(b)
			for _, e := range d.g.decode(b) {
				if seen++; e.pane.Timing != beam.Late && e.ts < output {
					t.Errorf("output watermark %s, pane %s", printTime(output), e)
				}
			}
		}
		p.play(d, single, check)
	})
}

// Nothing is due before the times that the shard tells, and no state is left
// when all windows are closed.
func TestTimesDueAreTold(t *testing.T) {
	forPlots(t, func(t *testing.T, p plot) {
		d := newDesk(Config{Strategy: newStrategy(p.words)})
		p.play(d, oneBlock, func() {
			if wm, ok := d.shard.NextEventTime(); ok && wm <= d.wm {
				t.Fatalf("due at %s, now at %s", printTime(wm), printTime(d.wm))
			} else if ok && wm > beam.MinEventTime {
				must(d.shard.Advance(wm-1, d.now, &d.out))
			}
			// The clock is that of the last Advance: what is due is so since.
			if at, ok := d.shard.NextProcessingTime(); ok && at.After(d.now) {
				must(d.shard.Advance(d.wm, at.Add(-time.Microsecond), &d.out))
			}
			if left := d.take(); len(left) > 0 && !immediate(p) {
				t.Fatalf("not told: %v", left)
			}
		})
		if !d.shard.Empty() || d.shard.Bytes() != 0 || d.shard.Keys() != 0 || d.shard.Hold() != beam.MaxEventTime {
			t.Fatalf("left: %d bytes, %d keys, hold %s", d.shard.Bytes(), d.shard.Keys(), printTime(d.shard.Hold()))
		}
	})
}

// immediate says whether the plot has delays that end as soon as time moves.
func immediate(p plot) bool {
	return strings.Contains(p.words["trigger"], "delay") || strings.Contains(p.words["trigger"], "synchronized")
}

// No value is lost or doubled: where panes are deltas, and neither lateness nor a
// finished trigger drops, each value is in one pane of each of its windows.
func TestDiscardingPanesPartTheInput(t *testing.T) {
	forPlots(t, func(t *testing.T, p plot) {
		p.words["mode"] = "discarding"
		d := newDesk(Config{Strategy: newStrategy(p.words)})
		panes := p.play(d, oneBlock, nothing)
		late, closed := d.shard.Dropped()
		got := int(late + closed)
		for _, pane := range panes {
			got += len(pane.values)
		}
		want := 0
		for _, e := range p.events {
			for _, word := range e.elements {
				_, at, _ := strings.Cut(word, "@")
				want += len(d.g.Strategy.Fn().Assign(nil, seconds(at)))
			}
		}
		if got != want {
			t.Errorf("%d values came out or were dropped, %d went in", got, want)
		}
	})
}

// Panes are numbered without gaps, early ones first, at most one on time, and
// nothing follows the last.
func TestPanesAreNumbered(t *testing.T) {
	forPlots(t, func(t *testing.T, p plot) {
		if strings.HasPrefix(p.words["window"], "sessions") {
			t.Skip("a merged session begins anew")
		}
		panes := p.play(newDesk(Config{Strategy: newStrategy(p.words)}), single, nothing)
		for i, e := range panes {
			last := emitted{pane: beam.Pane{Index: -1, NonSpeculative: -1}}
			if i > 0 && byKeyAndWindow(panes[i-1], e) == 0 {
				last = panes[i-1]
			}
			if err := follows(e.pane, last.pane); err != "" {
				t.Fatalf("%s\nafter %s: %s", e, last, err)
			}
		}
	})
}

func follows(p, last beam.Pane) string {
	switch {
	case p.Index != last.Index+1, p.First != (p.Index == 0):
		return "index"
	case last.Last:
		return "after the last"
	case last.Index >= 0 && last.Timing != beam.Early && p.Timing != beam.Late:
		return "timing"
	case p.Timing == beam.Early && p.NonSpeculative != -1:
		return "an early pane has a number"
	case p.Timing != beam.Early && p.NonSpeculative != max(last.NonSpeculative, -1)+1:
		return "non-speculative index"
	}
	return ""
}
