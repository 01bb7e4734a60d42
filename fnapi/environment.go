package fnapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// The environments (beam_runner_api.proto, StandardEnvironments).
const (
	urnExternal = "beam:env:external:v1"
	urnProcess  = "beam:env:process:v1"
	urnDocker   = "beam:env:docker:v1"
	urnAnyOf    = "beam:env:anyof:v1"
)

// launcher starts workers of one environment.
type launcher interface {
	// launch has a harness started that will connect as w. It may return before
	// the harness connects; if the harness ends, w is lost.
	launch(ctx context.Context, w *worker) (handle, error)
	// endpoint is where such a harness reaches a server that is at local.
	endpoint(local string) string
	// parallelism is the number of workers if nobody asked for another.
	parallelism() int
	// keep tells if idle workers may serve another job.
	keep() bool
	// notice is what the user should know of how the workers run, empty if
	// nothing. It may take a while.
	notice(ctx context.Context) string
}

// handle is a harness that was started.
type handle interface {
	// stop ends it and returns when it has ended, or cannot be reached.
	stop()
}

// newLauncher reads an environment's payload.
func (s *Server) newLauncher(ctx context.Context, env *Environment) (launcher, error) {
	switch env.Env.GetUrn() {
	case urnExternal:
		return newExternal(env.Env.GetPayload())
	case urnProcess:
		return s.newProcess(env.Env.GetPayload())
	case urnDocker:
		return s.newDocker(ctx, env)
	case urnEmbedded, urnEmbeddedGRPC:
		return s.newEmbedded(), nil
	case urnSubprocess:
		return newSubprocess(env.Env)
	}
	return nil, &beam.Error{
		Code: beam.Unsupported, Where: "environment " + string(env.ID),
		What: fmt.Sprintf("environments of type %q", env.Env.GetUrn()),
		Cure: "use --environment_type=LOOPBACK, EXTERNAL, PROCESS or DOCKER",
	}
}

// CanStart tells whether there may be workers of an environment: its kind is known.
func CanStart(env *pipepb.Environment) bool {
	env, err := resolve(env)
	if err != nil {
		return true // starting it tells what is wrong
	}
	switch env.GetUrn() {
	case urnExternal, urnProcess, urnDocker, urnEmbedded, urnEmbeddedGRPC, urnSubprocess:
		return true
	}
	return false
}

func malformed(urn string, err error) error {
	return &beam.Error{Code: beam.InvalidPipeline, Where: "environment " + urn, What: "the payload is malformed", Cause: err}
}

// resolve picks one of a choice of environments: what runs already before what
// is to be started, and processes before containers.
func resolve(env *pipepb.Environment) (*pipepb.Environment, error) {
	if env.GetUrn() != urnAnyOf {
		return env, nil
	}
	choice := &pipepb.AnyOfEnvironmentPayload{}
	if err := proto.Unmarshal(env.GetPayload(), choice); err != nil {
		return nil, malformed(urnAnyOf, err)
	}
	for _, urn := range []string{urnExternal, urnProcess, urnDocker} {
		for _, e := range choice.GetEnvironments() {
			if e.GetUrn() == urn {
				return e, nil
			}
		}
	}
	return env, nil
}

// volatileOptions differ from job to job without meaning anything to a
// harness: Java counts its options' objects, and what files are staged the
// dependencies tell.
var volatileOptions = []string{"job_name", "job_endpoint", "artifact_endpoint", "app_name", "save_main_session", "options_id", "files_to_stage"}

// hash names environments that can share workers, one job after another: the
// same payload, dependencies and options.
func (e *Environment) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%q\n", e.Env.GetUrn(), e.Env.GetPayload())
	for _, dep := range e.Env.GetDependencies() {
		fmt.Fprintf(h, "%q %q %q %q\n", dep.GetTypeUrn(), content(dep), dep.GetRoleUrn(), dep.GetRolePayload())
	}
	h.Write(stableOptions(e.Options))
	return hex.EncodeToString(h.Sum(nil))
}

// content is what an artifact's type payload says of its bytes.
func content(dep *pipepb.ArtifactInformation) string {
	file := &pipepb.ArtifactFilePayload{}
	if dep.GetTypeUrn() == "beam:artifact:type:file:v1" && proto.Unmarshal(dep.GetTypePayload(), file) == nil && file.GetSha256() != "" {
		return file.GetSha256()
	}
	return string(dep.GetTypePayload())
}

func stableOptions(options []byte) []byte {
	all := map[string]json.RawMessage{}
	if json.Unmarshal(options, &all) != nil {
		return options
	}
	for name := range all {
		if slices.Contains(volatileOptions, bareOption(name)) {
			delete(all, name)
		}
	}
	stable, _ := json.Marshal(all) // keys come sorted
	return stable
}

// bareOption strips beam:option:<name>:v1.
func bareOption(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "beam:option:"), ":v1")
}
