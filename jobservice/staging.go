package jobservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fresnel/internal/beam"
)

// The types and roles of artifacts (StandardArtifacts in beam_runner_api.proto).
const (
	urnFile      = "beam:artifact:type:file:v1"
	urnURL       = "beam:artifact:type:url:v1"
	urnEmbedded  = "beam:artifact:type:embedded:v1"
	urnPyPI      = "beam:artifact:type:pypi:v1"
	urnMaven     = "beam:artifact:type:maven:v1"
	urnStagingTo = "beam:artifact:role:staging_to:v1"
)

// stagingAPI is Beam's ArtifactStagingService. Its one stream goes backwards:
// the server asks, the client answers.
type stagingAPI struct {
	jobpb.UnimplementedArtifactStagingServiceServer
	service *Service
}

type stagingStream = jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceServer

// ReverseArtifactRetrievalService gets the artifacts of a prepared job's
// environments from its client. When the stream ends without an error, the
// job's pipeline names files of the store instead. A stream that breaks leaves
// the pipeline as it was, and the client may try again.
func (a *stagingAPI) ReverseArtifactRetrievalService(stream stagingStream) error {
	// protobuf-ts hands out no message before it has seen headers.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	j, err := a.service.staged(first.GetStagingToken())
	if err != nil {
		return err
	}
	a.service.stagings.RLock()
	defer a.service.stagings.RUnlock()
	pipeline, err := j.beginStaging()
	if err != nil {
		return err
	}
	var outcome *pipepb.Pipeline
	defer func() { j.endStaging(outcome) }()
	s := &staging{stream: stream, store: a.service.store, done: map[string]*pipepb.ArtifactInformation{}}
	staged, err := s.environments(pipeline.GetComponents().GetEnvironments())
	if err != nil {
		j.log.Warn("staging failed", "error", err)
		return asStatus(err)
	}
	outcome = withEnvironments(pipeline, staged)
	return nil
}

// beginStaging lets one stream at a time stage for the job.
func (j *job) beginStaging() (*pipepb.Pipeline, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != stopped || j.staging {
		return nil, status.Errorf(codes.FailedPrecondition,
			"job %s takes no artifacts now: it was run already, or another stream stages for it", j.id)
	}
	j.staging = true
	return j.pipeline, nil
}

// endStaging ends it; pipeline is nil if it failed.
func (j *job) endStaging(pipeline *pipepb.Pipeline) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.staging = false
	if pipeline != nil {
		j.pipeline, j.staged = pipeline, true
	}
}

// withEnvironments returns p with other environments. It shares everything
// else with p, which streams may be reading.
func withEnvironments(p *pipepb.Pipeline, envs map[string]*pipepb.Environment) *pipepb.Pipeline {
	components := shallow(p.GetComponents())
	components.Environments = envs
	pipeline := shallow(p)
	pipeline.Components = components
	return pipeline
}

// shallow copies a message without copying what its fields hold.
func shallow[M proto.Message](m M) M {
	from := m.ProtoReflect()
	to := from.New()
	from.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		to.Set(field, value)
		return true
	})
	to.SetUnknown(from.GetUnknown())
	return to.Interface().(M)
}

// staging is one session with a client.
type staging struct {
	stream stagingStream
	store  *store
	// done holds what was staged already, by type and payload: environments
	// share most artifacts.
	done map[string]*pipepb.ArtifactInformation
}

// environments stages for all environments; the order is that of their ids.
func (s *staging) environments(envs map[string]*pipepb.Environment) (map[string]*pipepb.Environment, error) {
	staged := make(map[string]*pipepb.Environment, len(envs))
	for _, id := range slices.Sorted(maps.Keys(envs)) {
		deps, err := s.dependencies(envs[id].GetDependencies())
		if err != nil {
			return nil, err
		}
		staged[id] = shallow(envs[id])
		staged[id].Dependencies = deps
	}
	return staged, nil
}

// dependencies stages the artifacts of one environment.
func (s *staging) dependencies(deps []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	if len(deps) == 0 {
		return nil, nil
	}
	resolved, err := s.resolve(deps)
	if err != nil {
		return nil, err
	}
	staged := make([]*pipepb.ArtifactInformation, len(resolved))
	for i, dep := range resolved {
		if staged[i], err = s.stage(dep); err != nil {
			return nil, fmt.Errorf("artifact %s: %w", artifactName(dep), err)
		}
	}
	return staged, nil
}

// resolve lets the client replace what only it understands.
func (s *staging) resolve(deps []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	err := s.stream.Send(&jobpb.ArtifactRequestWrapper{Request: &jobpb.ArtifactRequestWrapper_ResolveArtifact{
		ResolveArtifact: &jobpb.ResolveArtifactsRequest{Artifacts: deps, PreferredUrns: []string{urnFile, urnEmbedded, urnURL}},
	}})
	if err != nil {
		return nil, err
	}
	answer, err := s.answer()
	if err != nil {
		return nil, err
	}
	resolved, ok := answer.GetResponse().(*jobpb.ArtifactResponseWrapper_ResolveArtifactResponse)
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "the client answered %T where it was to resolve artifacts", answer.GetResponse())
	}
	return resolved.ResolveArtifactResponse.GetReplacements(), nil
}

// answer receives the client's next message.
func (s *staging) answer() (*jobpb.ArtifactResponseWrapper, error) {
	answer, err := s.stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, status.Error(codes.InvalidArgument, "the client ended the stream before all artifacts were staged")
	}
	return answer, err
}

