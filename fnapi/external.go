package fnapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	"fresnel/internal/beam"
	"fresnel/internal/rpc"
)

// external asks worker pool services for workers. LOOPBACK is one of them: the
// client that submitted the job serves it. The payload's endpoint may be several
// addresses, with commas between them: the places of the pool are dealt to them,
// and the place of a service that is away is filled when it answers.
type external struct {
	addresses []string
	params    map[string]string
}

func newExternal(payload []byte) (*external, error) {
	p := &pipepb.ExternalPayload{}
	if err := proto.Unmarshal(payload, p); err != nil {
		return nil, malformed(urnExternal, err)
	}
	e := &external{params: p.GetParams()}
	for address := range strings.SplitSeq(p.GetEndpoint().GetUrl(), ",") {
		if address = strings.TrimSpace(address); address != "" {
			e.addresses = append(e.addresses, address)
		}
	}
	if len(e.addresses) == 0 {
		return nil, malformed(urnExternal, fmt.Errorf("it has no endpoint"))
	}
	return e, nil
}

func (*external) endpoint(local string) string { return local }

// One worker for each address: in LOOPBACK a second one would share the client's
// interpreter.
func (e *external) parallelism() int { return len(e.addresses) }

// The service belongs to somebody else, and often ends with the job.
func (*external) keep() bool { return false }

func (*external) notice(context.Context) string { return "" }

// startPatience is longer than Python's service waits for its channel.
const startPatience = 70 * time.Second

func (e *external) launch(ctx context.Context, w *worker) (handle, error) {
	address := e.addresses[w.place%len(e.addresses)]
	conn, err := rpc.Connect(address)
	if err != nil {
		return nil, unreachable(address, err)
	}
	client := fnpb.NewBeamFnExternalWorkerPoolClient(conn)
	w.foreign.Store(true)
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
		return nil, unreachable(address, err)
	}
	return nil, &beam.Error{Code: beam.Unavailable, Where: "worker pool " + address,
		What: "it could not start a worker: " + resp.GetError()}
}

func unreachable(address string, err error) error {
	return &beam.Error{Code: beam.Unavailable, Where: "worker pool " + address, What: "it does not answer", Cause: err,
		Cure: "start the pool, or check the address in --environment_config; with LOOPBACK, keep the submitting program running"}
}

type externalWorker struct {
	conn   *grpc.ClientConn
	client fnpb.BeamFnExternalWorkerPoolClient
	id     string
}

// stopPatience covers the 10 s that Python's service gives a process.
const stopPatience = 15 * time.Second

// leaveTime is how long a service is left alone before it is asked to stop a worker
// that has ended: that of a LOOPBACK job goes as soon as its client has heard of the
// job's end, which a call would hold up.
const leaveTime = 100 * time.Millisecond

func (e *externalWorker) stop() {
	e.awaitLeaving()
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	// A service that is gone has stopped its workers.
	_, _ = e.client.StopWorker(ctx, &fnpb.StopWorkerRequest{WorkerId: e.id})
	_ = e.conn.Close()
}

// awaitLeaving waits until the service is gone, for leaveTime.
func (e *externalWorker) awaitLeaving() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if e.conn.GetState() == connectivity.Ready {
		e.conn.WaitForStateChange(ctx, connectivity.Ready)
	}
}
