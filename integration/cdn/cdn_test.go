package cdn_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

	"fresnel/examples/cdn"
)

// TestMainJob runs its parts one after another on one site.
func TestMainJob(t *testing.T) {
	s := newSite(t)
	t.Run("fresnel run", s.fresnelRun)
	t.Run("bad input", s.badInput)
	t.Run("exact", s.exact)
	t.Run("changing", s.changing)
	t.Run("secrets", s.secrets)
	t.Run("killed workers", s.killedWorkers)
}

// exact: a topic that is full, every number compared while the job runs and
// after it was drained.
func (s *site) exact(t *testing.T) {
	const lines = 500_000
	log, table := cdn.NewLog(1), s.table(t)
	if err := s.topic(t, log).Write(t.Context(), lines); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	w := s.submit(t, "LOOPBACK", table)
	w.awaitExact(log.Totals(), 2*time.Minute)
	t.Logf("%d lines in %.1f s", lines, time.Since(start).Seconds())
	end(t, w.client.Drain, jobpb.JobState_DRAINED)
	w.awaitExact(log.Totals(), 0)
	skipped := int64(lines) - log.Totals().Lines()
	if n, err := w.client.Counter(t.Context(), "cdn", "malformed"); err != nil || n != skipped {
		t.Errorf("the counter of malformed lines says %d, not %d: %v", n, skipped, err)
	}
}

// changing: the table is looked at while lines arrive, and is exact soon after
// the last one.
func (s *site) changing(t *testing.T) {
	log := cdn.NewLog(2)
	producer := s.topic(t, log)
	w := s.submit(t, "LOOPBACK", s.table(t))
	w.while(func(ctx context.Context) error {
		return producer.Run(ctx, 5000, 10*time.Millisecond, cdn.NewArrivals())
	}, 15*time.Second)
	if w.states < 8 {
		t.Errorf("the table changed %d times in 15 s", w.states)
	}
	w.awaitExact(log.Totals(), time.Minute)
	end(t, w.client.Cancel, jobpb.JobState_CANCELLED)
}

// killedWorkers: workers die again and again, and no total ever falls, although
// the statement would write any number.
func (s *site) killedWorkers(t *testing.T) {
	log := cdn.NewLog(3)
	producer := s.topic(t, log)
	w := s.submit(t, "PROCESS", s.table(t), "--sdk_worker_parallelism=2")
	killed := make(chan int, 1)
	w.while(func(ctx context.Context) error {
		go func() { killed <- s.killSome(ctx, w.table) }()
		return producer.Run(ctx, 5000, 10*time.Millisecond, cdn.NewArrivals())
	}, 20*time.Second)
	if n := <-killed; n < 3 {
		t.Errorf("only %d workers were killed", n)
	}
	w.awaitExact(log.Totals(), time.Minute)
	awaitOutput(t, w.client, 0, "trying again")
	end(t, w.client.Drain, jobpb.JobState_DRAINED)
	w.awaitExact(log.Totals(), 0)
}

// killSome kills the oldest worker again and again until ctx ends, whenever the
// table has changed since the last time, and returns how many it killed.
func (s *site) killSome(ctx context.Context, table *cdn.Table) int {
	killed, before := 0, int64(0)
	for {
		select {
		case <-ctx.Done():
			return killed
		case <-time.After(time.Second):
		}
		lines, err := table.Lines(ctx)
		workers := s.server.Workers()
		if err != nil || lines == before || len(workers) == 0 {
			continue
		}
		if syscall.Kill(workers[0], syscall.SIGKILL) == nil {
			killed, before = killed+1, lines
		}
	}
}

// end ends a job and checks how it ended.
func end(t *testing.T, how func(context.Context) (jobpb.JobState_Enum, error), want jobpb.JobState_Enum) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got, err := how(ctx); err != nil || got != want {
		t.Errorf("the job ended as %v, %v", got, err)
	}
}
