// Package cores gives Go's scheduler as many of the machine's cores as this
// process has work for.
//
// While one of them is idle, Go wakes a thread for nearly each goroutine that can
// go on. A small bundle goes through ten goroutines one after the other; waking
// threads for them, which find nothing left to do, was a third of the CPU time it
// took (docs/decisions/078-cores-by-use.md).
package cores

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// How the number of cores follows what is used.
const (
	period = 100 * time.Millisecond // between two looks, while there is work
	calm   = 10                     // looks for which fewer must have been enough
	share  = 0.5                    // of a core: who uses more has another
	still  = 0.02                   // of a core: who uses less, unasked, does nothing
)

// What Go's scheduler began with: the machine's cores, fewer by a container's
// limits, or GOMAXPROCS of the environment.
var all = runtime.GOMAXPROCS(0)

var process atomic.Pointer[governor]

// All is how many cores this process may use. runtime.GOMAXPROCS(0), and less, is
// what it has just now.
func All() int { return all }

// Govern lets the number of cores follow the CPU time that this process uses,
// from one to All, until it ends. Where that time cannot be asked for, all stay.
func Govern() {
	if _, ok := cpuTime(); ok {
		process.CompareAndSwap(nil, &governor{used: cpuTime, set: func(n int) { runtime.GOMAXPROCS(n) }, gauge: gauge{all: all, now: all}})
	}
}

// Work says that there is work. It costs nanoseconds. While nobody says it and
// little is used, nothing looks.
func Work() {
	if g := process.Load(); g != nil {
		g.work()
	}
}

// Burst says that there is work for all cores now, which would have waited for the
// next look.
func Burst() {
	if g := process.Load(); g != nil {
		g.burst()
	}
}

// governor looks at what is used while there is work.
type governor struct {
	used func() (time.Duration, bool) // of CPU, since the process began
	set  func(cores int)

	said     atomic.Bool // there was work since the last look
	watching atomic.Bool // a look is due

	// Of the one who looks.
	cpu time.Duration // used at the last look
	at  time.Time     // of the last look

	mu    sync.Mutex
	gauge gauge // guarded by mu
}

func (g *governor) work() {
	if !g.said.Load() {
		g.said.Store(true)
	}
	if !g.watching.Load() && g.watching.CompareAndSwap(false, true) {
		g.cpu, _ = g.used()
		g.at = time.Now()
		time.AfterFunc(period, g.look)
	}
}

// look sets the cores to what was used since the last one, and comes again if
// there is work.
func (g *governor) look() {
	cpu, _ := g.used()
	now := time.Now()
	use := float64(cpu-g.cpu) / float64(max(now.Sub(g.at), 1))
	g.cpu, g.at = cpu, now
	g.follow(use)
	if !g.said.Swap(false) && use < still {
		g.watching.Store(false)
		return
	}
	time.AfterFunc(period, g.look)
}

func (g *governor) follow(use float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before := g.gauge.now; g.gauge.read(use) != before {
		g.set(g.gauge.now)
	}
}

func (g *governor) burst() {
	g.work()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gauge.now < g.gauge.all {
		g.gauge.fill()
		g.set(g.gauge.now)
	}
}

// gauge tells from what is used, in cores, how many there should be: more at
// once, fewer when it has been enough for a while.
type gauge struct {
	all, now int
	most     int // that was needed in this while
	reads    int // in it
}

// fill says that all are needed, for a while at least.
func (g *gauge) fill() { g.now, g.most, g.reads = g.all, 0, 0 }

func (g *gauge) read(use float64) int {
	needed := min(int(use/share)+1, g.all)
	if needed > g.now {
		g.now, g.most, g.reads = needed, 0, 0
		return g.now
	}
	g.most = max(g.most, needed)
	if g.reads++; g.reads == calm {
		g.now, g.most, g.reads = g.most, 0, 0
	}
	return g.now
}
