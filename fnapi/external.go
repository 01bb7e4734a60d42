package fnapi

import (
	"context"
	"fmt"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
)

// external asks a worker pool service for workers. LOOPBACK is one of them:
// the client that submitted the job serves it.
type external struct {
	address string
	params  map[string]string
}

func newExternal(payload []byte) (*external, error) {
	p := &pipepb.ExternalPayload{}
	if err := proto.Unmarshal(payload, p); err != nil {
		return nil, malformed(urnExternal, err)
	}
	if p.GetEndpoint().GetUrl() == "" {
		return nil, malformed(urnExternal, fmt.Errorf("it has no endpoint"))
	}
	return &external{address: p.GetEndpoint().GetUrl(), params: p.GetParams()}, nil
}

func (*external) endpoint(local string) string { return local }

// One worker: in LOOPBACK a second one would share the client's interpreter.
func (*external) parallelism() int { return 1 }

// The service belongs to somebody else, and often ends with the job.
func (*external) keep() bool { return false }

func (*external) notice(context.Context) string { return "" }

// startPatience is longer than Python's service waits for its channel.
const startPatience = 70 * time.Second

func (e *external) launch(ctx context.Context, w *worker) (handle, error) {
	conn, err := grpc.NewClient(e.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, e.unreachable(err)
	}
	client := fnpb.NewBeamFnExternalWorkerPoolClient(conn)
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	here := service(w.endpoint)
	resp, err := client.StartWorker(ctx, &fnpb.StartWorkerRequest{
		WorkerId: w.id, ControlEndpoint: here, LoggingEndpoint: here, ProvisionEndpoint: here,
		ArtifactEndpoint: service(w.artifacts()), Params: e.params,
	})
	if err == nil && resp.GetError() == "" {
		return &externalWorker{conn: conn, client: client, id: w.id}, nil
	}
	_ = conn.Close() // what matters is why there is no worker
	if err != nil {
		return nil, e.unreachable(err)
	}
	return nil, &beam.Error{Code: beam.Unavailable, Where: "worker pool " + e.address,
		What: "it could not start a worker: " + resp.GetError()}
}

func (e *external) unreachable(err error) error {
	return &beam.Error{Code: beam.Unavailable, Where: "worker pool " + e.address, What: "it does not answer", Cause: err,
		Cure: "start the pool, or check the address in --environment_config; with LOOPBACK, keep the submitting program running"}
}

type externalWorker struct {
	conn   *grpc.ClientConn
	client fnpb.BeamFnExternalWorkerPoolClient
	id     string
}

// stopPatience covers the 10 s that Python's service gives a process.
const stopPatience = 15 * time.Second

func (e *externalWorker) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	// A service that is gone has stopped its workers.
	_, _ = e.client.StopWorker(ctx, &fnpb.StopWorkerRequest{WorkerId: e.id})
	_ = e.conn.Close()
}
