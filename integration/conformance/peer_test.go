package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// peer is another server to run the suites on, for the time that they take there:
// .cache/tools/prism, which `make bench` builds. Nothing is expected of its results.
var peer = os.Getenv("FRESNEL_CONFORMANCE_PEER")

// prismBinary is what Beam's PrismRunner starts, with a port and what else Prism
// takes.
func prismBinary(t *testing.T) string {
	t.Helper()
	if peer == "" {
		return buildFresnel(t)
	}
	script := filepath.Join(t.TempDir(), "prism")
	text := fmt.Sprintf("#!/bin/sh\n# --job_port N ...\nexec %q serve \"$1=$2\"\n", peer)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return script
}
