package mysql

import (
	"bytes"
	"context"
	"database/sql"
	"net"
	"testing"

	gomysql "github.com/go-sql-driver/mysql"

	"fresnel/internal/beam"
)

// deaf is a connection to a server that greets, and is gone when it is
// answered.
type deaf struct {
	net.Conn
	greeting *bytes.Reader
}

func (d *deaf) Read(b []byte) (int, error) { return d.greeting.Read(b) }
func (*deaf) Write([]byte) (int, error)    { return 0, net.ErrClosed }

// greeting is a server's first packet.
func greeting() []byte {
	body := "\x0a8.0.0\x00\x01\x00\x00\x0012345678\x00\xff\xf7\x21\x02\x00\xff\x81\x15" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00"
	return append([]byte{byte(len(body)), 0, 0, 0}, body...)
}

// TestAConnectionCutInTheHandshakeIsTriedAgain: whatever the driver calls it.
func TestAConnectionCutInTheHandshakeIsTriedAgain(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	conf := gomysql.NewConfig()
	conf.Addr = "db:3306"
	conf.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		return &deaf{near, bytes.NewReader(greeting())}, nil
	}
	connector, err := gomysql.NewConnector(conf)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	err = db.PingContext(t.Context())
	d := &database{name: "Write", target: &target{config: conf}}
	if got := d.explain(err, "connect"); beam.CodeOf(got) != beam.Unavailable {
		t.Errorf("%v (of type %T)", got, err)
	}
}
