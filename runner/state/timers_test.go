package state

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fresnel/internal/beam"
	"fresnel/runner/store"
)

func timer(family, user string, fire beam.EventTime) Timer {
	return Timer{TimerID: TimerID{Transform: "t", Family: family, Window: []byte("w"), User: []byte(user)},
		Fire: fire, Hold: fire, Pane: []byte{15}}
}

func clock(family, user string, fire beam.EventTime) Timer {
	t := timer(family, user, fire)
	t.ProcessingTime = true
	return t
}

func tagged(t Timer, tag string) Timer {
	t.Tag = tag
	return t
}

func text(timers []Timer) string {
	var all []string
	for _, t := range timers {
		s := fmt.Sprintf("%s/%s@%d", t.Family, t.User, t.Fire)
		if t.Tag != "" {
			s += "#" + t.Tag
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// due takes the event-time timers that are due.
func (d *desk) due(wm beam.EventTime) string {
	return text(d.TakeDue(Due{Event: true, Watermark: wm, Declared: declared, Limit: 100}))
}

func (d *desk) wantTimes(wm, event beam.EventTime, processing int64, hold beam.EventTime) {
	d.t.Helper()
	e, p, h := d.Times(wm)
	if e != event || h != hold || (processing == 0) != p.IsZero() || processing != 0 && p.UnixMilli() != processing {
		d.t.Errorf("times %v, %v, hold %v, want %v, %v, %v", e, p, h, event, processing, hold)
	}
}

const never = beam.MaxEventTime + 1

func TestTimersFireInTheOrderOfTheirTimes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.wantTimes(0, never, 0, beam.MaxEventTime)
	for _, set := range []Timer{timer("f", "b", 20), timer("g", "a", -5), timer("f", "a", 30), clock("p", "a", 7)} {
		d.SetTimer(set)
	}
	d.commit()
	d.SetTimer(timer("g", "c", 21))
	d.wantTimes(0, -5, 7, -5)
	d.want("due at -6", d.due(-6), "")
	d.want("due at 21", d.due(21), "g/a@-5 f/b@20 g/c@21")
	d.wantTimes(21, 30, 7, 7)
	d.want("due again", d.due(21), "")
	d.want("clock", text(d.TakeDue(Due{Processing: true, Now: time.UnixMilli(6), Limit: 10})), "")
	d.want("clock", text(d.TakeDue(Due{Event: true, Watermark: 100, Processing: true, Now: time.UnixMilli(7), Limit: 10})), "f/a@30 p/a@7")
	d.wantTimes(21, never, 0, beam.MaxEventTime)
	d.commit()
	if n := d.entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// TestTimersOfAKeyAreTakenInTurn: what fires at the first time may change those
// after it.
func TestTimersOfAKeyAreTakenInTurn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	window := timer("f", "a", 24)
	window.Window = []byte("other window")
	for _, set := range []Timer{timer("f", "a", 10), timer("g", "a", 10), tagged(timer("f", "a", 20), "c"), clock("p", "a", 5),
		timer("f", "other", 25), window} {
		d.SetTimer(set)
	}
	due := Due{Event: true, Watermark: 100, Processing: true, Now: time.UnixMilli(7), Limit: 100, InTurn: true}
	d.want("first", text(d.TakeDue(due)), "f/a@10 g/a@10 f/a@24 f/other@25")
	d.wantTimes(100, 20, 5, 5)
	d.ClearTimer(tagged(timer("f", "a", 0), "c").TimerID)
	d.SetTimer(timer("g", "a", 30))
	d.want("then", text(d.TakeDue(due)), "g/a@30")
	d.want("then", text(d.TakeDue(due)), "p/a@5")
	d.want("at last", text(d.TakeDue(due)), "")
}

func TestSettingATimerAgainReplacesIt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.SetTimer(timer("f", "a", 10))
	d.SetTimer(tagged(timer("f", "a", 11), "x"))
	d.commit()
	d.SetTimer(timer("f", "a", 50))
	d.wantTimes(0, 11, 0, 11)
	d.want("due at 20", d.due(20), "f/a@11#x")
	d.ClearTimer(timer("f", "a", 0).TimerID)
	d.ClearTimer(timer("f", "none", 0).TimerID)
	d.want("due at 100", d.due(100), "")
	d.commit()
	if n := d.entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

func TestATimerThatIsSetIsNotSetFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.SetFirst(timer("f", "a", 10))
	d.SetFirst(timer("f", "a", 20))
	d.want("due", d.due(100), "f/a@10")
	d.SetFirst(timer("f", "a", 20))
	d.want("due", d.due(100), "f/a@20")
	d.SetTimer(timer("f", "a", 30))
	d.commit()
	d.SetFirst(timer("f", "a", 40))
	d.ClearTimer(timer("f", "a", 0).TimerID)
	d.SetFirst(timer("f", "a", 50))
	d.want("due", d.due(100), "f/a@50")
}

func TestAHoldIsTheLeastOfAllTimers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	low, none := timer("f", "a", 100), timer("f", "b", 50)
	low.Hold, none.Hold = 3, beam.MaxEventTime+1 // as Java has it for a timer without output time
	d.SetTimer(low)
	d.SetTimer(none)
	d.SetTimer(clock("p", "a", 60))
	d.wantTimes(0, 50, 60, 3)
	d.want("due", d.due(60), "f/b@50")
	d.ClearTimer(low.TimerID)
	d.wantTimes(0, never, 60, 60)
}

