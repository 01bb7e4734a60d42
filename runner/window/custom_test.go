package window

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"fresnel/internal/beam"
	"fresnel/internal/coder"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// opaque windows are bytes that only the SDK can read; here they are a length
// and their last instant as a letter.
var opaqueWindow = coder.LengthPrefixOf(coder.Bytes)

func opaqueConfig(merge pipepb.MergeStatus_Enum, words map[string]string) Config {
	ws := strategyProto(words)
	ws.WindowFn, ws.MergeStatus = &pipepb.FunctionSpec{Urn: "beam:window_fn:some:v1", Payload: []byte("x")}, merge
	s, err := ParseStrategy(ws, opaqueWindow)
	must(err)
	return Config{Strategy: s, Input: coder.NewWindowed(coder.KVOf(coder.StringUTF8, coder.StringUTF8), opaqueWindow)}
}

func opaqueElement(dst []byte, key, value string, ts beam.EventTime, window string) []byte {
	dst = coder.AppendHeader(dst, ts, 1, coder.AppendLengthPrefixed(nil, []byte(window)), beam.NoFiring)
	return coder.AppendLengthPrefixed(coder.AppendLengthPrefixed(dst, []byte(key)), []byte(value))
}

func lastLetter(raw []byte) (beam.EventTime, error) {
	if len(raw) < 2 {
		return 0, errors.New("an empty window")
	}
	return beam.EventTime(raw[len(raw)-1]), nil
}

func TestOpaqueWindowsNeedTheirEnd(t *testing.T) {
	t.Parallel()
	c := opaqueConfig(pipepb.MergeStatus_NON_MERGING, nil)
	if _, err := NewGrouping(c); beam.CodeOf(err) != beam.Unsupported {
		t.Error(err)
	}
	c.CustomMaxTimestamp = lastLetter
	d := newDesk(c)
	block := opaqueElement(nil, "k", "1", 50, "a")
	block = opaqueElement(block, "k", "2", 50, "c")
	must(d.shard.Add(block, d.wm, d.now, &d.out))
	if wm, _ := d.shard.NextEventTime(); wm != 'a'+1 {
		t.Errorf("next watermark %d", int64(wm))
	}
	d.wm = 'b'
	must(d.advance())
	if got := d.take(); len(got) != 1 || !slices.Equal(got[0].values, []string{"1"}) || got[0].ts != 'a' {
		t.Error(got)
	}
	if err := d.shard.Add(opaqueElement(nil, "k", "3", 50, ""), d.wm, d.now, &d.out); err == nil {
		t.Error("a window without an end was taken")
	}
}

// In a bounded job all windows close at the end.
func TestOpaqueWindowsInABoundedJob(t *testing.T) {
	t.Parallel()
	c := opaqueConfig(pipepb.MergeStatus_NON_MERGING, nil)
	c.Bounded = true
	d := newDesk(c)
	must(d.shard.Add(opaqueElement(nil, "k", "1", 50, "a"), d.wm, d.now, &d.out))
	must(d.shard.Add(opaqueElement(nil, "k", "2", 50, "b"), d.wm, d.now, &d.out))
	d.wm = beam.MaxEventTime
	must(d.advance())
	if got := d.take(); len(got) != 2 || got[0].ts != beam.EndOfGlobalWindow {
		t.Error(got)
	}
}

// mergeByFirst merges the windows that begin with one letter; the result is
// that letter and the last letter of all.
func mergeByFirst(windows [][]byte) ([]Merge, error) {
	groups := map[byte][][]byte{}
	for _, w := range windows {
		groups[w[2]] = append(groups[w[2]], w)
	}
	var merges []Merge
	for first, sources := range groups {
		last := byte(0)
		for _, s := range sources {
			last = max(last, s[len(s)-1])
		}
		if len(sources) > 1 {
			window := coder.AppendLengthPrefixed(nil, []byte{first, last})
			merges = append(merges, Merge{Sources: sources, Result: coder.AppendLengthPrefixed(nil, window)})
		}
	}
	return merges, nil
}

// mergingElement has a window of two letters, in a length prefix of its own.
func mergingElement(dst []byte, value, window string) []byte {
	return opaqueElement(dst, "k", value, 10, string(coder.AppendLengthPrefixed(nil, []byte(window))))
}

func TestCustomMerging(t *testing.T) {
	t.Parallel()
	c := opaqueConfig(pipepb.MergeStatus_NEEDS_MERGE, map[string]string{"trigger": "repeat(count(3))", "ontime": "nonempty"})
	c.CustomMaxTimestamp = lastLetter
	if _, err := NewGrouping(c); beam.CodeOf(err) != beam.Unsupported {
		t.Error(err)
	}
	c.CustomMerge = mergeByFirst
	d := newDesk(c)
	block := mergingElement(nil, "1", "aa")
	block = mergingElement(block, "2", "ba")
	block = mergingElement(block, "3", "ac")
	must(d.shard.Add(block, d.wm, d.now, &d.out))
	if got := d.take(); len(got) != 0 {
		t.Error(got)
	}
	must(d.shard.Add(mergingElement(nil, "4", "ab"), d.wm, d.now, &d.out))
	if got := d.take(); len(got) != 1 || !slices.Equal(got[0].values, []string{"1", "3", "4"}) || got[0].ts != 'c' {
		t.Error(got)
	}
	d.wm = beam.MaxEventTime
	must(d.advance())
	if got := d.take(); len(got) != 1 || !slices.Equal(got[0].values, []string{"2"}) {
		t.Error(got)
	}
	if !d.shard.Empty() || d.shard.Bytes() != 0 {
		t.Error("not empty")
	}
}

