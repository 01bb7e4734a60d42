package cdn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"fresnel/examples/cdn"
	"fresnel/integration/cdn/rig"
)

// lookEvery is how often a table or an output is looked at.
const lookEvery = 50 * time.Millisecond

// watcher looks at a table while a job changes it. No total may ever fall.
type watcher struct {
	t      *testing.T
	table  *cdn.Table
	client *rig.Client
	last   cdn.Totals
	states int // that were different
}

func (w *watcher) look() cdn.Totals {
	w.t.Helper()
	now, err := w.table.Read(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, fallen := range w.last.Fallen(now) {
		w.t.Errorf("a total fell: %s", fallen)
	}
	if len(w.last.Diff(now)) > 0 {
		w.states++
	}
	w.last = now
	return now
}

// wait waits until the next look; the client must not end.
func (w *watcher) wait() {
	w.t.Helper()
	select {
	case <-time.After(lookEvery):
	case <-w.client.Exited():
		w.t.Fatalf("the client ended: %v", w.client.Err())
	}
}

// awaitExact returns when the table is what it must be.
func (w *watcher) awaitExact(want cdn.Totals, limit time.Duration) {
	w.t.Helper()
	for deadline := time.Now().Add(limit); ; w.wait() {
		diff := want.Diff(w.look())
		if len(diff) == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the table is wrong after %v:\n%s", limit, strings.Join(diff, "\n"))
		}
	}
}

// while looks at the table while work is under way: until it has changed for
// the given time.
func (w *watcher) while(work func(context.Context) error, enough time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- work(ctx) }()
	var first time.Time
	for deadline := time.Now().Add(startLimit); first.IsZero() || time.Since(first) < enough; w.wait() {
		switch lines := w.look().Lines(); {
		case lines > 0 && first.IsZero():
			first = time.Now()
		case lines == 0 && time.Now().After(deadline):
			w.t.Fatalf("nothing is in the table after %v", startLimit)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
}

// startLimit is what a job may take until its first row is there.
const startLimit = time.Minute
