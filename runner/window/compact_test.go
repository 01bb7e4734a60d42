package window

import (
	"encoding/binary"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// merger stands for the harness: it answers requests with sums, a bundle later.
type merger struct {
	g       *Grouping
	pending []Block
	work    int // accumulators merged
}

// answers returns the answers to the requests that are pending.
func (m *merger) answers() []byte {
	in := coder.NewWindowed(coder.KVOf(coder.Bytes, coder.IterableOf(coder.Bytes)), m.g.window)
	var block []byte
	for _, b := range m.pending {
		for data := b.Data; len(data) > 0; {
			var e coder.Element
			n, err := in.Scan(data, &e)
			must(err)
			data = data[n:]
			key, accs, err := in.Value().SplitKV(e.Value)
			must(err)
			sum, count := sumOf(accs)
			m.work += count
			e.Value = coder.AppendLengthPrefixed(append([]byte(nil), key...), binary.AppendVarint(nil, sum))
			block = coder.AppendElement(block, &e)
		}
	}
	m.pending = nil
	return block
}

// sumOf adds the accumulators of an iterable.
func sumOf(iterable []byte) (sum int64, count int) {
	count = int(binary.BigEndian.Uint32(iterable))
	rest := iterable[4:]
	for range count {
		acc, n, err := coder.DecodeLengthPrefixed(rest)
		must(err)
		v, _ := binary.Varint(acc)
		sum, rest = sum+v, rest[n:]
	}
	return sum, count
}

// The main job's grouping (DESIGN section 13): 1,000 lines a second over 34
// keys, of which a lifted combiner makes an accumulator for each key and
// bundle, and an upsert every second. In an hour of virtual time neither the
// state nor the work of a firing grows.
func TestAccumulatingOverAnHourStaysFlat(t *testing.T) {
	t.Parallel()
	const keys, bundlesPerSecond = 34, 10
	length := 3600
	if testing.Short() {
		length = 300
	}
	s := newStrategy(map[string]string{"trigger": "repeat(delay(+1s))", "mode": "accumulating", "sdk": "python"})
	g, err := NewGrouping(Config{Strategy: s, Accumulators: true,
		Input: coder.NewWindowed(coder.KVOf(coder.Bytes, coder.Bytes), coder.GlobalWindow)})
	must(err)
	shard, m := g.NewShard(), &merger{g: g}
	panes, values, totals := 0, 0, map[string]int64{}
	out := &Output{
		Compact: func(b Block) { m.pending = append(m.pending, b) },
		Panes: func(b Block) {
			in := coder.NewWindowed(coder.KVOf(coder.Bytes, coder.IterableOf(coder.Bytes)), g.window)
			for data := b.Data; len(data) > 0; {
				var e coder.Element
				n, err := in.Scan(data, &e)
				must(err)
				data = data[n:]
				key, accs, _ := in.Value().SplitKV(e.Value)
				sum, count := sumOf(accs)
				panes, values = panes+1, values+count
				totals[string(key)] = sum
			}
		},
	}
	var early, late int64
	now := time.UnixMicro(0)
	for bundle := range length * bundlesPerSecond {
		now = now.Add(time.Second / bundlesPerSecond)
		must(shard.AddCompacted(m.answers(), out))
		must(shard.Add(accumulators(keys, 1000/keys/bundlesPerSecond), beam.MinEventTime, now, out))
		must(shard.Advance(beam.MinEventTime, now, out))
		out.Flush()
		if size := shard.Bytes(); bundle < 60*bundlesPerSecond {
			early = max(early, size)
		} else {
			late = max(late, size)
		}
	}
	if late > early+8*keys { // a larger sum takes some bytes more
		t.Errorf("the state grew from %d to %d bytes", early, late)
	}
	if perPane := values / panes; perPane > defaultCompactAbove+bundlesPerSecond {
		t.Errorf("%d accumulators in a pane", perPane)
	}
	if all := length * bundlesPerSecond * keys; m.work > all+all/50 {
		t.Errorf("%d accumulators were merged to hold %d", m.work, all)
	}
	must(shard.Advance(beam.MaxEventTime, now, out))
	out.Flush()
	for key, sum := range totals {
		if want := int64(1000 / keys / bundlesPerSecond * length * bundlesPerSecond); sum != want {
			t.Errorf("key %q: sum %d, want %d", key, sum, want)
		}
	}
	if len(totals) != keys {
		t.Errorf("%d keys", len(totals))
	}
}

// accumulators is one bundle's output of the lifted combiner.
func accumulators(keys, value int) []byte {
	var block []byte
	for k := range keys {
		block = coder.AppendHeader(block, 0, 1, nil, beam.NoFiring)
		block = coder.AppendLengthPrefixed(block, []byte{byte(k)})
		block = coder.AppendLengthPrefixed(block, binary.AppendVarint(nil, int64(value)))
	}
	return block
}

// Accumulators that wait for the end of an unbounded window are compacted too;
// in a bounded job the one merge at the end does it.
func TestAccumulatorsChooseTheWay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		bounded, accumulators bool
		above                 int
		appending             bool
	}{
		{false, false, 0, true},
		{false, true, 0, false},
		{false, true, -1, true},
		{true, true, 0, true},
	} {
		d := newDesk(Config{Strategy: newStrategy(map[string]string{"window": "fixed(1h)"}),
			Bounded: c.bounded, Accumulators: c.accumulators, CompactAbove: c.above})
		if d.g.appending != c.appending {
			t.Errorf("%+v: appending %v", c, d.g.appending)
		}
	}
}
