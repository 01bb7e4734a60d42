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
	// ID names the job, from Prepare on; no other job, of any server, has it.
	ID beam.JobID
	// Name is the user's job name.
	Name string
	// Pipeline is as the client sent it, with the artifacts of its
	// environments resolved to files of the artifact store. It is shared with
	// other readers: nobody modifies it. All ids that can be reached from the
	// roots exist, and nothing contains itself.
	Pipeline *pipepb.Pipeline
	// Options are the client's pipeline options as sent
	// (beam:option:<name>:v1 → value; integers often arrive as strings).
	Options *structpb.Struct
	// RetrievalEndpoint is where harnesses find ArtifactRetrievalService.
	RetrievalEndpoint string
	// Dir is a directory of the job's own, for whatever must survive the server.
	// The runner makes it; the service removes it when the job has ended. It is
	// empty in a job that lives in memory.
	Dir string
	// Epoch counts the runs of the job, from 1 on: one more each time that a
	// server takes it up again. In a durable job it is on disk before Run is
	// called, so that no two runs ever have the same.
	Epoch int64
	// Resumed tells that an earlier run was cut off, and that Run goes on from
	// what that left in Dir (which may be nothing, if it was cut off early).
	Resumed bool
	// Begun tells that Run has called Began before, in this run of the job or an
	// earlier one: what Dir had then must be there. Began brings that to the disk;
	// it is nil where nothing is to be noted.
	Begun bool
	Began func() error
	// From is a job that was stopped, and with whose state this one begins; nil for
	// none. Once Run has taken it over, it calls Took.
	From *Submission
	Took func()
	// Halt is closed when the job is to come to a rest, with as little as can be under
	// way: Run then returns as it does when the server shuts down.
	Halt <-chan struct{}
}

// Runner runs pipelines. The job service knows nothing of how.
type Runner interface {
	// Check refuses, at Prepare, what cannot be run: the *beam.Error names the
	// construct, the transform and the cure. It has no effects.
	Check(s *Submission) error
	// Durable decides, once, before the first Run of a job, whether the job is to
	// survive the server. It is asked only where there is a directory to survive
	// in, and has no effects.
	Durable(s *Submission) bool
	// Run runs the job to its end. It returns nil when all work is done, a
	// *beam.Error when the job failed, and ctx's error once ctx is cancelled and
	// everything of the job is released. In a durable job a ctx that is cancelled
	// may also mean that the server shuts down: Run leaves in Dir what another Run
	// needs to go on. After drain is closed, sources stop and
	// what is under way is finished: Run then returns nil. The error's whole text
	// is what the user sees last.
	Run(ctx context.Context, s *Submission, drain <-chan struct{}, r Reporter) error
}

// Looker is a Runner that can tell, in JSON of its own, what a job has in its
// state: of one that it runs, or that was stopped and kept.
type Looker interface {
	Look(s *Submission) ([]byte, error)
}

// Hider is a Runner that knows which transforms are configured with passwords:
// GetPipeline leaves their payloads out.
type Hider interface {
	Hides(urn string) bool
}

// Reporter takes what a running job tells its clients. Methods are safe for
// concurrent use and never block on a client.
type Reporter interface {
	// Running tells that the job has its harnesses and works.
	Running()
	// Message adds a message to the job's stream.
	Message(level Level, at time.Time, text string)
	// Metrics sets the function that GetJobMetrics calls. It is called at any
	// time until Run has returned, and once more right after: that is what the
	// job is remembered by.
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
