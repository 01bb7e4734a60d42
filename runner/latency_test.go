package runner

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/jobservice"
)

// paced are elements of which one is due each millisecond, whose values are the
// times at which they were.
type paced struct {
	begin  time.Time
	count  int
	mu     sync.Mutex
	next   int
	landed map[int64]time.Time // when an entry was there
}

func (p *paced) due(n int) time.Time { return p.begin.Add(time.Duration(n) * time.Millisecond) }

// more is what is due now.
func (p *paced) more(int, int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b bytes.Buffer
	for ; p.next < p.count && !time.Now().Before(p.due(p.next)); p.next++ {
		b.Write(at(beam.EventTime(p.next), fmt.Sprint("user-", p.next%50), strconv.FormatInt(p.due(p.next).UnixNano(), 10)))
	}
	return b.Bytes()
}

func (p *paced) land(_ int, n int64, _ int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.landed[n] = time.Now()
	return nil
}

// TestLatencyToASink shows how long elements take through a stateful step to a
// sink, which sees them once they are durable, and what of that the disk takes.
// FRESNEL_LATENCY makes it a measurement of so many seconds.
func TestLatencyToASink(t *testing.T) {
	seconds := 1
	if n, err := strconv.Atoi(os.Getenv("FRESNEL_LATENCY")); err == nil {
		seconds = n
	}
	for n, durable := range []bool{false, true, false, true} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { // one after the other
			t.Run("", func(t *testing.T) {
				all := latencies(t, 1000*seconds, durable)
				if len(all) != 1000*seconds {
					t.Fatalf("%d elements arrived of %d", len(all), 1000*seconds)
				}
				slices.Sort(all)
				t.Logf("durable: %5v; half within %v, 99 of 100 within %v, all within %v", durable, all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
			})
		})
	}
}

func latencies(t *testing.T, count int, durable bool) (all []time.Duration) {
	r := newRig(t)
	p := &paced{count: count, landed: map[int64]time.Time{}, begin: time.Now().Add(200 * time.Millisecond)}
	r.source("in", &fakeSource{batches: [][][]byte{nil}, more: p.more})
	out := r.sink("out")
	out.after, out.progress = p.land, true
	r.do["work"] = func(c *call) error {
		return c.each(func(e *item) error {
			key := bagKey(str(e.key), nil)
			if err := firstError(c.Clear(key), c.Append(key, str(e.value))); err != nil {
				return err
			}
			return c.out(at(e.Timestamp, e.key, e.value))
		})
	}
	if durable {
		dir := t.TempDir()
		r.submitted = func(s *jobservice.Submission) { s.ID, s.Dir, s.Epoch = "paced", dir, 1 }
	}
	j := r.start(newPipe().read("read", "in", "u_a:").pardo("work", stateful("timer"), "in=u_a", "out=u_b:").write("write", "out", "u_b"))
	wait(t, "end of the input", func() bool { return out.rowCount() == count })
	close(j.drain)
	j.mustEnd()
	for _, entries := range out.entries {
		for _, e := range entries {
			for _, it := range e.items {
				due, err := strconv.ParseInt(it.value, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, p.landed[e.n].Sub(time.Unix(0, due)))
			}
		}
	}
	return all
}
