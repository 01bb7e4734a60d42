package main

import (
	"cmp"
	"os"
	"slices"
	"strings"
)

// passProxies has the programs that we start, clients and harnesses, reach us
// directly: Python's gRPC asks a proxy for localhost too, and hangs.
func passProxies() {
	given := cmp.Or(os.Getenv("no_proxy"), os.Getenv("NO_PROXY"))
	_ = os.Setenv("no_proxy", joined(",", given, "localhost", "127.0.0.1")) // fails for malformed names only
}

// joined joins what is not empty.
func joined(separator string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), separator)
}
