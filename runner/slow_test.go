package runner

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/jobservice"
)

// TestASlowSinkHoldsUpTheSource: what waits in between is bounded, in memory and on
// disk, and nothing of it is lost.
func TestASlowSinkHoldsUpTheSource(t *testing.T) {
	const batches, size, rows = 400, 512 << 10, 8
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable: %v", durable), func(t *testing.T) {
			r := newRig(t)
			var read atomic.Int64
			body := strings.Repeat("x", size/rows)
			r.source("in", &fakeSource{batches: [][][]byte{nil}, more: func(_, n int) []byte {
				if n >= batches {
					return nil
				}
				read.Store(int64(n) + 1)
				var b bytes.Buffer
				for i := range rows {
					b.Write(at(beam.EventTime(n), fmt.Sprintf("k%d-%d", n, i), body))
				}
				return b.Bytes()
			}})
			open := make(chan struct{})
			out := r.sink("out")
			out.progress = true
			out.before = func(int, int64, int) error { <-open; return nil }
			if durable {
				dir := t.TempDir()
				r.submitted = func(s *jobservice.Submission) { s.ID, s.Dir, s.Epoch = "slow", dir, 1 }
			}
			j := r.start(endless())
			wait(t, "input", func() bool { return read.Load() > 20 })
			time.Sleep(time.Second) // for more to come, if nothing holds it up
			if n := read.Load(); n > batches*3/4 {
				t.Errorf("%d MB were read while nothing could be written", n*size>>20)
			}
			close(open)
			wait(t, "end of the input", func() bool { return out.rowCount() == batches*rows })
			close(j.drain)
			j.mustEnd()
		})
	}
}
