package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// What an artifact is, and what it is for (beam_runner_api.proto,
// StandardArtifacts).
const (
	typeFile         = "beam:artifact:type:file:v1"
	typeURL          = "beam:artifact:type:url:v1"
	roleStagingTo    = "beam:artifact:role:staging_to:v1"
	roleRequirements = "beam:artifact:role:pip_requirements_file:v1"
	// RoleGoWorker is that of a Go pipeline's binary, which is its own harness.
	RoleGoWorker = "beam:artifact:role:go_worker_binary:v1"
)

// file is a staged file.
type file struct {
	name         string // below the staging directory
	requirements bool   // it is a requirements file by role
	goWorker     bool   // it is a Go harness by role
	sha256       string // in hex
}

// fetch gets the job's files into dir.
func fetch(ctx context.Context, cfg Config, artifacts []*pipepb.ArtifactInformation, dir string) ([]file, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil || len(artifacts) == 0 {
		return nil, err
	}
	conn, err := dial(cfg.Artifact)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	client := jobpb.NewArtifactRetrievalServiceClient(conn)
	ctx = cfg.as(ctx)
	resolved, err := resolve(ctx, client, artifacts)
	if err != nil {
		return nil, err
	}
	files := make([]file, len(resolved))
	for i, a := range resolved {
		if files[i], err = fetchOne(ctx, client, a, i, dir); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func resolve(ctx context.Context, client jobpb.ArtifactRetrievalServiceClient, artifacts []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	resp, err := client.ResolveArtifacts(ctx, &jobpb.ResolveArtifactsRequest{Artifacts: artifacts})
	return resp.GetReplacements(), err
}

func fetchOne(ctx context.Context, client jobpb.ArtifactRetrievalServiceClient, a *pipepb.ArtifactInformation, i int, dir string) (file, error) {
	f := file{requirements: a.GetRoleUrn() == roleRequirements, goWorker: a.GetRoleUrn() == RoleGoWorker}
	var err error
	if f.name, err = stagedName(a, i); err != nil {
		return f, err
	}
	f.sha256, err = download(ctx, client, a, filepath.Join(dir, f.name))
	if err != nil {
		return f, fmt.Errorf("%s: %w", f.name, err)
	}
	if want := declaredSHA(a); want != "" && want != f.sha256 {
		return f, fmt.Errorf("%s: its SHA-256 is %s, not %s as declared", f.name, f.sha256, want)
	}
	return f, nil
}

// stagedName is the path that the client gave a file, or one of our own. It
// never leads out of the staging directory.
func stagedName(a *pipepb.ArtifactInformation, i int) (string, error) {
	if a.GetRoleUrn() != roleStagingTo {
		return fmt.Sprintf("%d-%s", i, path.Base(source(a))), nil
	}
	role := &pipepb.ArtifactStagingToRolePayload{}
	if err := proto.Unmarshal(a.GetRolePayload(), role); err != nil {
		return "", fmt.Errorf("an artifact's role is malformed: %w", err)
	}
	if !filepath.IsLocal(role.GetStagedName()) {
		return "", fmt.Errorf("an artifact is to be staged outside of the staging directory: %q", role.GetStagedName())
	}
	return role.GetStagedName(), nil
}

// source is where an artifact came from, "file" if nobody knows.
func source(a *pipepb.ArtifactInformation) string {
	switch p, u := (&pipepb.ArtifactFilePayload{}), (&pipepb.ArtifactUrlPayload{}); a.GetTypeUrn() {
	case typeFile:
		if proto.Unmarshal(a.GetTypePayload(), p) == nil && p.GetPath() != "" {
			return p.GetPath()
		}
	case typeURL:
		if proto.Unmarshal(a.GetTypePayload(), u) == nil && u.GetUrl() != "" {
			return u.GetUrl()
		}
	}
	return "file"
}

func declaredSHA(a *pipepb.ArtifactInformation) string {
	switch p, u := (&pipepb.ArtifactFilePayload{}), (&pipepb.ArtifactUrlPayload{}); a.GetTypeUrn() {
	case typeFile:
		_ = proto.Unmarshal(a.GetTypePayload(), p) // nothing is declared then
		return p.GetSha256()
	case typeURL:
		_ = proto.Unmarshal(a.GetTypePayload(), u)
		return u.GetSha256()
	}
	return ""
}

// download writes an artifact and returns its SHA-256.
func download(ctx context.Context, client jobpb.ArtifactRetrievalServiceClient, a *pipepb.ArtifactInformation, to string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.GetArtifact(ctx, &jobpb.GetArtifactRequest{Artifact: a})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	out, err := os.Create(to)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	if err := receive(stream, io.MultiWriter(out, hash)); err != nil {
		return "", errors.Join(err, out.Close())
	}
	return hex.EncodeToString(hash.Sum(nil)), out.Close()
}

func receive(stream jobpb.ArtifactRetrievalService_GetArtifactClient, to io.Writer) error {
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := to.Write(resp.GetData()); err != nil {
			return err
		}
	}
}
