package fnapi

import (
	"sync"
	"time"
)

// maxLogs is how many log entries wait for a pool's owner: a worker that logs
// faster than the owner takes it loses lines rather than memory, or its pipe.
const maxLogs = 10_000

// eventQueue calls a pool's PoolEvents one at a time, from one goroutine, so
// that no owner holds up a stream.
type eventQueue struct {
	owner PoolEvents
	calls *outbox[func(PoolEvents)]
	quit  chan struct{}

	mu      sync.Mutex
	logs    int // entries that wait
	dropped int
	heard   time.Time // when the last one came
}

func newEventQueue(owner PoolEvents) *eventQueue {
	q := &eventQueue{owner: owner, calls: newOutbox[func(PoolEvents)](), quit: make(chan struct{})}
	go q.run()
	return q
}

// close ends the calls; the one that runs may still run.
func (q *eventQueue) close() { close(q.quit) }

func (q *eventQueue) run() {
	for {
		select {
		case <-q.quit:
			return
		case <-q.calls.more:
		}
		for _, call := range q.calls.take() {
			if q.closed() {
				return
			}
			call(q.owner)
		}
	}
}

func (q *eventQueue) closed() bool {
	select {
	case <-q.quit:
		return true
	default:
		return false
	}
}

func (q *eventQueue) tell(call func(PoolEvents)) { q.calls.put(call) }

func (q *eventQueue) log(e LogEntry) {
	q.mu.Lock()
	q.heard = time.Now()
	full := q.logs >= maxLogs
	if full {
		q.dropped++
	} else {
		q.logs++
	}
	q.mu.Unlock()
	if !full {
		q.tell(func(owner PoolEvents) { q.deliver(owner, e) })
	}
}

func (q *eventQueue) deliver(owner PoolEvents, e LogEntry) {
	q.mu.Lock()
	q.logs--
	dropped := q.dropped
	q.dropped = 0
	q.mu.Unlock()
	owner.Log(e)
	if dropped > 0 {
		owner.Log(droppedLogs(e, dropped))
	}
}

const (
	// silence is how long nothing must come before all is taken to have come: a
	// Python harness hands its log to a thread that sends it, which waits its turn.
	silence = 20 * time.Millisecond
	// silencePatience bounds how long it is waited for, since a worker may log
	// without end, or its owner not take what it logs.
	silencePatience = time.Second
)

// awaitSilence waits until no log entry has come for a moment.
func (q *eventQueue) awaitSilence() {
	began := time.Now()
	for heard := began; time.Since(began) < silencePatience; {
		select {
		case <-time.After(silence - time.Since(heard)):
		case <-q.quit:
			return
		}
		if heard = q.lastHeard(heard); time.Since(heard) >= silence {
			return
		}
	}
}

// lastHeard is when the last entry came, or else.
func (q *eventQueue) lastHeard(otherwise time.Time) time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.heard.After(otherwise) {
		return q.heard
	}
	return otherwise
}

// flush waits until the owner has taken all that has come.
func (q *eventQueue) flush() {
	taken := make(chan struct{})
	q.tell(func(PoolEvents) { close(taken) })
	select {
	case <-taken:
	case <-q.quit:
	case <-time.After(silencePatience):
	}
}
