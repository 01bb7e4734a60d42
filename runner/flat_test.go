package runner

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/jobservice"
	"fresnel/runner/store"
)

// kept is what a store has that lives: rows and their bytes, by kind.
type kept struct{ rows, bytes int }

// keptIn counts notes by their first byte, entries as "state" and blocks as
// "blocks".
func keptIn(t *testing.T, d *store.Disk) (all map[string]kept, sum int) {
	t.Helper()
	all = map[string]kept{}
	add := func(kind string, n int) {
		k := all[kind]
		all[kind] = kept{k.rows + 1, k.bytes + n}
		sum += n
	}
	if err := d.Notes("", "\xff", func(k string, v []byte) error { add(k[:1], len(k)+len(v)); return nil }); err != nil {
		t.Fatal(err)
	}
	d.Entries().Ascend("", "\xff\xff\xff", func(k string, v []byte) bool { add("state", len(k)+len(v)); return true })
	var blocks []uint64
	if err := d.KeepBlocks(func(id uint64) bool { blocks = append(blocks, id); return true }); err != nil {
		t.Fatal(err)
	}
	for _, id := range blocks {
		add("blocks", len(d.Block(id)))
	}
	return all, sum
}

// TestADayLeavesNothingBehind: what a durable job with windows of a minute keeps
// after a day of traffic is what it keeps after some hours: group logs, user
// state, timers, blocks, entries and positions of what is over are gone. A
// grouping's log may be as long as is not worth a snapshot. With FRESNEL_DAY=n each
// element has n times its size, which shows what the files on disk take.
func TestADayLeavesNothingBehind(t *testing.T) {
	const parts, perPart = 4, 360
	factor := 1
	if n, err := strconv.Atoi(os.Getenv("FRESNEL_DAY")); err == nil {
		factor = n
	}
	w := newWorld(t)
	w.r.runner.cfg.KeyShards = 1 // so that there is enough for some snapshots
	var open atomic.Int64
	body := strings.Repeat("x", 6000*factor)
	w.r.source("in", &fakeSource{batches: [][][]byte{nil, nil},
		mark: func(n int) beam.EventTime { return beam.EventTime(n) * 60_000 },
		more: func(split, n int) []byte {
			if n >= int(open.Load()) {
				return nil
			}
			return at(beam.EventTime(n)*60_000, fmt.Sprintf("s%d-%d", split, n%3), body)
		}})
	w.r.submitted = func(s *jobservice.Submission) { s.ID, s.Dir, s.Epoch = "day", t.TempDir(), 1 }
	j := w.r.start(w.pipe())
	var sums []int
	var files []int64
	for part := 1; part <= parts; part++ {
		open.Store(int64(part * perPart))
		over := 2 * (part*perPart - 1) // the last minute is still open
		for _, s := range []*fakeSink{w.grouped, w.counted} {
			wait(t, "end of the windows", func() bool { return s.rowCount() >= over })
		}
		time.Sleep(50 * time.Millisecond) // entries are acknowledged
		all, sum := keptIn(t, j.job.journal.disk)
		files = append(files, j.job.journal.disk.DiskBytes())
		t.Logf("%d minutes: %d KB, %d MB of files; %v", part*perPart, sum>>10, files[part-1]>>20, all)
		sums = append(sums, sum)
	}
	if early, late := max(sums[0], sums[1]), max(sums[2], sums[3]); late > early*5/4+minLog*5/4 {
		t.Errorf("%d bytes are kept after the second half of the day, %d after the first", late, early)
	}
	if early, late := max(files[0], files[1]), max(files[2], files[3]); late > early*5/4+64<<20 {
		t.Errorf("files have %d MB after the second half of the day, %d MB after the first", late>>20, early>>20)
	}
	j.cancel()
	_ = j.end()
}

// rowCount is how many elements were written.
func (s *fakeSink) rowCount() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range s.entries {
		for _, e := range all {
			n += len(e.items)
		}
	}
	return n
}
