package fnapi

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
)

// TestSocketsAreFoundByTheirAddresses of both kinds, and IPv4 on a socket of the
// other kind.
func TestSocketsAreFoundByTheirAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ listen, dial, table string }{
		{"127.0.0.1:0", "127.0.0.1", "/proc/net/tcp"},
		{"[::1]:0", "::1", "/proc/net/tcp6"},
		{"[::]:0", "127.0.0.1", "/proc/net/tcp"},
	} {
		l, err := net.Listen("tcp", c.listen)
		if err != nil {
			t.Logf("%s: %v", c.listen, err) // a machine without IPv6
			continue
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		client, err := net.Dial("tcp", net.JoinHostPort(c.dial, port))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		here, _ := addrPort(server.LocalAddr())
		there, ok := addrPort(server.RemoteAddr())
		inode, found := socketInode(c.table, there, here)
		if want := inodeOf(t, client); !ok || !found || inode != want {
			t.Errorf("%s: inode %s of socket %s, want %s", c.listen, inode, there, want)
		}
		if pid, ok := peerProcess(server.LocalAddr(), server.RemoteAddr()); ok {
			t.Errorf("%s: a connection to itself is of process %d", c.listen, pid)
		}
	}
}

func inodeOf(t *testing.T, c net.Conn) string {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := raw.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &stat) }); err != nil {
		t.Fatal(err)
	}
	return strconv.FormatUint(stat.Ino, 10)
}

func TestAddressesOfTheSocketTable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"0000000000000000FFFF00000100007F:1F90": "127.0.0.1:8080",
		"":                                      "",
		"0100007F":                              "",
		"0100007F:":                             "",
		"0100007:1F90":                          "",
		"01000G7F:1F90":                         "",
		"0100007F:1F900":                        "",
		"local_address":                         "",
		"0100007F0000:22":                       "",
	} {
		got, ok := tableAddress([]byte(text))
		if (want != "") != ok || ok && got != netip.MustParseAddrPort(want) {
			t.Errorf("%q is read as %v, %v", text, got, ok)
		}
	}
}
