package main

import (
	"strings"
	"testing"
	"time"

	"fresnel/jobservice"
)

func TestProgressOfABoundedJobHasABar(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	endOfGlobalWindow := int64(9223371950454775)
	before := newProgress([]jobservice.StageProgress{{Name: "Read", Elements: 1000}, {Name: "Count"}}, at)
	p := newProgress([]jobservice.StageProgress{
		{Name: "Read", Elements: 5000, Done: true}, {Name: "Count", Elements: 500, Pending: 500, Running: 1, Watermark: &endOfGlobalWindow},
	}, at.Add(2*time.Second)).after(before)
	if got, want := p.line(), "[##################......]  75 %  5,000 records, 2,000/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	table := strings.Join(p.table(100), "\n")
	for _, want := range []string{"Read", "5,000", "done", "Count", "works"} {
		if !strings.Contains(table, want) {
			t.Errorf("%s\nlacks %q", table, want)
		}
	}
}

func TestProgressOfAnUnboundedJobHasItsLag(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(10_000)
	first, last := int64(2500), int64(9000)
	p := newProgress([]jobservice.StageProgress{{Name: "Read", Watermark: &last, Elements: 10}, {Name: "Window", Watermark: &first}}, at)
	if got, want := p.line(), "10 records, watermark 7.5 s behind"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNumbersAndTimesForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 90 * time.Second: "1m30s", 3*time.Hour + 4*time.Minute: "3h04m", 100 * time.Hour: "4d"} {
		if got := ago(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
	if got := short("héllo wörld", 6); got != "héllo…" {
		t.Error(got)
	}
}
