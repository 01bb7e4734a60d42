package fnapi

import (
	"sync"
	"time"
)

// warmth keeps idle workers for the next job with the same environment. Each
// has a goroutine that lets it go when it is lost, too old, or taken.
type warmth struct {
	server *Server
	keep   time.Duration
	// most is how many are kept, of all environments: a process has 100 MB and more.
	most int

	mu     sync.Mutex
	idle   map[string][]*idleWorker // by environment, idle for longest first
	count  int
	puts   int
	closed bool
}

type idleWorker struct {
	*hired
	// put is its place in the order in which workers became idle.
	put   int
	taken chan struct{}
}

func newWarmth(s *Server) *warmth {
	return &warmth{server: s, keep: s.cfg.KeepWarm, most: s.cfg.MostWarm, idle: make(map[string][]*idleWorker)}
}

// put keeps a worker, and lets the one that was idle for longest go if there are too
// many; false if it is not to be kept.
func (w *warmth) put(hash string, h *hired) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.keep < 0 {
		return false
	}
	w.puts++
	i := &idleWorker{h, w.puts, make(chan struct{})}
	w.idle[hash] = append(w.idle[hash], i)
	w.server.running.Add(1)
	go w.watch(hash, i)
	if w.count++; w.count > w.most {
		w.letOldestGo()
	}
	return true
}

// letOldestGo is called with w.mu held.
func (w *warmth) letOldestGo() {
	oldest, put := "", w.puts+1
	for hash, all := range w.idle {
		if all[0].put < put {
			oldest, put = hash, all[0].put
		}
	}
	h := w.idle[oldest][0].hired
	w.drop(oldest, 0)
	w.server.retire(h, errClosed)
}

// take returns the worker that was idle for the shortest time, nil if there is
// none.
func (w *warmth) take(hash string) *hired {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		all := w.idle[hash]
		if len(all) == 0 {
			return nil
		}
		i := all[len(all)-1]
		w.drop(hash, len(all)-1)
		if i.idle() {
			return i.hired
		}
		w.server.retire(i.hired, errClosed)
	}
}

// drop takes an entry out. Called with w.mu held.
func (w *warmth) drop(hash string, at int) {
	w.count--
	all := w.idle[hash]
	close(all[at].taken)
	all = append(all[:at:at], all[at+1:]...)
	if len(all) == 0 {
		delete(w.idle, hash)
		return
	}
	w.idle[hash] = all
}

func (w *warmth) watch(hash string, i *idleWorker) {
	defer w.server.running.Done()
	old := time.NewTimer(w.keep)
	defer old.Stop()
	select {
	case <-i.taken:
		return
	case <-i.gone:
	case <-old.C:
	}
	if w.remove(hash, i) {
		w.server.retire(i.hired, errClosed)
	}
}

func (w *warmth) remove(hash string, i *idleWorker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, have := range w.idle[hash] {
		if have == i {
			w.drop(hash, at)
			return true
		}
	}
	return false
}

// close lets all go.
func (w *warmth) close() {
	w.mu.Lock()
	w.closed = true
	var all []*idleWorker
	for hash, workers := range w.idle {
		all = append(all, workers...)
		for range workers {
			w.drop(hash, 0)
		}
	}
	w.mu.Unlock()
	for _, i := range all {
		w.server.retire(i.hired, errClosed)
	}
}
