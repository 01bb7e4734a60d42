package fnapi

import (
	"context"
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/internal/beam"
)

// Environments of the Python SDK's own (apache_beam/portability/python_urns.py).
// Its job server runs the embedded ones in its own process, which is Python;
// here a process stands in for it.
const (
	urnEmbedded     = "beam:env:embedded_python:v1"
	urnEmbeddedGRPC = "beam:env:embedded_python_grpc:v1"
	urnSubprocess   = "beam:env:harness_subprocess_python:v1"
)

// embedded runs one process, as there is one of what it stands for.
type embedded struct{ process }

func (s *Server) newEmbedded() launcher {
	return &embedded{process{where: "stand-in for an embedded Python harness", argv: []string{s.cfg.Executable, "boot"}}}
}

func (*embedded) parallelism() int { return 1 }

// subprocess runs the command line that is the payload. It starts the harness
// itself rather than a boot program: all that it gets is in its environment
// variables.
type subprocess struct{ embedded }

func newSubprocess(env *pipepb.Environment) (launcher, error) {
	argv := words(string(env.GetPayload()))
	if len(argv) == 0 {
		return nil, &beam.Error{Code: beam.InvalidPipeline, Where: "environment " + urnSubprocess, What: "it has no command"}
	}
	return &subprocess{embedded{process{where: "process " + string(env.GetPayload()), argv: argv}}}, nil
}

func (s *subprocess) launch(_ context.Context, w *worker) (handle, error) {
	here := fmt.Sprintf("url: %q", w.endpoint)
	return launchChild(w, s.where, s.argv, []string{
		"WORKER_ID=" + w.id,
		"CONTROL_API_SERVICE_DESCRIPTOR=" + here,
		"LOGGING_API_SERVICE_DESCRIPTOR=" + here,
		"STATUS_API_SERVICE_DESCRIPTOR=" + here,
		"PIPELINE_OPTIONS=" + string(w.env.Options),
	})
}
