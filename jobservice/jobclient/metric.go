package jobclient

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/coder"
	"fresnel/jobservice"
)

// Metric is one of a job's metrics.
type Metric struct {
	// Step is the user's name of the transform, or the id of the collection, that
	// it belongs to.
	Step string `json:"step"`
	// Name is the metric's; a metric of the user's has its namespace before it.
	Name string `json:"name"`
	// User tells that the user's code counts it.
	User bool `json:"user"`
	// Value is a counter's or a gauge's value, or a distribution's mean; Count, Sum,
	// Min and Max are a distribution's.
	Value float64 `json:"value"`
	Count int64   `json:"count,omitempty"`
	Sum   int64   `json:"sum,omitempty"`
	Min   int64   `json:"min,omitempty"`
	Max   int64   `json:"max,omitempty"`
	// Values are a set's strings, or the paths of a bounded trie, whose parts are
	// joined by slashes; "..." ends one that stands for all that begin with it.
	Values []string `json:"values,omitempty"`
}

// Metrics returns a job's metrics, as far as they are committed, and how far its
// stages are, which only a running job of Fresnel tells.
func (c *Client) Metrics(ctx context.Context, id string) ([]Metric, []jobservice.StageProgress, error) {
	resp, err := c.api.GetJobMetrics(ctx, &jobpb.GetJobMetricsRequest{JobId: id})
	if err != nil {
		return nil, nil, c.explain(err)
	}
	var metrics []Metric
	for _, info := range resp.GetMetrics().GetCommitted() {
		if m, ok := metric(info); ok {
			metrics = append(metrics, m)
		}
	}
	var stages []jobservice.StageProgress
	for _, info := range resp.GetMetrics().GetAttempted() {
		var p jobservice.StageProgress
		if info.GetUrn() == jobservice.ProgressURN && json.Unmarshal(info.GetPayload(), &p) == nil {
			stages = append(stages, p)
		}
	}
	return metrics, stages, nil
}

// metric decodes a counter, gauge, distribution, set or trie (metrics.proto,
// MonitoringInfoTypeUrns).
func metric(info *pipepb.MonitoringInfo) (Metric, bool) {
	m := Metric{Step: info.GetLabels()["PTRANSFORM"], Name: shortName(info.GetUrn())}
	if m.Step == "" {
		m.Step = info.GetLabels()["PCOLLECTION"]
	}
	if m.User = strings.HasPrefix(info.GetUrn(), "beam:metric:user:"); m.User {
		m.Name = info.GetLabels()["NAMESPACE"] + "." + info.GetLabels()["NAME"]
	}
	switch info.GetType() {
	case "beam:metrics:sum_int64:v1":
		n, ok := varints(info.GetPayload(), 1)
		m.Value = float64(n[0])
		return m, ok
	case "beam:metrics:latest_int64:v1":
		n, ok := varints(info.GetPayload(), 2)
		m.Value = float64(n[1])
		return m, ok
	case "beam:metrics:distribution_int64:v1":
		n, ok := varints(info.GetPayload(), 4)
		m.Count, m.Sum, m.Min, m.Max = n[0], n[1], n[2], n[3]
		if m.Count > 0 {
			m.Value = float64(m.Sum) / float64(m.Count)
		}
		return m, ok
	case "beam:metrics:set_string:v1":
		v, _, err := encodedStrings.Decode(info.GetPayload())
		if err != nil {
			return m, false
		}
		m.Values = []string{}
		for _, one := range v.([]any) {
			m.Values = append(m.Values, one.(string))
		}
		slices.Sort(m.Values)
		return m, true
	case "beam:metrics:bounded_trie:v1":
		var trie pipepb.BoundedTrie
		err := proto.Unmarshal(info.GetPayload(), &trie)
		if m.Values = paths([]string{}, "", trie.GetRoot()); len(trie.GetSingleton()) > 0 {
			m.Values = []string{strings.Join(trie.GetSingleton(), "/")}
		}
		slices.Sort(m.Values)
		return m, err == nil
	}
	return m, false
}

var encodedStrings = coder.IterableOf(coder.StringUTF8)

// paths appends those of a node of a bounded trie that begin with prefix.
func paths(all []string, prefix string, n *pipepb.BoundedTrieNode) []string {
	switch {
	case n.GetTruncated():
		return append(all, prefix+"...")
	case len(n.GetChildren()) == 0 && prefix != "":
		return append(all, strings.TrimSuffix(prefix, "/"))
	}
	for part, child := range n.GetChildren() {
		all = paths(all, prefix+part+"/", child)
	}
	return all
}

// shortName strips what all URNs of metrics have.
func shortName(urn string) string {
	return strings.TrimSuffix(strings.TrimPrefix(urn, "beam:metric:"), ":v1")
}

// varints reads the first n numbers of a payload.
func varints(b []byte, n int) (numbers [4]int64, ok bool) {
	for i := range n {
		v, size, err := coder.DecodeVarInt(b)
		if err != nil {
			return numbers, false
		}
		numbers[i], b = v, b[size:]
	}
	return numbers, true
}
