package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"fresnel/examples/cdn"
)

func TestViewShowsRateAndLatencyOfLately(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v, start := &view{out: &out}, time.Unix(1000, 0)
	v.take(cdn.Totals{}, nil, start)
	v.draw()
	for second := range 20 {
		lines := int64(100 * (second + 1))
		v.take(cdn.Totals{"Tibet": {AccessCount: lines}}, []time.Duration{300 * time.Millisecond}, start.Add(time.Duration(second+1)*time.Second))
		v.draw()
	}
	printed := strings.Split(strings.TrimSpace(out.String()), "\n")
	if want := "the pipeline starts"; printed[0] != want {
		t.Errorf("got %q, want %q", printed[0], want)
	}
	if got, want := printed[len(printed)-1], "2000 lines in the table, 100 lines/s, from Kafka to MySQL p50 300 ms, p99 300 ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(printed) != 5 {
		t.Errorf("printed %d lines in 20 s where there is no terminal", len(printed))
	}
	if screen := v.screen(); !strings.Contains(screen, "Tibet ") {
		t.Error(screen)
	}
}
