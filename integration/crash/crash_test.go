package crash_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

	"fresnel/examples/cdn"
	"fresnel/integration/cdn/rig"
)

const (
	// linesAtOnce and recordsAtOnce are produced between two kills.
	linesAtOnce   = 20_000
	recordsAtOnce = 400
	// catchUp is what the jobs may take at the end.
	catchUp = 3 * time.Minute
)

// TestNothingIsLostOrDoubled (I1 to I3, I10): the table and the output topic are
// exact after any number of kills.
func TestNothingIsLostOrDoubled(t *testing.T) {
	kills, seed := setting(t, "FRESNEL_KILLS", 5), setting(t, "FRESNEL_SEED", int(time.Now().UnixNano()%1_000_000))
	t.Logf("%d kills with FRESNEL_SEED=%d", kills, seed)
	s := newSite(t, uint64(seed))
	c := s.startCDN()
	e := s.startStateful()
	c.produce(s)
	e.produce(s)
	c.await(s, 1) // the jobs have begun
	for n := range kills {
		c.produce(s)
		e.produce(s)
		time.Sleep(time.Duration(s.rand.IntN(2500)) * time.Millisecond)
		start := time.Now()
		t.Logf("kill %d: %s (%v)", n+1, s.kill(s.victim(n)), time.Since(start).Round(time.Millisecond))
	}
	c.produce(s)
	e.produce(s)
	s.awaitFenced()
	c.awaitExact(s)
	e.awaitCounts(s)
	s.drain(c.client)
	s.drain(e.client)
	c.awaitExact(s)
	e.check(s)
}

func (s *site) drain(c *rig.Client) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), catchUp)
	defer cancel()
	if state, err := c.Drain(ctx); err != nil || state != jobpb.JobState_DRAINED {
		s.t.Errorf("the job ended as %v, %v", state, err)
	}
}

// cdnJob is the main job.
type cdnJob struct {
	log      *cdn.Log
	table    *cdn.Table
	producer *cdn.Producer
	client   *rig.Client
	last     cdn.Totals
}

func (s *site) startCDN() *cdnJob {
	t := s.t
	t.Helper()
	conf, err := mysql.ParseDSN(s.db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.DB(t).ExecContext(t.Context(), "CREATE DATABASE crash"); err != nil {
		t.Fatal(err)
	}
	conf.DBName = "crash"
	j := &cdnJob{log: cdn.NewLog(5)}
	if j.table, err = cdn.CreateTable(t.Context(), conf.FormatDSN()); err != nil {
		t.Fatal(err)
	}
	s.kafka.CreateTopic(t, "access", 4)
	j.producer = cdn.NewProducer(s.kafka.Addr(), "access", j.log)
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{filepath.Join(root, "examples", "cdn", "pipeline.py"), "--bootstrap_servers=" + s.kafka.Addr(), "--topic=access"}, j.table.Options()...)
	j.client = s.submit("cdn", append(args, "--sdk_worker_parallelism=2")...)
	t.Cleanup(func() {
		_ = j.producer.Close()
		_ = j.table.Close()
	})
	return j
}

func (j *cdnJob) produce(s *site) {
	s.t.Helper()
	if err := j.producer.Write(s.t.Context(), linesAtOnce); err != nil {
		s.t.Fatal(err)
	}
}

// look reads the table. No total may ever fall.
func (j *cdnJob) look(s *site) cdn.Totals {
	s.t.Helper()
	now, err := j.table.Read(s.t.Context())
	if err != nil {
		return j.last // the database has just been killed
	}
	for _, fallen := range j.last.Fallen(now) {
		s.t.Errorf("a total fell: %s", fallen)
	}
	j.last = now
	return now
}

func (j *cdnJob) await(s *site, lines int64) {
	s.t.Helper()
	for deadline := time.Now().Add(catchUp); j.look(s).Lines() < lines; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%d lines are in the table after %v", j.last.Lines(), catchUp)
		}
	}
}

func (j *cdnJob) awaitExact(s *site) {
	s.t.Helper()
	want := j.log.Totals()
	for deadline := time.Now().Add(catchUp); ; time.Sleep(50 * time.Millisecond) {
		diff := want.Diff(j.look(s))
		if len(diff) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the table is wrong after %v:\n%s", catchUp, strings.Join(diff, "\n"))
		}
	}
}