// stage brings one artifact into the store and returns it as a file of it.
func (s *staging) stage(dep *pipepb.ArtifactInformation) (*pipepb.ArtifactInformation, error) {
	if dep.GetTypeUrn() == urnPyPI || dep.GetTypeUrn() == urnMaven {
		return dep, nil // installed by name, where the worker starts
	}
	key := dep.GetTypeUrn() + "\x00" + string(dep.GetTypePayload())
	if before := s.done[key]; before != nil {
		return inRoleOf(dep, before), nil
	}
	a, err := s.fetch(dep)
	if err != nil {
		return nil, err
	}
	payload, err := proto.Marshal(&pipepb.ArtifactFilePayload{Path: a.path, Sha256: a.sha256})
	if err != nil {
		return nil, err
	}
	s.done[key] = &pipepb.ArtifactInformation{TypeUrn: urnFile, TypePayload: payload}
	return inRoleOf(dep, s.done[key]), nil
}

// inRoleOf returns file with the role that dep has.
func inRoleOf(dep, file *pipepb.ArtifactInformation) *pipepb.ArtifactInformation {
	return &pipepb.ArtifactInformation{TypeUrn: file.GetTypeUrn(), TypePayload: file.GetTypePayload(),
		RoleUrn: dep.GetRoleUrn(), RolePayload: dep.GetRolePayload()}
}

// fetch gets the content from where it is: in the store already, in the
// pipeline, on the web, or with the client.
func (s *staging) fetch(dep *pipepb.ArtifactInformation) (artifact, error) {
	location, sum, err := locate(dep)
	if err != nil {
		return artifact{}, err
	}
	if a, ok := s.store.lookup(sum); ok {
		return a, nil
	}
	up, err := s.store.create()
	if err != nil {
		return artifact{}, err
	}
	defer up.discard()
	switch {
	case dep.GetTypeUrn() == urnEmbedded:
		err = copyEmbedded(up, dep)
	case dep.GetTypeUrn() == urnURL && isWeb(location):
		// The Go and TypeScript clients cannot get these.
		err = download(s.stream.Context(), up, location)
	default:
		err = s.receive(up, dep)
	}
	if err != nil {
		return artifact{}, err
	}
	return up.commit(sum)
}

// locate returns the path or URL in an artifact's payload, and its hash, where
// there are such.
func locate(dep *pipepb.ArtifactInformation) (location, sum string, err error) {
	switch dep.GetTypeUrn() {
	case urnFile:
		var p pipepb.ArtifactFilePayload
		err = proto.Unmarshal(dep.GetTypePayload(), &p)
		location, sum = p.GetPath(), p.GetSha256()
	case urnURL:
		var p pipepb.ArtifactUrlPayload
		err = proto.Unmarshal(dep.GetTypePayload(), &p)
		location, sum = p.GetUrl(), p.GetSha256()
	}
	if err != nil {
		err = &beam.Error{Code: beam.InvalidPipeline, What: "the payload does not parse", Cause: err}
	}
	return location, strings.ToLower(sum), err
}

// receive asks the client for the content.
func (s *staging) receive(w io.Writer, dep *pipepb.ArtifactInformation) error {
	err := s.stream.Send(&jobpb.ArtifactRequestWrapper{Request: &jobpb.ArtifactRequestWrapper_GetArtifact{
		GetArtifact: &jobpb.GetArtifactRequest{Artifact: dep},
	}})
	for err == nil {
		var answer *jobpb.ArtifactResponseWrapper
		if answer, err = s.answer(); err != nil {
			break
		}
		chunk, ok := answer.GetResponse().(*jobpb.ArtifactResponseWrapper_GetArtifactResponse)
		if !ok && !answer.GetIsLast() {
			return status.Errorf(codes.InvalidArgument, "the client answered %T where it was to send an artifact", answer.GetResponse())
		}
		if ok {
			_, err = w.Write(chunk.GetArtifactResponse.GetData())
		}
		if answer.GetIsLast() {
			break
		}
	}
	return err
}

func copyEmbedded(w io.Writer, dep *pipepb.ArtifactInformation) error {
	var p pipepb.EmbeddedFilePayload
	if err := proto.Unmarshal(dep.GetTypePayload(), &p); err != nil {
		return &beam.Error{Code: beam.InvalidPipeline, What: "the payload does not parse", Cause: err}
	}
	_, err := w.Write(p.GetData())
	return err
}

func isWeb(url string) bool {
	return strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://")
}

// download gets an artifact from the web, for as long as the client waits.
func download(ctx context.Context, w io.Writer, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return &beam.Error{Code: beam.InvalidPipeline, What: "the URL does not parse", Cause: err}
	}
	req.Close = true // no connection is kept for what is fetched once
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &beam.Error{Code: beam.Unavailable, What: "cannot be downloaded", Cause: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &beam.Error{Code: beam.Unavailable, What: "cannot be downloaded: the server answered " + resp.Status}
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// countUnstaged counts the artifacts that only the client has.
func countUnstaged(deps []*pipepb.ArtifactInformation) int {
	n := 0
	for _, dep := range deps {
		if dep.GetTypeUrn() == urnFile {
			n++
		}
	}
	return n
}

// artifactName is what the user knows an artifact by.
func artifactName(dep *pipepb.ArtifactInformation) string {
	if dep.GetRoleUrn() == urnStagingTo {
		var p pipepb.ArtifactStagingToRolePayload
		if proto.Unmarshal(dep.GetRolePayload(), &p) == nil && p.GetStagedName() != "" {
			return cut(p.GetStagedName(), 200)
		}
	}
	if location, _, err := locate(dep); err == nil && location != "" {
		return cut(path.Base(location), 200)
	}
	return "of type " + cut(dep.GetTypeUrn(), 100)
}
