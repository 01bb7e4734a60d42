package window

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// desk is a shard with clocks and an output that prints: what the tests of
// this package work at. Keys and values are strings, times are seconds.
type desk struct {
	g     *Grouping
	shard *Shard
	wm    beam.EventTime
	now   time.Time
	out   Output
	// panes and requests are what came out since they were last taken.
	panes, requests []emitted
	blocks          []Block
}

// emitted is one decoded element of the output.
type emitted struct {
	key    string
	values []string
	window beam.Window
	ts     beam.EventTime
	pane   beam.Pane
}

func newDesk(c Config) *desk {
	if c.Input == nil {
		c.Input = coder.NewWindowed(coder.KVOf(coder.StringUTF8, coder.StringUTF8), c.Strategy.WindowCoder())
	}
	g, err := NewGrouping(c)
	if err != nil {
		panic(err)
	}
	d := &desk{g: g, shard: g.NewShard(), wm: beam.MinEventTime, now: time.UnixMicro(0)}
	d.out = Output{
		Panes: func(b Block) {
			d.blocks = append(d.blocks, b)
			d.panes = append(d.panes, g.decode(b)...)
		},
		Compact: func(b Block) { d.requests = append(d.requests, g.decode(b)...) },
	}
	return d
}

// decode reads a block of the output, and checks what the block says of it.
func (g *Grouping) decode(b Block) []emitted {
	grouped := coder.NewWindowed(coder.KVOf(g.key, coder.IterableOf(g.value)), g.window)
	var all []emitted
	least := beam.MaxEventTime
	for rest := b.Data; len(rest) > 0; {
		var e coder.Element
		n, err := grouped.Scan(rest, &e)
		if err != nil {
			panic(err)
		}
		rest = rest[n:]
		v, _, err := grouped.Value().Decode(e.Value)
		if err != nil {
			panic(err)
		}
		all = append(all, newEmitted(&e, v.(coder.KV)))
		least = min(least, e.Timestamp)
	}
	if len(all) != b.Count || least != b.MinTimestamp {
		panic(fmt.Sprintf("block says %d elements from %s, has %d from %s", b.Count, b.MinTimestamp, len(all), least))
	}
	return all
}

func newEmitted(e *coder.Element, kv coder.KV) emitted {
	pane, _, _ := coder.DecodePane(e.Pane)
	w := beam.GlobalWindow
	if len(e.Windows) > 0 {
		w, _, _ = coder.DecodeIntervalWindow(e.Windows)
	}
	var values []string
	for _, v := range kv.Value.([]any) {
		values = append(values, v.(string))
	}
	return emitted{key: kv.Key.(string), values: values, window: w, ts: e.Timestamp, pane: pane}
}

// element encodes key=value@seconds in the windows that the strategy assigns.
func (d *desk) element(dst []byte, key, value string, ts beam.EventTime) []byte {
	var windows []byte
	assigned := d.g.Strategy.Fn().Assign(nil, ts)
	for _, w := range assigned {
		if d.g.window.Kind() == coder.KindIntervalWindow {
			windows = coder.AppendIntervalWindow(windows, w)
		}
	}
	dst = coder.AppendHeader(dst, ts, len(assigned), windows, beam.NoFiring)
	return coder.AppendLengthPrefixed(coder.AppendLengthPrefixed(dst, []byte(key)), []byte(value))
}

// add adds elements written key=value@seconds as one block.
func (d *desk) add(words ...string) error {
	var block []byte
	for _, w := range words {
		kv, at, _ := strings.Cut(w, "@")
		key, value, _ := strings.Cut(kv, "=")
		block = d.element(block, key, value, seconds(at))
	}
	count, least := counted(d.g, block)
	return d.shard.AddCounted(block, count, least, d.wm, d.now, &d.out)
}

func (d *desk) advance() error { return d.shard.Advance(d.wm, d.now, &d.out) }

// answer answers the request number i with the values joined by '+'.
func (d *desk) answer(i int) error {
	r := d.requests[i]
	var windows []byte
	if d.g.window.Kind() == coder.KindIntervalWindow {
		windows = coder.AppendIntervalWindow(nil, r.window)
	}
	block := coder.AppendHeader(nil, r.ts, 1, windows, beam.NoFiring)
	block = coder.AppendLengthPrefixed(block, []byte(r.key))
	block = coder.AppendLengthPrefixed(block, []byte(strings.Join(r.values, "+")))
	d.requests = append(d.requests[:i], d.requests[i+1:]...)
	return d.shard.AddCompacted(block, &d.out)
}

// take returns the panes since the last take, in order of key and window.
func (d *desk) take() []emitted {
	d.out.Flush()
	panes := d.panes
	d.panes = nil
	sort.SliceStable(panes, func(i, j int) bool {
		a, b := panes[i], panes[j]
		if a.key != b.key {
			return a.key < b.key
		}
		return a.window.End < b.window.End
	})
	return panes
}

// String prints a pane: key, window, values; timestamp, timing, numbers.
func (e emitted) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s [%s] at %s", e.key, printWindow(e.window), strings.Join(e.values, " "), printTime(e.ts))
	fmt.Fprintf(&b, ", %s, pane %d", [...]string{"early", "on time", "late", "unknown"}[e.pane.Timing], e.pane.Index)
	if e.pane.NonSpeculative >= 0 {
		fmt.Fprintf(&b, "/%d", e.pane.NonSpeculative)
	}
	b.WriteString([...]string{"", " first"}[bit(e.pane.First)] + [...]string{"", " last"}[bit(e.pane.Last)])
	return b.String()
}

func printWindow(w beam.Window) string {
	if w == beam.GlobalWindow {
		return "global"
	}
	return fmt.Sprintf("[%s,%s)", printTime(w.Start), printTime(w.End))
}

func printTime(t beam.EventTime) string {
	switch t {
	case beam.MinEventTime, beam.MaxEventTime, beam.EndOfGlobalWindow:
		return t.String()
	}
	return strconv.FormatFloat(float64(t)/1000, 'f', -1, 64)
}

func seconds(s string) beam.EventTime {
	switch s {
	case "-inf":
		return beam.MinEventTime
	case "+inf":
		return beam.MaxEventTime
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(err)
	}
	return beam.EventTime(f * 1000)
}

// counted is what the collector knows of a block.
func counted(g *Grouping, block []byte) (count int, least beam.EventTime) {
	least = beam.MaxEventTime
	for at := 0; at < len(block); count++ {
		var e coder.Element
		n, err := g.Input.Scan(block[at:], &e)
		must(err)
		at, least = at+n, min(least, e.Hold)
	}
	return count, least
}
