package rpc

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

func TestNoNameServerIsAskedForLocalhost(t *testing.T) {
	var asked atomic.Int32
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("no name server")
	}}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	defer s.Stop()
	go func() { _ = s.Serve(l) }()

	_, port, _ := net.SplitHostPort(l.Addr().String())
	conn, err := Connect("localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for conn.Connect(); conn.GetState() != connectivity.Ready; {
		if !conn.WaitForStateChange(ctx, conn.GetState()) {
			t.Fatal("no connection")
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("a name server was asked %d times", n)
	}
}
