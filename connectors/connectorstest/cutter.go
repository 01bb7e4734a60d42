package connectorstest

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
)

// Cutter dials connections that break at random: a write may arrive whole, in
// part or not at all, and an answer may be lost.
type Cutter struct {
	// Percent of reads and writes that break their connection.
	Percent atomic.Int32
	// Cuts counts them.
	Cuts atomic.Int64

	mu   sync.Mutex
	rand *rand.Rand
}

// NewCutter returns a cutter that does not cut yet.
func NewCutter(seed uint64) *Cutter {
	return &Cutter{rand: rand.New(rand.NewPCG(seed, seed))}
}

// Dial is a dialler for clients.
func (c *Cutter) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, cutter: c}, nil
}

// draw decides about one read or write, and how much of it passes.
func (c *Cutter) draw(size int) (passes int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rand.IntN(100) >= int(c.Percent.Load()) {
		return size, false
	}
	c.Cuts.Add(1)
	if c.rand.IntN(2) == 0 {
		return size, true
	}
	return c.rand.IntN(size + 1), true
}

type cutConn struct {
	net.Conn
	cutter *Cutter
}

// Write passes a part, or all of it and then breaks the connection.
func (c *cutConn) Write(b []byte) (int, error) {
	n, cut := c.cutter.draw(len(b))
	if !cut {
		return c.Conn.Write(b)
	}
	n, _ = c.Conn.Write(b[:n]) // it breaks anyway
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // so that what was written arrives
	}
	_ = c.Close()
	return n, net.ErrClosed
}

// Read loses the answer.
func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if _, cut := c.cutter.draw(n); cut && err == nil {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}
