package parts

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports come from below the range that Linux hands to outgoing connections (32768 and up). A client that dials
// a server which is down could otherwise be given the server's own port as its source, connect to itself, and
// keep the server from starting again.
const (
	firstPort = 15000
	lastPort  = 32000
)

// freeAddr is a loopback address on which nothing listens now.
func freeAddr() (string, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		return addr, l.Close()
	}
	return "", errors.New("no free port found")
}
