package jobclient

import (
	"context"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// A greeting is what has become of a client's connections: it tells what hangs
// up before a word of gRPC from what is not there, and from a server that dies.
type greeting struct {
	reached  atomic.Bool // something took a connection
	answered atomic.Bool // it answered a call
}

// refused tells a call that failed since what took the connection ended it, or
// said something else than HTTP/2, before any call was answered. How that looks
// is up to who is faster: an end of file, a reset, or a broken pipe.
func (g *greeting) refused(s *status.Status) bool {
	return s.Code() == codes.Unavailable && g.reached.Load() && !g.answered.Load() &&
		!strings.Contains(s.Message(), "while dialing") && !strings.Contains(s.Message(), "reading from server")
}

// HandleConn implements [stats.Handler].
func (g *greeting) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, begins := s.(*stats.ConnBegin); begins {
		g.reached.Store(true)
	}
}

// HandleRPC implements [stats.Handler].
func (g *greeting) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, headers := s.(*stats.InHeader); headers {
		g.answered.Store(true)
	}
}

// TagConn implements [stats.Handler].
func (g *greeting) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements [stats.Handler].
func (g *greeting) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
