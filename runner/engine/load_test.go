package engine

import (
	"slices"
	"testing"
	"time"
)

// crowd has two workers work off elements of a splittable stage, and returns how
// many bundles they ran at most at once, and when the last element was done.
func crowd(t *testing.T, element time.Duration, restrictions bool, set func(*workshop)) (most int, end time.Duration) {
	t.Helper()
	spec := oneStage(false, false, 16, 2)
	spec.Pools[1].Measurable, spec.Stages[1].Restrictions = true, restrictions
	w := newWorkshop(t, spec)
	w.element[1], w.splittable = element, true
	w.emit = func(Bundle) Outcome {
		most = max(most, len(w.running)+1)
		return Outcome{}
	}
	set(w)
	w.up(1, 2)
	w.fill(25, 16, 1)
	w.until(10 * time.Minute)
	if len(w.latency) != 400 {
		t.Errorf("%d elements are done", len(w.latency))
	}
	return most, w.percentile(100)
}

func TestWhatIsSeenToComputeIsNotCrowded(t *testing.T) {
	for _, element := range []time.Duration{2 * time.Millisecond, 10 * time.Millisecond, time.Second} {
		most, end := crowd(t, element, false, func(*workshop) {})
		if ideal := 200 * element; most > 4 || end > ideal*11/10+100*time.Millisecond {
			t.Errorf("elements of %v: %d bundles at once, done after %v, ideally %v", element, most, end, ideal)
		}
	}
}

func TestWhatIsSeenToWaitIsWidened(t *testing.T) {
	for _, restrictions := range []bool{false, true} {
		most, end := crowd(t, 20*time.Millisecond, restrictions, func(w *workshop) { w.waits = true })
		if most < 16 || end > time.Second { // two at a time take 2 s each
			t.Errorf("%d bundles at once, done after %v", most, end)
		}
	}
}

// TestRestrictionsAreNotWidenedBlindly: of one that takes long nobody can tell
// whether it waits or is large.
func TestRestrictionsAreNotWidenedBlindly(t *testing.T) {
	for _, restrictions := range []bool{false, true} {
		most, _ := crowd(t, time.Second, restrictions, func(w *workshop) { w.unseen = true })
		if crowded := most > 4; crowded == restrictions {
			t.Errorf("restrictions %v: %d bundles at once", restrictions, most)
		}
	}
}

// TestRestrictionsAreShared: a handful of elements is one bundle, but each of a
// handful of restrictions may be worth one.
func TestRestrictionsAreShared(t *testing.T) {
	for _, restrictions := range []bool{false, true} {
		spec := oneStage(false, false, 16, 1)
		spec.Stages[1].Restrictions = restrictions
		w := newWorkshop(t, spec)
		w.element[1] = time.Second
		w.up(1, 2)
		w.fill(1, 7, 1)
		w.until(time.Minute)
		var sizes []int
		for _, b := range w.bundles {
			sizes = append(sizes, elements(b))
		}
		if want := map[bool][]int{false: {7}, true: {4, 2, 1}}[restrictions]; !slices.Equal(sizes, want) {
			t.Errorf("restrictions %v: bundles of %d", restrictions, sizes)
		}
	}
}

// TestRestrictionsReachAllWorkers: at once, not when one that has none is given a
// part of another's.
func TestRestrictionsReachAllWorkers(t *testing.T) {
	spec := oneStage(false, false, 16, 1)
	spec.Stages[1].Restrictions = true
	w := newWorkshop(t, spec)
	w.element[1], w.splittable = time.Second, true
	w.up(1, 2, 3, 4, 5, 6, 7, 8)
	w.fill(1, 7, 1)
	w.until(time.Minute)
	if end := w.percentile(100); end > 1100*time.Millisecond {
		t.Errorf("8 workers took %v for 7 restrictions of a second", end)
	}
}

func TestAnOldShareIsNotUsed(t *testing.T) {
	var l load
	last := time.Second
	look := func(cpu, at time.Duration) {
		l.pass(instant(at-last), 1)
		if last = at; l.look(cpu, instant(at)) || l.at == instant(at) {
			l.anew(nil)
		}
	}
	look(0, time.Second)
	look(10*time.Millisecond, time.Second+10*time.Millisecond)
	if l.fresh(instant(time.Second + 10*time.Millisecond)) {
		t.Error("it was looked at for 10 ms only")
	}
	look(80*time.Millisecond, time.Second+100*time.Millisecond)
	if now := instant(time.Second + 200*time.Millisecond); !l.fresh(now) || l.share != 0.8 {
		t.Errorf("share %v, fresh: %v", l.share, l.fresh(now))
	}
	look(time.Second, time.Minute)
	if l.fresh(instant(time.Minute)) {
		t.Error("a minute that was mostly idle counts")
	}
	look(-1, time.Minute+time.Second)
	if !l.unseen {
		t.Error("it is gone, and seen")
	}
}
