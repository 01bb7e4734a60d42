package engine

import (
	"testing"
	"time"
)

// inPairs has a worker work off 200,000 elements of 100 us, and returns the share
// of those bundles that ended while another one ran, of the ones that ended from
// a time on.
func inPairs(t *testing.T, from time.Duration, set func(*workshop, *Spec)) float64 {
	t.Helper()
	spec := oneStage(false, false, 16, 2)
	spec.Pools[1].Measurable = true
	set(&workshop{}, &spec)
	w := newWorkshop(t, spec)
	w.element[1], w.splittable = 100*time.Microsecond, true
	set(w, &spec)
	bundles, paired := 0, 0
	w.emit = func(Bundle) Outcome {
		if w.now >= from {
			bundles++
			paired += min(len(w.running), 1)
		}
		return Outcome{}
	}
	w.up(1)
	w.fill(25, 16, 500)
	w.until(from)
	set(w, &spec)
	w.until(time.Minute)
	if len(w.latency) != 200_000 || bundles < 10 {
		t.Fatalf("%d elements are done, %d bundles after %v", len(w.latency), bundles, from)
	}
	t.Logf("%d bundles, %d beside another, done after %v", bundles, paired, w.percentile(100))
	return float64(paired) / float64(bundles)
}

func TestCodeThatComputesRunsAlone(t *testing.T) {
	// The last ones may be split.
	if share := inPairs(t, time.Second, func(*workshop, *Spec) {}); share > 0.1 {
		t.Errorf("%.2f of the bundles run beside another", share)
	}
}

func TestPairsWhereTheyMayHelp(t *testing.T) {
	for what, set := range map[string]func(*workshop, *Spec){
		"code that waits":              func(w *workshop, _ *Spec) { w.waits = true },
		"code that uses several cores": func(w *workshop, _ *Spec) { w.parallel = true },
		"workers that cannot be seen":  func(w *workshop, _ *Spec) { w.unseen = true },
		"unbounded jobs":               func(_ *workshop, s *Spec) { s.Options.Streaming = true },
	} {
		if share := inPairs(t, 5*time.Second, set); share < 0.8 {
			t.Errorf("%s: %.2f of the bundles run beside another", what, share)
		}
	}
}

// TestCodeThatBeginsToWait, a cache that is full for example, is found out.
func TestCodeThatBeginsToWait(t *testing.T) {
	const from = 5 * time.Second
	share := inPairs(t, from, func(w *workshop, _ *Spec) { w.waits = w.now >= from })
	if share < 0.8 {
		t.Errorf("%.2f of the bundles run beside another", share)
	}
}

// TestPairsAreTried, for what they could do is not seen while there is none:
// after 16 bundles, after 32, and so on.
func TestPairsAreTried(t *testing.T) {
	p := newPairing()
	for _, rest := range []int{tryAfter, 2 * tryAfter, 4 * tryAfter} {
		for range rest {
			if p.paired {
				t.Fatal("a pair is tried too early")
			}
			p.judge(0.95, 1)
			p.ended()
		}
		if !p.paired {
			t.Errorf("no pair is tried after %d bundles", rest)
		}
		if p.judge(1.1, 1.2); !p.paired {
			t.Error("it has not been a pair for long enough")
		}
		p.judge(1.1, 1.9)
	}
}
