package cdn_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"fresnel/examples/cdn"
	"fresnel/integration/cdn/rig"
	"fresnel/integration/parts"
)

// site is what the tests run on: one Kafka, one MariaDB, one Fresnel. The tests
// of this package share it, so what one does to the server, the others see.
type site struct {
	kafka  *parts.Kafka
	db     *parts.MariaDB
	server *rig.Server
	binary string
}

// newSite starts everything; it ends with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	var wait sync.WaitGroup
	wait.Go(func() { s.kafka = parts.StartKafka(t) })
	wait.Go(func() { s.db = parts.StartMariaDB(t) })
	wait.Go(func() { s.server, s.binary = newServer(t) })
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return s
}

func newServer(t *testing.T) (*rig.Server, string) {
	t.Helper()
	binary, err := rig.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Error(err)
		return nil, ""
	}
	server, err := rig.StartServer(binary, filepath.Join(t.ArtifactDir(), "fresnel.log"))
	if err != nil {
		t.Error(err)
		return nil, ""
	}
	t.Cleanup(func() {
		server.Stop()
		if t.Failed() {
			t.Log(tail(server.Output()))
		}
	})
	return server, binary
}

// name makes a test's name one for topics and databases.
func name(t *testing.T) string {
	return strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "_"))
}

// table makes a database of the test's own, with the table in it.
func (s *site) table(t *testing.T) *cdn.Table {
	t.Helper()
	conf, err := mysql.ParseDSN(s.db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.DB(t).ExecContext(t.Context(), "CREATE DATABASE "+name(t)); err != nil {
		t.Fatal(err)
	}
	conf.DBName = name(t)
	table, err := cdn.CreateTable(t.Context(), conf.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

// topic makes a topic of the test's own, with a producer.
func (s *site) topic(t *testing.T, log *cdn.Log) *cdn.Producer {
	t.Helper()
	s.kafka.CreateTopic(t, name(t), 4)
	p := cdn.NewProducer(s.kafka.Addr(), name(t), log)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// submit runs pipeline.py from the test's topic into its table.
func (s *site) submit(t *testing.T, environment string, table *cdn.Table, more ...string) *watcher {
	t.Helper()
	args := append([]string{example(t, "pipeline.py"), "--bootstrap_servers=" + s.kafka.Addr(), "--topic=" + name(t)}, table.Options()...)
	return &watcher{t: t, table: table, client: s.run(t, environment, append(args, more...)...)}
}

// run runs a Python program against the server.
func (s *site) run(t *testing.T, environment string, args ...string) *rig.Client {
	t.Helper()
	client, err := s.server.Submit(filepath.Join(t.ArtifactDir(), name(t)+".log"), environment, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Kill()
		if t.Failed() {
			t.Log(tail(client.Output()))
		}
	})
	return client
}

func example(t *testing.T, file string) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "examples", "cdn", file)
}

// awaitOutput returns when the client has printed all of the texts.
func awaitOutput(t *testing.T, client *rig.Client, limit time.Duration, texts ...string) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; {
		output := client.Output()
		missing := without(texts, output)
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the client did not print %q within %v", missing, limit)
		}
		select {
		case <-time.After(lookEvery):
		case <-client.Exited():
			if missing := without(texts, client.Output()); len(missing) > 0 {
				t.Fatalf("the client ended and did not print %q", missing)
			}
			return
		}
	}
}

// without are the texts that are not in s.
func without(texts []string, s string) []string {
	var missing []string
	for _, text := range texts {
		if !strings.Contains(s, text) {
			missing = append(missing, text)
		}
	}
	return missing
}

func tail(s string) string {
	const most = 8 << 10
	return s[max(0, len(s)-most):]
}
