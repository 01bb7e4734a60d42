package jobservice

import (
	"encoding/json"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// StageProgress is how far a stage of a running job is. It travels among the
// attempted metrics of GetJobMetrics, one for each stage: Beam's clients pass
// over URNs that they do not know.
type StageProgress struct {
	// Name is for people: the user's names of what the stage runs.
	Name string `json:"name"`
	// Done tells that the stage has nothing left to do.
	Done bool `json:"done,omitempty"`
	// Watermark is the stage's output watermark, in milliseconds since 1970; it is
	// absent before the first and after the last.
	Watermark *int64 `json:"watermark,omitempty"`
	// Elements and Bytes count what has been consumed, Pending the elements that
	// wait.
	Elements int64 `json:"elements"`
	Bytes    int64 `json:"bytes"`
	Pending  int64 `json:"pending"`
	// Running and Failed count bundles.
	Running int64 `json:"running"`
	Failed  int64 `json:"failed,omitempty"`
	// Reads tells that the stage is a source that has not ended.
	Reads bool `json:"reads,omitempty"`
}

// ProgressURN and progressType mark a StageProgress among metrics.
const (
	ProgressURN  = "fresnel:metric:stage_progress:v1"
	progressType = "fresnel:metrics:json:v1"
)

// Info encodes the progress as a metric.
func (p StageProgress) Info() *pipepb.MonitoringInfo {
	payload, _ := json.Marshal(p) // it has no values that cannot be encoded
	return &pipepb.MonitoringInfo{Urn: ProgressURN, Type: progressType, Labels: map[string]string{"PTRANSFORM": p.Name}, Payload: payload}
}

// Share is the part of what the stage has got so far that it has done.
func (p StageProgress) Share() float64 {
	total := p.Elements + p.Pending
	switch {
	case p.Done:
		return 1
	case total == 0:
		return 0
	}
	return min(0.95, float64(p.Elements)/float64(total)) // more may come
}
