package main

import (
	"context"
	"flag"
	"fmt"
	"net"

	"fresnel/fnapi/boot"
)

// workerPool serves SDK harnesses as an EXTERNAL environment until ctx ends.
func workerPool(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("fresnel worker-pool", flag.ContinueOnError)
	host := fs.String("host", "localhost", "the address to listen on; 0.0.0.0 serves other machines")
	port := fs.Int("port", 50000, "the port to listen on")
	python := fs.String("python", "", "the Python to use (default: FRESNEL_PYTHON, the active virtual environment's, python3)")
	if err := parse(fs, args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, fmt.Sprint(*port)))
	if err != nil {
		return fmt.Errorf("cannot serve workers: %w (choose another --port)", err)
	}
	service := &boot.Service{Python: *python, Print: func(worker, line string) { fmt.Printf("%s: %s\n", worker, line) }}
	fmt.Printf("worker pool at %s; for a pipeline: --environment_type=EXTERNAL --environment_config=%s\n", listener.Addr(), listener.Addr())
	return service.Serve(ctx, listener)
}
