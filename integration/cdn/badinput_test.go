package cdn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

	"fresnel/examples/cdn"
)

// badInput is what can be wrong around a job. The user is told what, where and
// what to do; what may pass by itself is tried again, and told as well. All of
// it happens to one server, which the other tests use afterwards.
func (s *site) badInput(t *testing.T) {
	t.Run("garbage", s.garbage)
	t.Run("broker down", s.brokerDown)
	t.Run("missing topic", s.missingTopic)
	t.Run("wrong password", s.wrongPassword)
	for _, c := range []struct {
		name, statement string
		says            []string
	}{
		{"missing table", "INSERT INTO no_such_table VALUES (?, ?, ?, ?)", []string{"no_such_table", "create the table"}},
		{"missing column", "INSERT INTO cdn_access_statistic (province, no_such_column, total_download, download_speed) VALUES (?, ?, ?, ?)", []string{"no_such_column", "correct the name of the column"}},
		{"too few placeholders", "INSERT INTO cdn_access_statistic (province) VALUES (?)", []string{"placeholder"}},
		{"no SQL", "UPSERT ? ? ? ?", []string{"SQL syntax", "correct the statement"}},
		{"refused row", "INSERT INTO cdn_access_statistic (province, access_count, total_download, download_speed) VALUES (CONCAT(?, REPEAT('x', 100)), ?, ?, ?)", []string{"Data too long for column 'province'"}},
	} {
		t.Run(c.name, func(t *testing.T) { s.refusedStatement(t, c.statement, c.says...) })
	}
	t.Run("function raises", s.functionRaises)
	t.Run("client dies", s.clientDies)
}

// garbage: a request that is no pipeline, and an environment of an unknown kind,
// are refused before anything runs.
func (s *site) garbage(t *testing.T) {
	client := s.run(t, "LOOPBACK", "testdata/garbage.py")
	awaitOutput(t, client, startLimit, "cannot parse invalid wire-format data",
		"StatusCode.UNIMPLEMENTED", "unsupported in Make/", "its environment", "beam:env:moon:v1", "--environment_type=LOOPBACK")
	if <-client.Exited(); client.Err() == nil {
		t.Error("the client's exit status is 0")
	}
}

// brokerDown: Kafka is not there when the job starts, and comes later.
func (s *site) brokerDown(t *testing.T) {
	log, table := cdn.NewLog(1), s.table(t)
	if err := s.topic(t, log).Write(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	s.kafka.Stop()
	w := s.submit(t, "LOOPBACK", table)
	awaitOutput(t, w.client, startLimit, "Read log", s.kafka.Addr(), "again")
	if err := s.kafka.Restart(); err != nil {
		t.Fatal(err)
	}
	w.awaitExact(log.Totals(), startLimit)
	end(t, w.client.Cancel, jobpb.JobState_CANCELLED)
}

func (s *site) missingTopic(t *testing.T) {
	w := s.submit(t, "LOOPBACK", s.table(t))
	s.fails(t, w, "Read log", "the topic "+name(t)+" does not exist", "create it")
}

func (s *site) wrongPassword(t *testing.T) {
	w := s.bad(t, "--password=wrong-password")
	s.fails(t, w, "Write table", "Access denied", "check the user name and the password")
	if strings.Contains(w.client.Output(), "wrong-password") {
		t.Error("the error shows the password")
	}
}

func (s *site) refusedStatement(t *testing.T, statement string, says ...string) {
	w := s.bad(t, "--statement="+statement)
	s.fails(t, w, append(says, "Write table")...)
}

// bad submits the pipeline on a few lines with an option that is wrong.
func (s *site) bad(t *testing.T, option string) *watcher {
	t.Helper()
	if err := s.topic(t, cdn.NewLog(1)).Write(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	return s.submit(t, "LOOPBACK", s.table(t), option)
}

// fails checks that the job fails, and that the client says why.
func (s *site) fails(t *testing.T, w *watcher, says ...string) {
	t.Helper()
	select {
	case <-w.client.Exited():
	case <-time.After(startLimit):
		t.Fatalf("the job did not fail within %v", startLimit)
	}
	if missing := without(append(says, "failed in state FAILED"), w.client.Output()); len(missing) > 0 {
		t.Errorf("the client did not print %q", missing)
	}
	if w.client.Err() == nil {
		t.Error("the client's exit status is 0")
	}
}

func (s *site) functionRaises(t *testing.T) {
	if err := s.topic(t, cdn.NewLog(1)).Write(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"testdata/raises.py", "--bootstrap_servers=" + s.kafka.Addr(), "--topic=" + name(t)}, s.table(t).Options()...)
	w := &watcher{t: t, client: s.run(t, "LOOPBACK", args...)}
	s.fails(t, w, "Sum bundle", "LookupError: no province for", "in ip_to_province")
}

// clientDies: with it goes the environment of a LOOPBACK job, which must not
// wait for it for ever.
func (s *site) clientDies(t *testing.T) {
	log := cdn.NewLog(1)
	if err := s.topic(t, log).Write(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	w := s.submit(t, "LOOPBACK", s.table(t))
	w.awaitExact(log.Totals(), startLimit)
	w.client.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 2*startLimit)
	defer cancel()
	if state, err := w.client.AwaitEnd(ctx); err != nil || state != jobpb.JobState_FAILED {
		t.Errorf("the job ended as %v, %v", state, err)
	}
}
