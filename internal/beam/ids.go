// Package beam is the vocabulary that every other package shares: typed ids,
// event time, windows, panes and the coded error. It imports nothing of the
// project and knows neither protos nor transports.
package beam

// Ids are those of the pipeline proto, or derived from them; they are opaque.
type (
	// JobID names a running or ended job.
	JobID string
	// TransformID is a key of Components.transforms.
	TransformID string
	// PCollectionID is a key of Components.pcollections.
	PCollectionID string
	// CoderID is a key of Components.coders.
	CoderID string
	// WindowingID is a key of Components.windowing_strategies.
	WindowingID string
	// EnvironmentID is a key of Components.environments.
	EnvironmentID string
	// StageID names a stage of a plan.
	StageID string
)
