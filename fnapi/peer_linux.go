package fnapi

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// peerProcess is the process of this machine at the other end of a TCP connection
// between two of its addresses; false if that cannot be seen, or is this process.
func peerProcess(local, remote net.Addr) (int, bool) {
	here, ok := addrPort(local)
	there, ok2 := addrPort(remote)
	if !ok || !ok2 {
		return 0, false
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode, ok := socketInode(table, there, here); ok {
			return holderOf("socket:[" + inode + "]")
		}
	}
	return 0, false
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return unmapped(tcp.AddrPort()), true
}

// unmapped is an IPv4 address as such, whatever kind of socket it is of.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// socketInode finds the socket between two addresses, its own first, in a table of
// proc_pid_net(5): the inode is the 10th field of a line.
func socketInode(table string, own, other netip.AddrPort) (string, bool) {
	f, err := os.Open(table)
	if err != nil {
		return "", false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 10 {
			continue
		}
		local, ok := tableAddress(fields[1])
		remote, ok2 := tableAddress(fields[2])
		if ok && ok2 && local == own && remote == other {
			return string(fields[9]), true
		}
	}
	return "", false
}

// tableAddress reads an address of such a table: its words of 32 bits, each as the
// number that this machine takes it for, a colon, and the port, in hexadecimal.
func tableAddress(text []byte) (netip.AddrPort, bool) {
	words, port, _ := bytes.Cut(text, []byte(":"))
	number, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	var address []byte
	for word := range slices.Chunk(words, 8) {
		n, err := strconv.ParseUint(string(word), 16, 32)
		if err != nil || len(word) != 8 {
			return netip.AddrPort{}, false
		}
		address = binary.NativeEndian.AppendUint32(address, uint32(n))
	}
	ip, ok := netip.AddrFromSlice(address)
	return unmapped(netip.AddrPortFrom(ip, uint16(number))), ok
}

// holderOf finds a process, other than this, that has a file open by its name in
// /proc/PID/fd. Only those of the same user can be seen, of root all.
func holderOf(name string) (int, bool) {
	processes, _ := os.ReadDir("/proc") // without it nothing is found
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err == nil && pid != os.Getpid() && holds(pid, name) {
			return pid, true
		}
	}
	return 0, false
}

func holds(pid int, name string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	files, _ := os.ReadDir(dir) // it may have ended, or be another user's
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		target, _ := os.Readlink(filepath.Join(dir, f.Name()))
		return target == name
	})
}
