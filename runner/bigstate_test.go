package runner

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
	"fresnel/jobservice"
)

// bigState is a job with a cell and a timer for each of many keys: it writes each
// cell once, most again, and reads them all when the timers fire.
type bigState struct {
	r       *rig
	keys    int
	done    atomic.Bool
	fired   atomic.Int64
	updated atomic.Int64
	wrong   atomic.Int64
	most    atomic.Int64 // that was held of the budget
}

const bigBatch = 100

// key scatters the keys, so that neighbours in time are none in the store.
func (s *bigState) key(n int) string {
	return fmt.Sprintf("user-%08x", uint32(n)*2654435761)
}

func newBigState(t *testing.T, keys int) *bigState {
	s := &bigState{r: newRig(t), keys: keys}
	s.r.source("in", &fakeSource{batches: [][][]byte{nil}, mark: func(int) beam.EventTime { return 0 },
		more: func(_, n int) []byte {
			first := n * bigBatch
			if first >= 2*keys {
				s.done.Store(true)
				return nil
			}
			var b bytes.Buffer
			for i := first; i < first+bigBatch; i++ {
				b.Write(at(beam.EventTime(i), s.key(i%keys), "round-"+strconv.Itoa(i/keys)+"-of-a-value-of-some-bytes"))
			}
			return b.Bytes()
		}})
	s.r.do["work"] = s.work
	return s
}

func (s *bigState) work(c *call) error {
	fired := 0
	err := c.events(coder.GlobalWindow, func(e *item) error {
		all, err := c.bag(str(e.key), nil)
		if want := int(e.Timestamp) / s.keys; len(all) != want {
			s.wrong.Add(1)
		}
		s.updated.Add(1)
		s.most.Store(max(s.most.Load(), s.r.runner.budget.Used()))
		return firstError(err, firstError(c.Append(bagKey(str(e.key), nil), str(e.value)),
			c.set("event", coder.Timer{Key: str(e.key), Fire: 1_000_000_000 + e.Timestamp*7919%100_003, Hold: 1_000_000_000})))
	}, func(_ string, timer *coder.Timer) error {
		all, err := c.bag(timer.Key, nil)
		if len(all) != 2 {
			s.wrong.Add(1)
		}
		fired++
		return err
	})
	s.fired.Add(int64(fired))
	return err
}

func (s *bigState) run(dir string, limit int64) (peak uint64, updating, firing time.Duration) {
	t := s.r.t
	s.r.runner.budget = newBudget(limit)
	s.r.submitted = func(sub *jobservice.Submission) { sub.Dir, sub.Epoch = dir, 1 }
	stop := make(chan struct{})
	peaks := make(chan uint64)
	go watchHeap(stop, peaks)
	begin := time.Now()
	j := s.r.start(newPipe().read("read", "in", "u_a:").pardo("work", stateful("timer"), "in=u_a", "out=u_b:"))
	for !s.done.Load() || s.updated.Load() < int64(2*s.keys) {
		time.Sleep(10 * time.Millisecond)
		select {
		case <-j.done:
			t.Fatalf("the job ended: %v", j.err)
		default:
		}
	}
	updating = time.Since(begin)
	close(j.drain)
	<-j.done
	if j.err != nil {
		t.Fatal(j.err)
	}
	close(stop)
	return <-peaks, updating, time.Since(begin) - updating
}

// watchHeap tells the most that the heap had in use.
func watchHeap(stop <-chan struct{}, peaks chan<- uint64) {
	var peak uint64
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		case <-stop:
			peaks <- peak
			return
		}
	}
}

// TestStateLargerThanMemory (I9): each key has its cell and its timer, though
// what may be in memory is a small part of them: of a durable job, and of one that
// ends with its process, which leaves nothing. FRESNEL_STATE_KEYS makes it a
// measurement, with the limit of a server, in MB, in FRESNEL_STATE_LIMIT.
func TestStateLargerThanMemory(t *testing.T) {
	keys, limit := 300, int64(60_000)
	if n, err := strconv.Atoi(os.Getenv("FRESNEL_STATE_KEYS")); err == nil {
		mb, _ := strconv.Atoi(os.Getenv("FRESNEL_STATE_LIMIT"))
		keys, limit = n, int64(mb)*1_000_000
		if limit > 0 {
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit - limit/8))
		}
	}
	for name, dir := range map[string]string{"durable": t.TempDir(), "in memory": ""} {
		t.Run(name, func(t *testing.T) {
			s := newBigState(t, keys)
			s.r.runner.cfg.SpillDir = t.TempDir()
			peak, updating, firing := s.run(dir, limit)
			if wrong := s.wrong.Load(); wrong != 0 || s.fired.Load() != int64(keys) {
				t.Errorf("%d timers of %d fired, %d cells were not what they should be", s.fired.Load(), keys, wrong)
			}
			if used, most := s.r.runner.budget.Used(), s.most.Load(); used != 0 || most == 0 || limit < 1_000_000 && most > 3*limit {
				t.Errorf("%d bytes were in memory, %d may be; %d after the end", most, s.r.runner.budget.Limit(), used)
			}
			t.Logf("%d keys: heap %d MB, updates %.1f us each, timers %.1f us each", keys, peak>>20,
				float64(updating.Microseconds())/float64(2*keys), float64(firing.Microseconds())/float64(keys))
		})
	}
}
