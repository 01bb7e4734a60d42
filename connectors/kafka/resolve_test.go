package kafka

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
)

func TestHostsThatDoNotExistAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := net.DefaultResolver.LookupHost(t.Context(), "nowhere.invalid"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Skipf("the name server does not deny a name: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := resolve(ctx, []string{"nowhere.invalid:9092", "nor-there.invalid:9092"}, "Read")
	if beam.CodeOf(err) != beam.Rejected || !strings.Contains(err.Error(), "No resolvable bootstrap urls given in bootstrap.servers: nowhere.invalid:9092,nor-there.invalid:9092") {
		t.Error(err)
	}
	for _, known := range []string{"localhost:1", "127.0.0.1:1", "[::1]:1", "no port"} {
		if err := resolve(ctx, []string{"nowhere.invalid:9092", known}, "Read"); err != nil {
			t.Errorf("%s: %v", known, err)
		}
	}
}
