// Command up runs a Kafka broker and a MariaDB server for trials by hand, prints their addresses, and stays
// until it is interrupted:
//
//	go run ./integration/parts/up -topics access_log:2
//
// The addresses are printed as shell assignments, so that a script can read them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"fresnel/integration/parts"
)

func main() {
	log.SetFlags(0)
	topics := flag.String("topics", "access_log:2", "topics to make, as NAME:PARTITIONS,...")
	dir := flag.String("dir", "", "data and logs (default: a temporary directory, removed at the end)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := up(ctx, *dir, *topics); err != nil {
		log.Fatal(err)
	}
}

func up(ctx context.Context, dir, topics string) error {
	if dir == "" {
		temp, err := os.MkdirTemp("", "fresnel-parts-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		dir = temp
	}
	kafka, err := launchKafka(ctx, dir, topics)
	if err != nil {
		return err
	}
	defer kafka.Stop()
	db, err := launchMariaDB(dir)
	if err != nil {
		return err
	}
	defer db.Stop()

	fmt.Printf("KAFKA=%s\n", kafka.Addr())
	fmt.Printf("KAFKA_PID=%d\n", kafka.Pid())
	fmt.Printf("JDBC_URL=%s\n", db.JDBCURL())
	fmt.Printf("JDBC_USER=%s\n", parts.MariaDBUser)
	fmt.Printf("JDBC_PASSWORD=%s\n", parts.MariaDBPassword)
	fmt.Printf("MYSQL_DSN='%s'\n", db.DSN())
	fmt.Printf("MARIADB_PID=%d\n", db.Pid())
	fmt.Printf("# ready; logs and data in %s; Ctrl-C ends both\n", dir)
	<-ctx.Done()
	return nil
}

func launchKafka(ctx context.Context, dir, topics string) (*parts.Kafka, error) {
	home := filepath.Join(dir, "kafka")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	kafka, err := parts.LaunchKafka(home, filepath.Join(dir, "kafka.log"))
	if err != nil {
		return nil, err
	}
	for topic := range strings.SplitSeq(topics, ",") {
		name, count, _ := strings.Cut(topic, ":")
		partitions, err := strconv.Atoi(count)
		if err == nil {
			err = kafka.MakeTopic(ctx, name, partitions)
		}
		if err != nil {
			kafka.Stop()
			return nil, fmt.Errorf("topic %q: %w", topic, err)
		}
	}
	return kafka, nil
}

func launchMariaDB(dir string) (*parts.MariaDB, error) {
	home := filepath.Join(dir, "mariadb")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	return parts.LaunchMariaDB(home, filepath.Join(dir, "mariadb.log"))
}