// A merged window that is one of those merged goes on with its panes; and an
// element's timestamp counts no later than its window's end.
func TestCustomMergingKeepsAWindow(t *testing.T) {
	t.Parallel()
	c := opaqueConfig(pipepb.MergeStatus_NEEDS_MERGE, map[string]string{
		"trigger": "repeat(count(1))", "ontime": "nonempty", "mode": "accumulating", "output": "latest", "lateness": "1s"})
	c.CustomMaxTimestamp, c.CustomMerge = lastLetter, mergeByFirst
	d := newDesk(c)
	must(d.shard.Add(opaqueElement(nil, "k", "1", 1000, "\x02ac"), d.wm, d.now, &d.out))
	d.wm = 500
	must(d.advance())
	d.take()
	must(d.shard.Add(mergingElement(nil, "2", "ab"), d.wm, d.now, &d.out))
	got := d.take()
	want := beam.Pane{Timing: beam.Late, Index: 1}
	if len(got) != 1 || got[0].pane != want || !slices.Equal(got[0].values, []string{"1", "2"}) || got[0].ts != 'c' {
		t.Error(got)
	}
}

func TestTimestampsCountNoLaterThanTheWindow(t *testing.T) {
	t.Parallel()
	c := opaqueConfig(pipepb.MergeStatus_NON_MERGING, map[string]string{"output": "latest"})
	c.CustomMaxTimestamp = lastLetter
	d := newDesk(c)
	must(d.shard.Add(opaqueElement(nil, "k", "1", 1000, "a"), d.wm, d.now, &d.out))
	d.wm = beam.MaxEventTime
	must(d.advance())
	if got := d.take(); len(got) != 1 || got[0].ts != 'a' {
		t.Error(got)
	}
}

func TestCustomMergingIsChecked(t *testing.T) {
	t.Parallel()
	prefix := func(s string) []byte {
		return coder.AppendLengthPrefixed(nil, coder.AppendLengthPrefixed(nil, []byte(s)))
	}
	for name, merges := range map[string][]Merge{
		"a source that is not there": {{Sources: [][]byte{prefix("zz")}, Result: prefix("aa")}},
		"a source of two":            {{Sources: [][]byte{prefix("aa")}, Result: prefix("ax")}, {Sources: [][]byte{prefix("aa")}, Result: prefix("ay")}},
		"a result that is another":   {{Sources: [][]byte{prefix("bb")}, Result: prefix("aa")}},
	} {
		c := opaqueConfig(pipepb.MergeStatus_NEEDS_MERGE, nil)
		c.CustomMaxTimestamp = lastLetter
		c.CustomMerge = func(windows [][]byte) ([]Merge, error) {
			if len(windows) == 1 {
				return nil, nil
			}
			return merges, nil
		}
		d := newDesk(c)
		must(d.shard.Add(mergingElement(nil, "1", "aa"), d.wm, d.now, &d.out))
		if err := d.shard.Add(mergingElement(nil, "2", "bb"), d.wm, d.now, &d.out); beam.CodeOf(err) != beam.UserCode {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A custom window coder tells the end, by the proto.
func TestCustomWindowCoderTellsTheEnd(t *testing.T) {
	t.Parallel()
	coders := map[string]*pipepb.Coder{
		"w": {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:custom_window:v1"}, ComponentCoderIds: []string{"b"}},
		"b": {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:bytes:v1"}},
	}
	w, err := coder.Parse("w", coders)
	must(err)
	c := opaqueConfig(pipepb.MergeStatus_NON_MERGING, nil)
	c.Input = coder.NewWindowed(c.Input.Value(), w)
	d := newDesk(c)
	raw := coder.AppendLengthPrefixed(coder.AppendTimestamp(nil, 77), []byte("name"))
	block := coder.AppendHeader(nil, 5, 1, raw, beam.NoFiring)
	block = append(block, 1, 'k', 1, 'v')
	must(d.shard.Add(block, d.wm, d.now, &d.out))
	if wm, ok := d.shard.NextEventTime(); !ok || wm != 78 {
		t.Errorf("next watermark %d", int64(wm))
	}
	must(d.shard.Advance(78, d.now, &Output{Panes: func(b Block) {
		if !bytes.Contains(b.Data, raw) || b.MinTimestamp != 77 {
			t.Errorf("%q", b.Data)
		}
	}}))
}

// Iterables of more values than a count of 32 bits says are in the other form.
func TestHugeCountsAreBlocks(t *testing.T) {
	t.Parallel()
	w := blockWriter{}
	w.beginValues(1 << 32)
	w.endValues(1 << 32)
	count, n, err := coder.DecodeVarInt(w.buf[4:])
	if int32(binary.BigEndian.Uint32(w.buf)) != -1 || count != 1<<32 || err != nil || !bytes.Equal(w.buf[4+n:], []byte{0}) {
		t.Errorf("%x", w.buf)
	}
}
