package fnapi

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// quietPair is a connection as the server has it, and its other end.
func quietPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	theirs, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = quiet(l).Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	return ours, theirs
}

func TestQuietConnectionCarriesMoreThanTheSocketHolds(t *testing.T) {
	ours, theirs := quietPair(t)
	sent := make([]byte, 32<<20+7)
	for i := range sent {
		sent[i] = byte(i * i >> 7)
	}
	// The other end sends everything back, so that both directions are full at times.
	go func() {
		var all bytes.Buffer
		_, _ = io.Copy(&all, io.LimitReader(theirs, int64(len(sent))))
		_, _ = theirs.Write(all.Bytes())
		_ = theirs.Close()
	}()
	if n, err := ours.Write(sent); n != len(sent) || err != nil {
		t.Fatalf("wrote %d of %d bytes, %v", n, len(sent), err)
	}
	got, err := io.ReadAll(ours)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back of %d, or others; %v", len(got), len(sent), err)
	}
}

func TestQuietConnectionEndsItsReads(t *testing.T) {
	ours, _ := quietPair(t)
	if err := ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := ours.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline a read has %d bytes, %v", n, err)
	}
	if err := ours.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		_, err := ours.Read(make([]byte, 1))
		end <- err
	}()
	_ = ours.Close()
	if err := <-end; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of a closed connection ends with %v", err)
	}
}

func TestQuietConnectionTellsThatTheOtherEndIsGone(t *testing.T) {
	ours, theirs := quietPair(t)
	if err := theirs.(*net.TCPConn).SetLinger(0); err != nil { // it resets the connection
		t.Fatal(err)
	}
	_ = theirs.Close()
	if n, err := ours.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after a reset a read has %d bytes, %v", n, err)
	}
	if n, err := ours.Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("after a reset a write has %d bytes, %v", n, err)
	}
}
