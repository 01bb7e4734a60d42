package boot

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"fresnel/internal/rpc"
)

// dialPatience is how long the runner's services may take to answer.
const dialPatience = time.Minute

func dial(endpoint string) (*grpc.ClientConn, error) {
	return rpc.Connect(endpoint, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.WaitForReady(true)))
}

// as names the worker in calls to the runner.
func (c Config) as(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "worker_id", c.ID)
}

// provision asks the runner, and completes the endpoints of cfg.
func provision(ctx context.Context, cfg *Config) (*fnpb.ProvisionInfo, error) {
	if cfg.ID == "" || cfg.Provision == "" {
		return nil, errors.New("a worker needs --id and --provision_endpoint")
	}
	conn, err := dial(cfg.Provision)
	if err != nil {
		return nil, fmt.Errorf("provision endpoint %s: %w", cfg.Provision, err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(cfg.as(ctx), dialPatience)
	defer cancel()
	resp, err := fnpb.NewProvisionServiceClient(conn).GetProvisionInfo(ctx, &fnpb.GetProvisionInfoRequest{})
	if err != nil {
		return nil, fmt.Errorf("the runner at %s does not provision worker %s: %w", cfg.Provision, cfg.ID, err)
	}
	info := resp.GetInfo()
	override(&cfg.Logging, info.GetLoggingEndpoint().GetUrl())
	override(&cfg.Artifact, info.GetArtifactEndpoint().GetUrl())
	override(&cfg.Control, info.GetControlEndpoint().GetUrl())
	if cfg.Control == "" {
		return nil, fmt.Errorf("the runner at %s gives worker %s no control endpoint", cfg.Provision, cfg.ID)
	}
	return info, nil
}

// override lets the runner's word go before the command line, as in Beam's
// containers.
func override(flag *string, provisioned string) {
	if provisioned != "" {
		*flag = provisioned
	}
}
