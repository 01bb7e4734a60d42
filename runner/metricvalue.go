package runner

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/coder"
)

// metricSum adds up the payloads of a metric (metrics.proto,
// MonitoringInfoTypeUrns).
type metricSum interface {
	add(payload []byte)
	payload() []byte
}

// newMetricSum is the sum for a type. Those that each bundle has by the dozen
// are kept as numbers, those that grow decoded; of a type that has no sum the
// newest payload counts.
func newMetricSum(typ string) metricSum {
	switch typ {
	case "beam:metrics:sum_int64:v1":
		return &intSum{}
	case "beam:metrics:distribution_int64:v1":
		return &intDistribution{}
	case "beam:metrics:set_string:v1":
		return &stringSet{seen: map[any]bool{}}
	case "beam:metrics:bounded_trie:v1":
		return &trie{root: &pipepb.BoundedTrieNode{}}
	}
	return &mergedSum{merge: mergers[typ]}
}

// intSum is a counter.
type intSum struct{ n int64 }

func (s *intSum) add(payload []byte) {
	var v [1]int64
	if readInts(payload, v[:]) {
		s.n += v[0]
	}
}

func (s *intSum) payload() []byte { return coder.AppendVarInt(nil, s.n) }

// intDistribution has the count, the sum, the least and the most.
type intDistribution [4]int64

func (s *intDistribution) add(payload []byte) {
	var v [4]int64
	switch ok := readInts(payload, v[:]); {
	case !ok || v[0] == 0:
	case s[0] == 0:
		*s = v
	default:
		*s = intDistribution{s[0] + v[0], s[1] + v[1], min(s[2], v[2]), max(s[3], v[3])}
	}
}

func (s *intDistribution) payload() []byte {
	var b []byte
	for _, v := range s {
		b = coder.AppendVarInt(b, v)
	}
	return b
}

// readInts reads as many varints as vs has.
func readInts(b []byte, vs []int64) bool {
	for i := range vs {
		v, size, err := coder.DecodeVarInt(b)
		if err != nil {
			return false
		}
		vs[i], b = v, b[size:]
	}
	return true
}

// mergedSum merges payloads in their encoded form. A payload that does not
// decode is replaced by the newer one.
type mergedSum struct {
	merge func(a, b []byte) ([]byte, bool)
	data  []byte
}

func (s *mergedSum) add(payload []byte) {
	if s.data != nil && s.merge != nil {
		if sum, ok := s.merge(s.data, payload); ok {
			s.data = sum
			return
		}
	}
	s.data = payload
}

func (s *mergedSum) payload() []byte { return s.data }

var mergers = map[string]func(a, b []byte) ([]byte, bool){
	"beam:metrics:sum_double:v1":          sumDoubles,
	"beam:metrics:distribution_double:v1": mergeDoubleDistribution,
	"beam:metrics:latest_int64:v1":        latest,
	"beam:metrics:latest_double:v1":       latest,
	"beam:metrics:histogram_int64:v1":     mergeHistograms,
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
	var x, y [1]int64
	if !readInts(a, x[:]) || !readInts(b, y[:]) {
		return nil, false
	}
	if x[0] > y[0] {
		return a, true
	}
	return b, true
}

// stringSet is an iterable of strings without order.
type stringSet struct {
	seen map[any]bool
	all  []any
}

var encodedStrings = coder.IterableOf(coder.StringUTF8)

func (s *stringSet) add(payload []byte) {
	v, _, err := encodedStrings.Decode(payload)
	if err != nil {
		return
	}
	for _, one := range v.([]any) {
		if !s.seen[one] {
			s.seen[one] = true
			s.all = append(s.all, one)
		}
	}
}

func (s *stringSet) payload() []byte {
	b, _ := encodedStrings.Append(nil, s.all) // they were decoded by it
	return b
}

// trie is a bounded trie; one over its bound is trimmed as the SDKs do it.
type trie struct {
	root  *pipepb.BoundedTrieNode
	bound int32
}

func (t *trie) add(payload []byte) {
	var more pipepb.BoundedTrie
	if proto.Unmarshal(payload, &more) != nil {
		return
	}
	uniteTrie(t.root, trieRoot(&more))
	t.bound = max(t.bound, more.GetBound())
	for t.bound > 0 && leaves(t.root) > t.bound {
		trim(t.root)
	}
}

func (t *trie) payload() []byte {
	b, _ := proto.Marshal(&pipepb.BoundedTrie{Bound: t.bound, Root: t.root}) // its strings came by a proto
	return b
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

// trim cuts the children of a node off: of one that is reached by always going
// to the largest child.
func trim(n *pipepb.BoundedTrieNode) {
	for {
		var largest *pipepb.BoundedTrieNode
		size := int32(0)
		for _, part := range slices.Sorted(maps.Keys(n.GetChildren())) {
			if c := n.GetChildren()[part]; leaves(c) > size {
				largest, size = c, leaves(c)
			}
		}
		if size <= 1 {
			n.Truncated, n.Children = true, nil
			return
		}
		n = largest
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
