// Command measure runs the CDN example on a real Kafka and a real MariaDB and
// prints what the README and the closing notes say of it:
//
//	go run ./integration/cdn/measure -lines 2000000
//
// First a topic that is full is drained to the exact table; then lines arrive at
// a steady rate, and what is measured is how long each takes to show in MySQL.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"fresnel/examples/cdn"
	"fresnel/integration/cdn/rig"
	"fresnel/integration/parts"
)

type config struct {
	lines       int
	partitions  int
	rate        int
	steady      time.Duration
	warmUp      time.Duration
	limit       time.Duration
	environment string
	server      string
	dir         string
}

func main() {
	log.SetFlags(0)
	var c config
	flag.IntVar(&c.lines, "lines", 2_000_000, "lines in the topic when the job is submitted; 0 leaves this out")
	flag.IntVar(&c.partitions, "partitions", 4, "partitions of the topics")
	flag.IntVar(&c.rate, "rate", 1000, "lines a second while latency is measured; 0 leaves this out")
	flag.DurationVar(&c.steady, "steady", time.Minute, "how long latency is measured")
	flag.DurationVar(&c.warmUp, "warm-up", 10*time.Second, "how long lines arrive before latency is measured")
	flag.DurationVar(&c.limit, "limit", 5*time.Minute, "how long the table may take to be exact")
	flag.StringVar(&c.environment, "environment", "LOOPBACK", "where user code runs: LOOPBACK or PROCESS")
	flag.StringVar(&c.server, "server", "", "more flags of fresnel serve, for example -pprof=localhost:6060")
	flag.StringVar(&c.dir, "dir", "", "where logs go (default: a temporary directory)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, c); err != nil {
		log.Fatal(err)
	}
}

// bench is what the measurements share.
type bench struct {
	config
	kafka  *parts.Kafka
	db     *parts.MariaDB
	table  *cdn.Table
	server *rig.Server
	before time.Duration // the server's CPU when the job was submitted
}

func measure(ctx context.Context, c config) error {
	temp, err := os.MkdirTemp("", "fresnel-measure-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if c.dir == "" {
		c.dir = temp
	}
	b := &bench{config: c}
	binary, err := rig.Build(ctx, temp)
	if err != nil {
		return err
	}
	for _, dir := range []string{"kafka", "mariadb"} {
		if err := os.Mkdir(filepath.Join(temp, dir), 0o755); err != nil {
			return err
		}
	}
	if b.kafka, err = parts.LaunchKafka(filepath.Join(temp, "kafka"), filepath.Join(temp, "kafka.log")); err != nil {
		return err
	}
	defer b.kafka.Stop()
	if b.db, err = parts.LaunchMariaDB(filepath.Join(temp, "mariadb"), filepath.Join(temp, "mariadb.log")); err != nil {
		return err
	}
	defer b.db.Stop()
	if b.table, err = cdn.CreateTable(ctx, b.db.DSN()); err != nil {
		return err
	}
	defer b.table.Close()
	if b.server, err = rig.StartServer(binary, filepath.Join(c.dir, "server.log"), strings.Fields(c.server)...); err != nil {
		return err
	}
	defer b.server.Stop()
	return b.run(ctx)
}

func (b *bench) run(ctx context.Context) error {
	if b.lines > 0 {
		if err := b.drainTopic(ctx); err != nil {
			return err
		}
	}
	if b.rate > 0 {
		return b.keepUp(ctx)
	}
	return nil
}

// submit has the pipeline read a topic into the table, which is emptied first.
func (b *bench) submit(ctx context.Context, topic string) (*rig.Client, error) {
	if err := b.table.Clear(ctx); err != nil {
		return nil, err
	}
	root, err := rig.Root()
	if err != nil {
		return nil, err
	}
	if b.before, err = b.server.CPU(); err != nil {
		return nil, err
	}
	args := append([]string{filepath.Join(root, "examples", "cdn", "pipeline.py"), "--bootstrap_servers=" + b.kafka.Addr(), "--topic=" + topic}, b.table.Options()...)
	return b.server.Submit(filepath.Join(b.dir, topic+".log"), b.environment, args...)
}

// produce fills a new topic.
func (b *bench) produce(ctx context.Context, topic string, lines int) (*cdn.Log, *cdn.Producer, error) {
	if err := b.kafka.MakeTopic(ctx, topic, b.partitions); err != nil {
		return nil, nil, err
	}
	l := cdn.NewLog(1)
	p := cdn.NewProducer(b.kafka.Addr(), topic, l)
	return l, p, p.Write(ctx, lines)
}

func row(name, format string, args ...any) {
	fmt.Printf("%-42s %s\n", name, fmt.Sprintf(format, args...))
}
