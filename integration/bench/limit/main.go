// Command limit serves jobs as Fresnel does, but leaves out all that a runner is:
// it shows how fast the harness can go. Stage by stage, in the plan's order, it
// feeds everything that a stage reads to one worker, in large bundles, and does
// its own work (grouping, side inputs, dealing) while the harness rests:
//
//	      harness ███████      ██████████      ████
//	own work             ████            ████      ██        told, to be left out
//
// The limit of a plan is the time of its job without that own work: what the
// stages take of the harness, one after another, and what an empty job takes.
// Only bounded pipelines of one worker, with standard windows, are run.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"google.golang.org/grpc"

	"fresnel/fnapi"
	"fresnel/jobservice"
)

func main() {
	flags := flag.NewFlagSet("limit serve", flag.ExitOnError)
	port := flags.Int("job_port", 8073, "port of the job endpoint; 0 takes a free one")
	bundle := flags.Int("bundle", 100_000, "elements of a bundle")
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		log.Fatal("usage: limit serve [-job_port=N] [-bundle=N]")
	}
	_ = flags.Parse(os.Args[2:]) // exits on an error
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *port, *bundle); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, port, bundle int) error {
	lis, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "fresnel-limit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	quiet := slog.New(slog.DiscardHandler)
	harnesses, err := fnapi.NewServer(fnapi.Config{Listen: "127.0.0.1:0", Log: quiet})
	if err != nil {
		return err
	}
	defer harnesses.Close()
	endpoint := lis.Addr().String()
	jobs := jobservice.New(jobservice.Config{
		Runner:      &driver{harnesses: harnesses, bundle: bundle, own: tell},
		ArtifactDir: filepath.Join(temp, "artifacts"), Log: quiet, Endpoint: endpoint,
	})
	server := grpc.NewServer(jobservice.ServerOptions()...)
	jobs.Register(server)
	context.AfterFunc(ctx, server.Stop)
	fmt.Println("fresnel: job endpoint " + endpoint) // as Fresnel says it, for one rig
	return server.Serve(lis)
}

// tell prints what a job took that was not the harness's.
func tell(seconds float64) { fmt.Printf("limit: own work of a job: %.6f s\n", seconds) }
