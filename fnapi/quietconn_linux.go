//go:build linux && !race

package fnapi

import (
	"io"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

// quietListener gives connections whose reads and writes Go's scheduler is not told
// of. A server that answers one small request after another is idle between any
// two, and the first system call after that wakes the scheduler's monitor (sysmon,
// in runtime/proc.go): a thread, a timer of 20 us and some futexes, for each
// request: a quarter of what the server takes for them. Sockets do not block, so
// that there is nothing to monitor. The race detector has plain connections: it
// learns from their system calls what happened before what.
type quietListener struct{ net.Listener }

// quiet is l, of which TCP connections are quiet.
func quiet(l net.Listener) net.Listener { return quietListener{l} }

// Accept waits for the next connection.
func (l quietListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			return newQuietConn(tcp, raw), nil
		}
	}
	return c, nil // as good, if not as cheap
}

// quietConn is a TCP connection that waits for its socket as others do, deadlines
// and Close included, and calls the system by itself.
type quietConn struct {
	net.Conn
	raw     syscall.RawConn
	in, out quietHalf
}

// quietHalf is one direction of a connection, and the call that is under way.
type quietHalf struct {
	mu   sync.Mutex // held for a whole call
	rest []byte     // what is still to be read into, or written
	done int        // bytes
	err  error
	// try is read or write: as a field it is made once, not for each call.
	try func(fd uintptr) bool
}

func newQuietConn(c net.Conn, raw syscall.RawConn) *quietConn {
	q := &quietConn{Conn: c, raw: raw}
	q.in.try, q.out.try = q.in.read, q.out.write
	return q
}

// Read waits until there is something, and reads it.
func (q *quietConn) Read(b []byte) (int, error) {
	n, err := q.in.call(q.raw.Read, b)
	if n == 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}

// Write writes all of b.
func (q *quietConn) Write(b []byte) (int, error) { return q.out.call(q.raw.Write, b) }

// call has wait, of the connection, try until the call is done.
func (h *quietHalf) call(wait func(func(fd uintptr) bool) error, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rest, h.done, h.err = b, 0, nil
	err := wait(h.try)
	h.rest = nil
	if err == nil {
		err = h.err
	}
	return h.done, err
}

// read reads once; false if there is nothing yet.
func (h *quietHalf) read(fd uintptr) bool {
	n, again := h.system(syscall.SYS_READ, fd, h.rest)
	h.done = n
	return !again
}

// maxQuiet is how many bytes one call copies, in some 50 us: for so long the
// scheduler, a stop for the garbage collector included, may have to wait.
const maxQuiet = 256 << 10

// write writes as much as the socket takes; false if there is more.
func (h *quietHalf) write(fd uintptr) bool {
	for len(h.rest) > 0 && h.err == nil {
		n, again := h.system(syscall.SYS_WRITE, fd, h.rest[:min(len(h.rest), maxQuiet)])
		if again {
			return false
		}
		h.done += n
		h.rest = h.rest[n:]
	}
	return true
}

// system reads or writes once, and notes an error; again tells that the socket is not
// ready.
func (h *quietHalf) system(trap, fd uintptr, b []byte) (n int, again bool) {
	for {
		r, _, errno := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(r), false
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true
		default:
			h.err = errno
			return 0, false
		}
	}
}
