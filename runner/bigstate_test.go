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

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"fresnel/fnapi/fnapitest"
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
	w := bigWork{bigState: s, c: c, asked: map[string]bool{}}
	err := c.events(coder.GlobalWindow, func(e *item) error {
		return w.add(bigVisit{key: str(e.key), value: str(e.value), at: e.Timestamp})
	}, func(_ string, timer *coder.Timer) error {
		return w.add(bigVisit{key: bytes.Clone(timer.Key)})
	})
	return firstError(err, w.flush())
}

// bigWork visits keys, and asks for the cells of many at once, as harnesses do that
// fetch ahead: what is measured is to be the runner.
type bigWork struct {
	*bigState
	c      *call
	visits []bigVisit
	asked  map[string]bool // the keys of visits
}

// bigVisit is an element, or a timer if it has no value.
type bigVisit struct {
	key, value []byte
	at         beam.EventTime
}

// bigAhead is how many cells are asked for at once.
const bigAhead = 200

func (w *bigWork) add(v bigVisit) error {
	var err error
	if len(w.visits) == bigAhead || w.asked[string(v.key)] { // what comes twice reads what it wrote
		err = w.flush()
	}
	w.asked[string(v.key)] = true
	w.visits = append(w.visits, v)
	return err
}

func (w *bigWork) flush() error {
	visits := w.visits
	w.visits = visits[:0]
	clear(w.asked)
	cells, err := w.askAll(visits, func(*bigVisit) *fnpb.StateRequest {
		return &fnpb.StateRequest{Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}}
	})
	if err != nil {
		return err
	}
	w.most.Store(max(w.most.Load(), w.r.runner.budget.Used()))
	var elements []bigVisit
	var timers []byte
	for i, v := range visits {
		want := 2
		if v.value != nil {
			want = int(v.at) / w.keys
			elements = append(elements, v)
			timers = coder.AppendTimer(timers, &coder.Timer{Key: v.key, Fire: 1_000_000_000 + v.at*7919%100_003, Hold: 1_000_000_000, Pane: noFiring, WindowCount: 1})
		}
		if bytes.Count(cells[i].GetGet().GetData(), []byte("round-")) != want {
			w.wrong.Add(1)
		}
	}
	w.fired.Add(int64(len(visits) - len(elements)))
	w.updated.Add(int64(len(elements)))
	if len(elements) == 0 {
		return nil
	}
	_, err = w.askAll(elements, func(v *bigVisit) *fnpb.StateRequest {
		return &fnpb.StateRequest{Request: &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: v.value}}}
	})
	return firstError(err, w.c.SetTimers(fnapitest.Stream{Transform: "work", Family: "event"}, timers))
}

// askAll asks something of the cell of each key, and returns the answers.
func (w *bigWork) askAll(visits []bigVisit, what func(*bigVisit) *fnpb.StateRequest) ([]*fnpb.StateResponse, error) {
	var coming []<-chan *fnpb.StateResponse
	for i := range visits {
		request := what(&visits[i])
		request.StateKey = bagKey(visits[i].key, nil)
		answer, err := w.c.Ask(request)
		if err != nil {
			return nil, err
		}
		coming = append(coming, answer)
	}
	answers := make([]*fnpb.StateResponse, len(coming))
	for i, c := range coming {
		answers[i] = <-c
		if problem := answers[i].GetError(); answers[i] == nil || problem != "" {
			return nil, fmt.Errorf("no answer: %q", problem)
		}
	}
	return answers, nil
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
		if limit > 0 { // of what runs after this function returns, too
			before := debug.SetMemoryLimit(limit - limit/8)
			t.Cleanup(func() { debug.SetMemoryLimit(before) })
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
