package jobclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// listen serves something on a port until the test ends.
func listen(t *testing.T, serve func(net.Listener)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go serve(l)
	return l.Addr().String()
}

func TestWhatAnswersAndIsNoJobServerIsToldFromNothing(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	other := grpc.NewServer()
	t.Cleanup(other.Stop)
	for what, endpoint := range map[string]string{
		"a web server":         web.Listener.Addr().String(),
		"another gRPC server":  listen(t, func(l net.Listener) { _ = other.Serve(l) }),
		"one that hangs up":    listen(t, hangUp),
		"one that talks first": listen(t, func(l net.Listener) { greet(l) }),
	} {
		if err := jobsAt(t, endpoint); !errors.Is(err, ErrForeign) || !errors.Is(err, ErrAway) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := jobsAt(t, "127.0.0.1:1"); !errors.Is(err, ErrAway) || errors.Is(err, ErrForeign) {
		t.Errorf("nothing: %v", err)
	}
}

func TestAnEndpointIsAHostAndAPort(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"", "localhost", "localhost:", "http://localhost:8073"} {
		if _, err := Dial(endpoint); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}

// TestAServerThatDiesIsNotForeign: it answered, or was reached and is gone.
func TestAServerThatDiesIsNotForeign(t *testing.T) {
	t.Parallel()
	var g greeting
	g.HandleConn(t.Context(), &stats.ConnBegin{Client: true})
	for message, foreign := range map[string]bool{
		`connection error: desc = "error reading server preface: EOF"`:                                 true,
		`connection error: desc = "write tcp 127.0.0.1:58562->127.0.0.1:33327: write: broken pipe"`:    true,
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: refused"`:     false,
		`error reading from server: read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer`: false,
	} {
		if got := g.refused(status.New(codes.Unavailable, message)); got != foreign {
			t.Errorf("%s: foreign is %v", message, got)
		}
	}
	g.HandleRPC(t.Context(), &stats.InHeader{Client: true})
	if g.refused(status.New(codes.Unavailable, `connection error: desc = "error reading server preface: EOF"`)) {
		t.Error("a server that answered is foreign when it goes")
	}
}

func jobsAt(t *testing.T, endpoint string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Dial(endpoint)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Jobs(ctx)
	return err
}

func hangUp(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2 and more than a frame's header\r\n"))
	}
}
