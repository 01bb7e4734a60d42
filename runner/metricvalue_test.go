package runner

import (
	"fmt"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/coder"
)

func ints(vs ...int64) []byte {
	var b []byte
	for _, v := range vs {
		b = coder.AppendVarInt(b, v)
	}
	return b
}

func doubles(prefix []byte, vs ...float64) []byte {
	for _, v := range vs {
		prefix = appendDouble(prefix, v)
	}
	return prefix
}

func set(vs ...string) []byte {
	b := coder.AppendIterableCount(nil, len(vs))
	for _, v := range vs {
		b = append(b, str(v)...)
	}
	return b
}

func TestMetricsAreAddedByTheirTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ     string
		add     [][]byte
		payload []byte
	}{
		{"sum_int64", [][]byte{ints(3), ints(-5), ints(0)}, ints(-2)},
		{"sum_int64", [][]byte{ints(3), {0x80}, nil}, ints(3)},
		{"distribution_int64", [][]byte{ints(2, 10, 4, 6), ints(0, 0, 1<<62, -1<<62), ints(1, -7, -7, -7)}, ints(3, 3, -7, 6)},
		{"distribution_int64", [][]byte{ints(1, 2)}, ints(0, 0, 0, 0)},
		{"sum_double", [][]byte{doubles(nil, 1.5), doubles(nil, 2)}, doubles(nil, 3.5)},
		{"distribution_double", [][]byte{doubles(ints(2), 10, 4, 6), doubles(ints(1), -7, -7, -7)}, doubles(ints(3), 3, -7, 6)},
		{"latest_int64", [][]byte{ints(100, 1), ints(300, 2), ints(200, 3)}, ints(300, 2)},
		{"set_string", [][]byte{set("a", "b"), set("b", "c"), {1}}, set("a", "b", "c")},
		{"anything", [][]byte{[]byte("a"), []byte("b")}, []byte("b")},
	} {
		sum := newMetricSum("beam:metrics:" + c.typ + ":v1")
		for _, p := range c.add {
			sum.add(p)
		}
		if got := sum.payload(); string(got) != string(c.payload) {
			t.Errorf("%s: %x, want %x", c.typ, got, c.payload)
		}
	}
}

func path(parts ...string) *pipepb.BoundedTrieNode {
	n := &pipepb.BoundedTrieNode{}
	if len(parts) > 0 {
		n.Children = map[string]*pipepb.BoundedTrieNode{parts[0]: path(parts[1:]...)}
	}
	return n
}

// show prints a trie's paths.
func show(n *pipepb.BoundedTrieNode, prefix string) (all []string) {
	if n.GetTruncated() {
		return []string{prefix + "*"}
	}
	if len(n.GetChildren()) == 0 {
		return []string{prefix}
	}
	for _, part := range "abcdefghijklmnop" {
		if c := n.GetChildren()[string(part)]; c != nil {
			all = append(all, show(c, prefix+string(part))...)
		}
	}
	return all
}

func TestTriesAreUnitedAndTrimmed(t *testing.T) {
	t.Parallel()
	sum := newMetricSum("beam:metrics:bounded_trie:v1")
	add := func(m *pipepb.BoundedTrie) {
		m.Bound = 5
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		sum.add(b)
	}
	for _, p := range []string{"abc", "abd", "ae", "f"} {
		add(&pipepb.BoundedTrie{Root: path(strings.Split(p, "")...)})
	}
	add(&pipepb.BoundedTrie{Singleton: []string{"a", "b", "g"}})
	sum.add([]byte{0xff})
	got := func() string {
		var m pipepb.BoundedTrie
		if err := proto.Unmarshal(sum.payload(), &m); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(show(m.GetRoot(), ""))
	}
	if got() != "[abc abd abg ae f]" {
		t.Errorf("united: %s", got())
	}
	add(&pipepb.BoundedTrie{Singleton: []string{"h"}})
	if got() != "[ab* ae f h]" {
		t.Errorf("trimmed: %s", got())
	}
	add(&pipepb.BoundedTrie{Singleton: []string{"a", "b", "z"}})
	if got() != "[ab* ae f h]" {
		t.Errorf("below what was cut: %s", got())
	}
}

func TestHistogramsOfTheSameBucketsAreAdded(t *testing.T) {
	t.Parallel()
	histogram := func(counts ...int64) []byte {
		total := int64(0)
		for _, n := range counts {
			total += n
		}
		b, _ := proto.Marshal(&pipepb.HistogramValue{Count: &total, BucketCounts: counts}) // numbers
		return b
	}
	sum := newMetricSum("beam:metrics:histogram_int64:v1")
	sum.add(histogram(1, 2))
	sum.add(histogram(0, 1, 4))
	var m pipepb.HistogramValue
	if err := proto.Unmarshal(sum.payload(), &m); err != nil || m.GetCount() != 8 || fmt.Sprint(m.GetBucketCounts()) != "[1 3 4]" {
		t.Errorf("%v, %v", &m, err)
	}
}
