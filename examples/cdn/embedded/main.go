// Command embedded runs a Kafka broker and a MySQL server in one process, both
// in memory, for the demo of the CDN example. It is a module of its own so that
// what it needs, the runner does not.
//
// It prints one line of JSON, {"kafka": "HOST:PORT", "mysql": "HOST:PORT"}, when
// both take connections, and ends when its standard input does: with the program
// that started it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"

	sqle "github.com/dolthub/go-mysql-server"
	"github.com/dolthub/go-mysql-server/memory"
	"github.com/dolthub/go-mysql-server/server"
	"github.com/dolthub/go-mysql-server/sql"
	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kfake"
)

// What the demo's job finds there.
const (
	topic      = "access_log"
	partitions = 4
	database   = "fresnel"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

// run serves until in ends.
func run(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // Ctrl-C is for the program that started us
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		return err
	}
	defer kafka.Close()
	mysql, addr, err := startMySQL()
	if err != nil {
		return err
	}
	defer mysql.Close()
	addresses := map[string]string{"kafka": kafka.ListenAddrs()[0], "mysql": addr}
	if err := json.NewEncoder(out).Encode(addresses); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// startMySQL serves an empty database to anybody, on a free port.
func startMySQL() (*server.Server, string, error) {
	logrus.SetLevel(logrus.ErrorLevel)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	db := memory.NewDatabase(database)
	db.EnablePrimaryKeyIndexes()
	provider := memory.NewDBProvider(db)
	turns := newTurns()
	s, err := server.NewServerWithHandler(server.Config{Listener: listener}, sqle.NewDefault(provider), sql.NewContext,
		turns.build(memory.NewSessionBuilder(provider)), nil, turns.wrap)
	if err != nil {
		return nil, "", err
	}
	go s.Start() //nolint:errcheck // it ends when the process does
	return s, listener.Addr().String(), nil
}
