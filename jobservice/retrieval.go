package jobservice

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// retrievalAPI is Beam's ArtifactRetrievalService: harnesses get from it what
// clients staged, and nothing else of the server's files.
type retrievalAPI struct {
	jobpb.UnimplementedArtifactRetrievalServiceServer
	store *store
}

// chunkBytes is the size of one message of an artifact's content; receivers
// refuse more than 4 MB unless told otherwise.
const chunkBytes = 1 << 20

// ResolveArtifacts changes nothing: staging has resolved them.
func (a *retrievalAPI) ResolveArtifacts(_ context.Context, req *jobpb.ResolveArtifactsRequest) (*jobpb.ResolveArtifactsResponse, error) {
	return &jobpb.ResolveArtifactsResponse{Replacements: req.GetArtifacts()}, nil
}

// GetArtifact sends the content of an artifact of the store, or of one that is
// embedded in its own description.
func (a *retrievalAPI) GetArtifact(req *jobpb.GetArtifactRequest, stream jobpb.ArtifactRetrievalService_GetArtifactServer) error {
	dep := req.GetArtifact()
	if dep.GetTypeUrn() == urnEmbedded {
		return sendEmbedded(dep, stream)
	}
	location, sum, err := locate(dep)
	if err != nil {
		return statusOf(err)
	}
	stored, ok := a.store.lookup(sum)
	if !ok {
		stored, ok = a.store.lookup(filepath.Base(location))
	}
	if !ok {
		return status.Errorf(codes.NotFound, "artifact %s was not staged here", artifactName(dep))
	}
	return sendFile(stored.path, stream)
}

func sendEmbedded(dep *pipepb.ArtifactInformation, stream jobpb.ArtifactRetrievalService_GetArtifactServer) error {
	var p pipepb.EmbeddedFilePayload
	if err := proto.Unmarshal(dep.GetTypePayload(), &p); err != nil {
		return status.Errorf(codes.InvalidArgument, "artifact %s: the payload does not parse: %v", artifactName(dep), err)
	}
	data := p.GetData()
	for len(data) > chunkBytes {
		if err := stream.Send(&jobpb.GetArtifactResponse{Data: data[:chunkBytes]}); err != nil {
			return err
		}
		data = data[chunkBytes:]
	}
	return stream.Send(&jobpb.GetArtifactResponse{Data: data})
}

func sendFile(path string, stream jobpb.ArtifactRetrievalService_GetArtifactServer) error {
	f, err := os.Open(path)
	if err != nil {
		return status.Errorf(codes.Internal, "artifact store: %v", err)
	}
	defer f.Close()
	buf := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			// Send has encoded the chunk when it returns: buf is free again.
			if err := stream.Send(&jobpb.GetArtifactResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return status.Errorf(codes.Internal, "artifact store: %v", err)
		}
	}
}
