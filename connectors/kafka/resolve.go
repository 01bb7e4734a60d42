package kafka

import (
	"context"
	"errors"
	"net"
	"strings"

	"fresnel/internal/beam"
)

// resolve refuses servers none of whose names exist, as Java's clients do, and in
// their words. It is for a job's beginning, when that is a slip of the pen: a name
// server that does not answer, or does not know a name later on, is waited for.
func resolve(ctx context.Context, servers []string, where string) error {
	for _, server := range servers {
		host, _, err := net.SplitHostPort(server)
		if err != nil {
			return nil //nolint:nilerr // to connect says what is wrong with it
		}
		_, err = net.DefaultResolver.LookupHost(ctx, host)
		if unknown := new(net.DNSError); !errors.As(err, &unknown) || !unknown.IsNotFound {
			return nil // it exists, as far as is known
		}
	}
	return &beam.Error{Code: beam.Rejected, Where: where,
		What: "No resolvable bootstrap urls given in bootstrap.servers: " + strings.Join(servers, ","),
		Cure: "correct the names of the hosts, or have them known on this machine"}
}
