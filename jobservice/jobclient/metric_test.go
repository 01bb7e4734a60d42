package jobclient

import (
	"slices"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// TestMetricsThatAreStrings: sets and tries are shown too.
func TestMetricsThatAreStrings(t *testing.T) {
	t.Parallel()
	set, err := encodedStrings.Append(nil, []any{"b", "a"})
	if err != nil {
		t.Fatal(err)
	}
	trie := func(trie *pipepb.BoundedTrie) []byte {
		b, err := proto.Marshal(trie)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	node := func(children map[string]*pipepb.BoundedTrieNode) *pipepb.BoundedTrieNode {
		return &pipepb.BoundedTrieNode{Children: children}
	}
	for name, c := range map[string]struct {
		typ     string
		payload []byte
		want    []string
	}{
		"set":       {"beam:metrics:set_string:v1", set, []string{"a", "b"}},
		"no string": {"beam:metrics:set_string:v1", nil, nil},
		"path":      {"beam:metrics:bounded_trie:v1", trie(&pipepb.BoundedTrie{Singleton: []string{"x", "y"}}), []string{"x/y"}},
		"no path":   {"beam:metrics:bounded_trie:v1", trie(&pipepb.BoundedTrie{Root: node(nil)}), nil},
		"trie": {"beam:metrics:bounded_trie:v1", trie(&pipepb.BoundedTrie{Root: node(map[string]*pipepb.BoundedTrieNode{
			"x": node(map[string]*pipepb.BoundedTrieNode{"y": node(nil), "z": {Truncated: true}}), "a": node(nil),
		})}), []string{"a", "x/y", "x/z/..."}},
	} {
		m, ok := metric(&pipepb.MonitoringInfo{Type: c.typ, Payload: c.payload})
		if ok != (name != "no string") || !slices.Equal(m.Values, c.want) {
			t.Errorf("%s: %q, %v", name, m.Values, ok)
		}
	}
}
