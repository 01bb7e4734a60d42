package fnapi_test

import (
	"fmt"
	"os"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"fresnel/fnapi"
	"fresnel/internal/beam"
)

// subprocess is the environment that the Python SDK has for a command line that
// starts a harness.
func subprocess(command string) *pipepb.Environment {
	return &pipepb.Environment{Urn: "beam:env:harness_subprocess_python:v1", Payload: []byte(command)}
}

func TestSubprocessesAreToldAllInVariables(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	r.pool(fnapi.Environment{Env: subprocess(fmt.Sprintf("'%s' harness echo", os.Args[0])), Options: []byte("{}")})
	w := r.up()
	var out output
	finishWell(t, w.Start(bundle(stage([]string{"out"}), &out, "x")))
	if out.of("out") != "x" {
		t.Errorf("output %q", out.of("out"))
	}
}

func TestSubprocessOfAnUnknownCommandIsHopeless(t *testing.T) {
	t.Parallel()
	r := newRig(t, fnapi.Config{})
	_, err := r.server.Pool(t.Context(), fnapi.Environment{Env: subprocess("")}, r)
	wantCode(t, err, beam.InvalidPipeline)
	r.pool(fnapi.Environment{Env: subprocess("no-such-program -m harness")})
	wantCode(t, await(t, r.failed, "failure"), beam.InvalidPipeline)
}
