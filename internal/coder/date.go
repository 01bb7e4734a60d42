package coder

import "time"

// Date is a day of the calendar, counted from 1970-01-01.
type Date int64

const (
	secondsPerDay = 24 * 60 * 60
	// maxDays bounds a datetime, far beyond what databases and SDKs can
	// hold, so that its seconds do not overflow.
	maxDays = 1e11
)

// DateOf returns the day that t shows in its own location.
func DateOf(t time.Time) Date {
	year, month, day := t.Date()
	return Date(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay)
}

// Time returns the start of the day in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// String returns the day as 2006-01-02.
func (d Date) String() string { return d.Time().Format(time.DateOnly) }

// TimeOfDay is the time since midnight, less than 24 hours.
type TimeOfDay time.Duration

// String returns the time as 15:04:05 with the fraction that it has.
func (t TimeOfDay) String() string { return time.Unix(0, int64(t)).UTC().Format("15:04:05.999999999") }

func timeOfDay(nanos int64) (TimeOfDay, error) {
	if nanos < 0 || nanos >= secondsPerDay*int64(time.Second) {
		return 0, malformed("a time of the day of %d ns", nanos)
	}
	return TimeOfDay(nanos), nil
}

// dates have a representation of days.
type dates struct{}

func (dates) suits(t *FieldType) bool { return suitsInteger(t) }

func (dates) fromRepresentation(v any) (any, error) {
	days, _ := integer(v)
	return Date(days), nil
}

func (dates) toRepresentation(v any) (any, bool) {
	switch v := v.(type) {
	case Date:
		return int64(v), true
	case time.Time:
		return int64(DateOf(v)), true
	}
	return nil, false
}

// timesOfDay have a representation of nanoseconds.
type timesOfDay struct{}

func (timesOfDay) suits(t *FieldType) bool { return suitsInteger(t) }

func (timesOfDay) fromRepresentation(v any) (any, error) {
	nanos, _ := integer(v)
	return timeOfDay(nanos)
}

func (timesOfDay) toRepresentation(v any) (any, bool) {
	t, ok := v.(TimeOfDay)
	return int64(t), ok
}

// dateTimes have a representation of days and nanoseconds.
type dateTimes struct{}

func (dateTimes) suits(t *FieldType) bool { return suitsPair(t) }

func (dateTimes) fromRepresentation(v any) (any, error) {
	days, nanos, err := pair(v)
	if err != nil {
		return nil, err
	}
	if days < -maxDays || days > maxDays {
		return nil, malformed("a datetime %d days from 1970", days)
	}
	t, err := timeOfDay(nanos)
	return Date(days).Time().Add(time.Duration(t)), err
}

func (dateTimes) toRepresentation(v any) (any, bool) {
	t, ok := v.(time.Time)
	day := DateOf(t)
	hour, minute, second := t.Clock()
	nanos := int64(hour*3600+minute*60+second)*int64(time.Second) + int64(t.Nanosecond())
	return Row{Values: []any{int64(day), nanos}}, ok
}
