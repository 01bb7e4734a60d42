package runner

import (
	"encoding/binary"
	"math"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/coder"
)

// mergeMetric combines two payloads of a metric of the given type
// (metrics.proto, MonitoringInfoTypeUrns). A payload that does not decode, or
// of a type that has no sum, is replaced by the newer one.
func mergeMetric(typ string, a, b []byte) []byte {
	merge, ok := mergers[typ]
	if !ok {
		return b
	}
	if sum, ok := merge(a, b); ok {
		return sum
	}
	return b
}

var mergers = map[string]func(a, b []byte) ([]byte, bool){
	"beam:metrics:sum_int64:v1":           sumInts,
	"beam:metrics:sum_double:v1":          sumDoubles,
	"beam:metrics:distribution_int64:v1":  mergeDistribution,
	"beam:metrics:distribution_double:v1": mergeDoubleDistribution,
	"beam:metrics:latest_int64:v1":        latest,
	"beam:metrics:latest_double:v1":       latest,
	"beam:metrics:set_string:v1":          uniteStrings,
	"beam:metrics:bounded_trie:v1":        mergeTries,
	"beam:metrics:histogram_int64:v1":     mergeHistograms,
}

func sumInts(a, b []byte) ([]byte, bool) {
	x, ok := ints(a, 1)
	y, ok2 := ints(b, 1)
	if !ok || !ok2 {
		return nil, false
	}
	return coder.AppendVarInt(nil, x[0]+y[0]), true
}

// mergeDistribution adds count and sum and takes the extremes.
func mergeDistribution(a, b []byte) ([]byte, bool) {
	x, ok := ints(a, 4)
	y, ok2 := ints(b, 4)
	if !ok || !ok2 {
		return nil, false
	}
	var out []byte
	for _, v := range []int64{x[0] + y[0], x[1] + y[1], min(x[2], y[2]), max(x[3], y[3])} {
		out = coder.AppendVarInt(out, v)
	}
	return out, true
}

// ints reads n varints.
func ints(b []byte, n int) ([]int64, bool) {
	vs := make([]int64, n)
	for i := range vs {
		v, size, err := coder.DecodeVarInt(b)
		if err != nil {
			return nil, false
		}
		vs[i], b = v, b[size:]
	}
	return vs, true
}

func sumDoubles(a, b []byte) ([]byte, bool) {
	if len(a) != 8 || len(b) != 8 {
		return nil, false
	}
	return appendDouble(nil, double(a)+double(b)), true
}

func double(b []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b)) }

func appendDouble(dst []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}

func mergeDoubleDistribution(a, b []byte) ([]byte, bool) {
	n, size, err := coder.DecodeVarInt(a)
	m, size2, err2 := coder.DecodeVarInt(b)
	if err != nil || err2 != nil || len(a)-size != 24 || len(b)-size2 != 24 {
		return nil, false
	}
	x, y := a[size:], b[size2:]
	out := coder.AppendVarInt(nil, n+m)
	out = appendDouble(out, double(x)+double(y))
	out = appendDouble(out, math.Min(double(x[8:]), double(y[8:])))
	return appendDouble(out, math.Max(double(x[16:]), double(y[16:]))), true
}

// latest keeps the payload with the later timestamp, which comes first.
func latest(a, b []byte) ([]byte, bool) {
	x, ok := ints(a, 1)
	y, ok2 := ints(b, 1)
	if !ok || !ok2 {
		return nil, false
	}
	if x[0] > y[0] {
		return a, true
	}
	return b, true
}

// uniteStrings unites two encoded sets: iterables of strings.
func uniteStrings(a, b []byte) ([]byte, bool) {
	set := coder.IterableOf(coder.StringUTF8)
	x, _, err := set.Decode(a)
	y, _, err2 := set.Decode(b)
	xs, ok := x.([]any)
	ys, ok2 := y.([]any)
	if err != nil || err2 != nil || !ok || !ok2 {
		return nil, false
	}
	seen := map[any]bool{}
	var all []any
	for _, v := range append(xs, ys...) {
		if !seen[v] {
			seen[v] = true
			all = append(all, v)
		}
	}
	out, err := set.Append(nil, all)
	return out, err == nil
}

// mergeTries unites two bounded tries; a trie over its bound is cut at the
// depth where it fits, as its proto describes.
func mergeTries(a, b []byte) ([]byte, bool) {
	var x, y pipepb.BoundedTrie
	if proto.Unmarshal(a, &x) != nil || proto.Unmarshal(b, &y) != nil {
		return nil, false
	}
	root := trieRoot(&x)
	uniteTrie(root, trieRoot(&y))
	limit := max(x.GetBound(), y.GetBound())
	for limit > 0 && leaves(root) > limit {
		truncateDeepest(root)
	}
	out, err := proto.Marshal(&pipepb.BoundedTrie{Bound: limit, Root: root})
	return out, err == nil
}

// trieRoot is the trie's root, also of a trie of a single path.
func trieRoot(t *pipepb.BoundedTrie) *pipepb.BoundedTrieNode {
	if t.GetRoot() != nil {
		return t.GetRoot()
	}
	root := &pipepb.BoundedTrieNode{}
	at := root
	for _, part := range t.GetSingleton() {
		child := &pipepb.BoundedTrieNode{}
		at.Children = map[string]*pipepb.BoundedTrieNode{part: child}
		at = child
	}
	return root
}

func uniteTrie(into, from *pipepb.BoundedTrieNode) {
	if into.GetTruncated() || from.GetTruncated() {
		into.Truncated, into.Children = true, nil
		return
	}
	for part, child := range from.GetChildren() {
		if mine := into.GetChildren()[part]; mine != nil {
			uniteTrie(mine, child)
			continue
		}
		if into.Children == nil {
			into.Children = map[string]*pipepb.BoundedTrieNode{}
		}
		into.Children[part] = child
	}
}

func leaves(n *pipepb.BoundedTrieNode) int32 {
	if len(n.GetChildren()) == 0 {
		return 1
	}
	sum := int32(0)
	for _, c := range n.GetChildren() {
		sum += leaves(c)
	}
	return sum
}

// truncateDeepest cuts the node that has the most leaves right below the
// deepest level.
func truncateDeepest(root *pipepb.BoundedTrieNode) {
	var deepest *pipepb.BoundedTrieNode
	depth := -1
	var walk func(n *pipepb.BoundedTrieNode, d int)
	walk = func(n *pipepb.BoundedTrieNode, d int) {
		if len(n.GetChildren()) == 0 {
			return
		}
		if d > depth || d == depth && len(n.GetChildren()) > len(deepest.GetChildren()) {
			deepest, depth = n, d
		}
		for _, c := range n.GetChildren() {
			walk(c, d+1)
		}
	}
	walk(root, 0)
	if deepest != nil {
		deepest.Truncated, deepest.Children = true, nil
	}
}

// mergeHistograms adds the buckets of two histograms with the same bounds.
func mergeHistograms(a, b []byte) ([]byte, bool) {
	var x, y pipepb.HistogramValue
	if proto.Unmarshal(a, &x) != nil || proto.Unmarshal(b, &y) != nil || !proto.Equal(x.GetBucketOptions(), y.GetBucketOptions()) {
		return nil, false
	}
	if len(x.GetBucketCounts()) < len(y.GetBucketCounts()) {
		x.BucketCounts, y.BucketCounts = y.BucketCounts, x.BucketCounts
	}
	for i, n := range y.GetBucketCounts() {
		x.BucketCounts[i] += n
	}
	sum := x.GetCount() + y.GetCount()
	x.Count = &sum
	out, err := proto.Marshal(&x)
	return out, err == nil
}
