package kafka

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"fresnel/connectors"
)

// TestAPositionFitsTheTopicsAndTheClusterThatItIsOf: the rest of a configuration
// may change.
func TestAPositionFitsTheTopicsAndTheClusterThatItIsOf(t *testing.T) {
	t.Parallel()
	payload := func(servers, group string, topics ...string) []byte {
		b, err := json.Marshal(readSpec{Consumer: map[string]string{"bootstrap.servers": servers, "group.id": group}, Topics: topics, Policy: createTime})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	was := payload("a:1,b:1", "g", "x", "y")
	p := position{splits: 1, topics: []topicPosition{{name: "x", known: 1, offsets: []int64{7}}, {name: "y", known: 2, offsets: []int64{8, 9}}}}
	for _, c := range []struct {
		now  []byte
		says string
	}{
		{was, ""}, {payload("b:1,c:1", "h", "y", "x"), ""}, {payload("c:1", "g", "x", "y"), "another cluster"},
		{payload("a:1", "g", "x"), "y is not read any more"}, {payload("a:1", "g", "x", "y", "z"), "z is read now"},
	} {
		s, err := newSource(connectors.Transform{Name: "read", Payload: c.now}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		err = s.Continues(was, p.encode())
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, not %q", c.now, err, c.says)
		}
		if got := s.DescribePosition(p.encode()); got != "x-0 offset 7, y-0 offset 8, y-1 offset 9" {
			t.Errorf("it is described as %s", got)
		}
		if got := s.DescribePosition([]byte("?")); !strings.Contains(got, "no position") {
			t.Errorf("nonsense is described as %s", got)
		}
		_ = s.Close() // nothing was written
	}
}
