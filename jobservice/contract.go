package jobservice

import (
	"context"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/structpb"

	"fresnel/internal/beam"
)

// Submission is one prepared pipeline, as it is handed to the Runner.
type Submission struct {
	// ID names the job; Run keeps the id that Prepare gave out as alias.
	ID beam.JobID
	// Name is the user's job name.
	Name string
	// Pipeline is as the client sent it, with the artifacts of its
	// environments resolved to files of the artifact store.
	Pipeline *pipepb.Pipeline
	// Options are the client's pipeline options as sent
	// (beam:option:<name>:v1 → value; integers often arrive as strings).
	Options *structpb.Struct
	// RetrievalEndpoint is where harnesses find ArtifactRetrievalService.
	RetrievalEndpoint string
}

// Runner runs pipelines. The job service knows nothing of how.
type Runner interface {
	// Check refuses, at Prepare, what cannot be run: the *beam.Error names the
	// construct, the transform and the cure. It has no effects.
	Check(s *Submission) error
	// Run runs the job to its end. It returns nil when all work is done, a
	// *beam.Error when the job failed, and ctx's error once ctx is cancelled and
	// everything of the job is released. After drain is closed, sources stop and
	// what is under way is finished.
	Run(ctx context.Context, s *Submission, drain <-chan struct{}, r Reporter) error
}

// Reporter takes what a running job tells its clients. Methods are safe for
// concurrent use and never block on a client.
type Reporter interface {
	// Running tells that the job has its harnesses and works.
	Running()
	// Message adds a message to the job's stream.
	Message(level Level, at time.Time, text string)
	// Metrics sets the function that GetJobMetrics calls; it is called at any
	// time, also after Run has returned.
	Metrics(read func() (attempted, committed []*pipepb.MonitoringInfo))
}

// Level is the importance of a job message (JobMessage.MessageImportance).
type Level uint8

// The levels, least important first.
const (
	Debug Level = iota
	Detailed
	Basic
	Warning
	Error
)
