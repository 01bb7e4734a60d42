// Command prism serves Prism, the runner of Beam's Go SDK, as `fresnel serve`
// serves Fresnel: with the same flags and the same line that tells the endpoint,
// so that one rig starts either. Beam's own command does the same, with a web
// page besides.
//
// It is a module of its own, since Prism needs what the runner must not.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	beamlog "github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
)

func main() {
	flags := flag.NewFlagSet("prism serve", flag.ExitOnError)
	port := flags.Int("job_port", 8073, "port of the job endpoint; 0 takes a free one")
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		log.Fatal("usage: prism serve [-job_port=N]")
	}
	_ = flags.Parse(os.Args[2:]) // exits on an error
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *port); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, port int) error {
	if port == 0 {
		l, err := net.Listen("tcp", "localhost:0")
		if err != nil {
			return err
		}
		port = l.Addr().(*net.TCPAddr).Port
		l.Close() // Prism takes a number, and tells only its log which one 0 became
	}
	beamlog.SetupLogging("info", "dev") // as Beam's command has it
	if _, err := prism.CreateJobServer(ctx, prism.Options{Port: port}); err != nil {
		return err
	}
	fmt.Println("fresnel: job endpoint " + net.JoinHostPort("localhost", strconv.Itoa(port)))
	<-ctx.Done()
	return nil
}
