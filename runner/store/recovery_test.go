package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestOpeningReadsNoState: what a store has is read when it is asked for, not when
// it is opened. FRESNEL_STATE_MB makes it a measurement.
func TestOpeningReadsNoState(t *testing.T) {
	t.Parallel()
	mb := 16
	if n, err := strconv.Atoi(os.Getenv("FRESNEL_STATE_MB")); err == nil {
		mb = n
	}
	dir := t.TempDir()
	d, err := OpenDisk(dir, DiskOptions{Budget: NewBudget(4 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range mb {
		apply(t, d, func(b *Batch) {
			for n := range 1024 {
				b.Put(fmt.Sprintf("k%03d-%08d", n%100, i*1024+n), noise(1024))
			}
		})
	}
	d.Close() // what is in the log only stays there, as in a crash
	before, begin, cpu := heap(), time.Now(), cpuTime()
	again, err := OpenDisk(dir, DiskOptions{Budget: NewBudget(64 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	opened := time.Since(begin)
	cpu = cpuTime() - cpu
	if v, _ := again.Entries().Get(fmt.Sprintf("k%03d-%08d", 7, 7)); len(v) != 1024 {
		t.Errorf("an entry has %d bytes", len(v))
	}
	t.Logf("%d MB of state, %d MB on disk: opened in %s (%s of CPU), first read after %s, heap %d KB more", mb, again.DiskBytes()>>20, opened, cpu, time.Since(begin), (heap()-before)>>10)
	if used := again.budget.Used(); used > 64<<10 {
		t.Errorf("%d bytes are in memory after one entry was read", used)
	}
}

// noise cannot be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Int())
	}
	return b
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // a figure for people
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
