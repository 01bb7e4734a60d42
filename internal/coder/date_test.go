package coder

import (
	"testing"
	"time"
)

func TestDates(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("east", 14*3600)
	for _, test := range []struct {
		time time.Time
		want string
		days Date
	}{
		{time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC), "1969-12-31", -1},
		{time.Date(2024, 2, 29, 1, 0, 0, 0, east), "2024-02-29", 19782},
		{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), "0001-01-01", -719162},
	} {
		if got := DateOf(test.time); got != test.days || got.String() != test.want {
			t.Errorf("%d %s, not %d %s", got, got, test.days, test.want)
		}
	}
}

func TestTimesOfDay(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"00:00:00":           0,
		"23:59:59.999999999": 24*time.Hour - 1,
		"01:02:03.5":         time.Hour + 2*time.Minute + 3500*time.Millisecond,
	} {
		if got := TimeOfDay(d).String(); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
