//go:build !linux

package fnapi

import "net"

// Elsewhere the processes of connections are not known.

func peerProcess(_, _ net.Addr) (int, bool) { return 0, false }
