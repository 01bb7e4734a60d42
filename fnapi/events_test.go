package fnapi

import (
	"testing"
	"testing/synctest"
	"time"
)

// listener takes what a pool tells, an entry in its time.
type listener struct {
	PoolEvents
	takes time.Duration
	heard int
}

func (l *listener) Log(LogEntry) {
	time.Sleep(l.takes)
	l.heard++
}

// TestLastLinesAreWaitedFor that come after the last response, one after another,
// and until their owner has taken them.
func TestLastLinesAreWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{takes: 15 * time.Millisecond}
		q := newEventQueue(l)
		go func() {
			for range 5 {
				time.Sleep(silence / 2)
				q.log(LogEntry{Message: "last words"})
			}
		}()
		q.awaitSilence()
		q.flush()
		if l.heard != 5 {
			t.Errorf("%d of 5 lines were told", l.heard)
		}
		q.close()
		synctest.Wait()
	})
}

// TestAWorkerThatLogsWithoutEndIsNotWaitedFor, nor is an owner that takes nothing.
func TestAWorkerThatLogsWithoutEndIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newEventQueue(&listener{takes: time.Hour})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range 3000 {
				time.Sleep(silence / 2)
				q.log(LogEntry{})
			}
		}()
		began := time.Now()
		q.awaitSilence()
		q.flush()
		if d := time.Since(began); d > 3*silencePatience {
			t.Errorf("it waited for %s", d)
		}
		q.close()
		<-ended
		time.Sleep(2 * time.Hour) // for the owner to come back
	})
}