func TestATimerWithoutOutputTimeHoldsAtItsOwn(t *testing.T) {
	t.Parallel()
	for fire, hold := range map[beam.EventTime]beam.EventTime{
		50: 50, beam.EndOfGlobalWindow: beam.EndOfGlobalWindow, beam.MaxEventTime: beam.LastHold,
	} {
		d := newDesk(t)
		set := timer("f", "a", fire)
		set.Hold = beam.MaxEventTime
		d.SetTimer(set)
		d.wantTimes(0, fire, 0, hold)
		d.want("due", d.due(fire), fmt.Sprint("f/a@", int64(fire)))
		d.wantTimes(0, never, 0, beam.MaxEventTime)
	}
}

func TestATimerComesBackAsItWasSet(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	set := Timer{TimerID: TimerID{Transform: "trans", Family: "fam", Tag: "tag\x00", Window: []byte("win\xff"), User: []byte("us\x00er")},
		Fire: -77, Hold: -99, Pane: []byte{1, 2, 3}}
	d.SetTimer(set)
	d.commit()
	got := d.TakeDue(Due{Event: true, Limit: 10})
	if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(set) {
		t.Errorf("got %v, want %v", got, set)
	}
}

func TestNoMoreTimersAreTakenThanAsked(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i := range 10 {
		d.SetTimer(timer("f", fmt.Sprint(i), beam.EventTime(i)))
		d.SetTimer(clock("p", fmt.Sprint(i), beam.EventTime(i)))
	}
	for _, want := range []int{7, 7, 6, 0} {
		if got := d.TakeDue(Due{Event: true, Watermark: 100, Processing: true, Now: time.UnixMilli(100), Limit: 7}); len(got) != want {
			t.Errorf("%d timers, want %d", len(got), want)
		}
	}
}

var declared = Declared{
	States: []Name{{Transform: "t", Name: "s"}, {Transform: "t", Name: "other"}},
	Timers: []Name{{Transform: "t", Name: "f"}, {Transform: "t", Name: "p", ProcessingTime: true}},
}

// window is the key of a user in another window.
func window(w, user string) Key {
	k := key(user)
	k.Window = []byte(w)
	return k
}

func TestWhatExpiresIsForgotten(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, k := range []Key{window("w", "a"), window("w", "b"), window("v", "a")} {
		d.AppendBag(k, []byte("x"))
		k.Map = []byte("m")
		d.AppendMultimap(k, []byte("x"))
		if err := d.AppendOrderedList(k, listEntry(1, "x")); err != nil {
			t.Fatal(err)
		}
		until := beam.EventTime(10)
		if string(k.Window) == "v" {
			until = 20
		}
		d.Keep(k.Window, k.User, until)
		d.Keep(k.Window, k.User, until)
	}
	d.SetTimer(tagged(timer("f", "a", 500), "x"))
	d.SetTimer(timer("f", "a", 600))
	d.SetTimer(clock("p", "a", 700))
	d.commit()
	d.wantTimes(0, 11, 700, 500)
	before := d.entries()
	d.Expire(10, declared, 100)
	d.commit()
	if n := d.entries(); n != before {
		t.Errorf("%d of %d entries are left at the time until which they are kept", n, before)
	}
	// What is left of event-time timers is due first, in the order of their times.
	due := Due{Event: true, Watermark: 11, Declared: declared, Limit: 100, InTurn: true}
	d.want("due", text(d.TakeDue(due)), "")
	for _, left := range []struct {
		hold  beam.EventTime
		timer string
	}{{500, "f/a@500#x"}, {600, "f/a@600"}} {
		d.Expire(11, declared, 100)
		d.want("bag", d.bag(window("w", "a"))+d.bag(window("w", "b")), "x")
		d.wantTimes(11, 11, 700, left.hold)
		d.want("due", text(d.TakeDue(due)), left.timer)
	}
	d.Expire(11, declared, 100)
	d.commit()
	d.wantTimes(11, 21, 0, beam.MaxEventTime)
	d.want("bag", d.bag(window("w", "a"))+d.bag(window("w", "b"))+"|"+d.bag(window("v", "a")), "|x")
	d.Expire(21, declared, 100)
	d.commit()
	if n := d.entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// TestNothingExpiresBeforeDueTimersHaveFired: they may read the state.
func TestNothingExpiresBeforeDueTimersHaveFired(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.AppendBag(key("a"), []byte("x"))
	d.Keep([]byte("w"), []byte("a"), 10)
	d.SetTimer(timer("f", "a", 8))
	d.Expire(15, declared, 100)
	d.want("bag", d.bag(key("a")), "x")
	d.want("due", d.due(15), "f/a@8")
	d.Expire(15, declared, 100)
	d.want("bag", d.bag(key("a")), "")
}

// TestNothingExpiresAtTheEndOfTime: the job's last timers are to fire, and then
// all is thrown away anyhow.
func TestNothingExpiresAtTheEndOfTime(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Keep([]byte("w"), []byte("a"), 10)
	d.SetTimer(clock("p", "a", 5))
	d.Expire(beam.MaxEventTime, declared, 100)
	d.wantTimes(beam.MaxEventTime, never, 5, 5)
}

func TestExpiryIsBounded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i := range 10 {
		d.Keep([]byte("w"), []byte{byte(i)}, 10)
	}
	d.Expire(50, declared, 7)
	d.wantTimes(50, 11, 0, beam.MaxEventTime)
	d.Expire(50, declared, 7)
	d.wantTimes(50, never, 0, beam.MaxEventTime)
}

// BenchmarkSetTimer sets the timers of 100 keys, a hundred times each.
func BenchmarkSetTimer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		m := store.NewMemory()
		s := NewShard(store.NewTxn(m.Entries()), 0, 0, 1)
		for i := range 10_000 {
			s.SetTimer(timer("f", keys[i%100], beam.EventTime(i)))
		}
		s.Flush()
	}
}

var keys = func() (all [100]string) {
	for i := range all {
		all[i] = fmt.Sprint("key", i)
	}
	return all
}()

// TestSortedElementsAreTakenInTheOrderOfTheirTimes: those of one time as they
// came, and those that wait hold the watermark.
func TestSortedElementsAreTakenInTheOrderOfTheirTimes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.SetTimer(timer("f", "a", 9))
	for i, at := range []beam.EventTime{30, -10, 20, 8, 20} {
		d.Sort(at, []byte{'a' + byte(i)})
	}
	d.commit()
	d.wantTimes(0, 9, 0, -10)
	take := func(upTo beam.EventTime, size int, want string, least beam.EventTime) {
		t.Helper()
		got, count, at := d.TakeSorted(upTo, size)
		if string(got) != want || count != len(want) || at != least {
			t.Errorf("up to %d: %q (%d) from %d on, want %q from %d on", upTo, got, count, at, want, least)
		}
	}
	take(-11, 100, "", beam.MaxEventTime)
	take(20, 3, "bdc", -10)
	d.commit()
	if first, ok := d.FirstSorted(); first != 20 || !ok {
		t.Errorf("the first that waits is at %d (%v)", first, ok)
	}
	take(29, 100, "e", 20)
	d.wantTimes(0, 9, 0, 9)
	take(beam.MaxEventTime, 100, "a", 30)
	if _, ok := d.FirstSorted(); ok {
		t.Error("something waits")
	}
}
