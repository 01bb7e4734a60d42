package mysql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"fresnel/internal/coder"
)

// converter turns a column's value, as the text protocol gives it, into that
// of a field.
type converter func(v driver.Value) (any, error)

// errZeroDate is a date that only MySQL has.
var errZeroDate = errors.New("a zero date such as 0000-00-00 is no date")

// newConverter returns the converter for a field's type. The type is ours or,
// where the user gave a schema, one of the user's.
func newConverter(t coder.FieldType, zone *time.Location, zeroIsNull bool) converter {
	convert := notNull(t, zone)
	return func(v driver.Value) (any, error) {
		if v == nil {
			return nil, nil
		}
		out, err := convert(v)
		if errors.Is(err, errZeroDate) && zeroIsNull && t.Nullable {
			return nil, nil
		}
		return out, err
	}
}

func notNull(t coder.FieldType, zone *time.Location) converter {
	switch t.Kind {
	case coder.TypeByte, coder.TypeInt16, coder.TypeInt32, coder.TypeInt64:
		return func(v driver.Value) (any, error) { return integerOf(v) }
	case coder.TypeFloat:
		return func(v driver.Value) (any, error) {
			f, err := strconv.ParseFloat(text(v), 32)
			return float32(f), err
		}
	case coder.TypeDouble:
		return func(v driver.Value) (any, error) { return strconv.ParseFloat(text(v), 64) }
	case coder.TypeString:
		return func(v driver.Value) (any, error) { return strings.ToValidUTF8(text(v), "\uFFFD"), nil }
	case coder.TypeBoolean:
		return boolean
	case coder.TypeBytes:
		return func(v driver.Value) (any, error) { return []byte(text(v)), nil }
	case coder.TypeLogical:
		return logicalConverter(t.Logical, zone)
	}
	return func(driver.Value) (any, error) { return nil, fmt.Errorf("a field of kind %d", t.Kind) }
}

func integerOf(v driver.Value) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case uint64:
		if v > math.MaxInt64 {
			return 0, fmt.Errorf("%d is more than an INT64 holds", v)
		}
		return int64(v), nil
	}
	return strconv.ParseInt(text(v), 10, 64)
}

// boolean takes a number, or the bytes of a BIT.
func boolean(v driver.Value) (any, error) {
	if b, ok := v.([]byte); ok && len(b) == 1 && b[0] < 2 {
		return b[0] == 1, nil
	}
	n, err := integerOf(v)
	return n != 0, err
}

func logicalConverter(l *coder.LogicalType, zone *time.Location) converter {
	kind := strings.TrimPrefix(l.URN, "beam:logical_type:")
	switch kind {
	case "decimal:v1", "fixed_decimal:v1":
		return func(v driver.Value) (any, error) { return coder.ParseDecimal(text(v)) }
	case "date:v1":
		return func(v driver.Value) (any, error) {
			at, err := parseTime(text(v), time.UTC)
			return coder.DateOf(at), err
		}
	case "javasdk_date:v1": // an instant: midnight UTC
		return func(v driver.Value) (any, error) { return midnight(text(v)) }
	case "time:v1":
		return func(v driver.Value) (any, error) { return clock(text(v)) }
	case "millis_instant:v1", "micros_instant:v1", "nanos_instant:v1", "timestamp:v1":
		return func(v driver.Value) (any, error) { return parseTime(text(v), zone) }
	case "datetime:v1":
		return func(v driver.Value) (any, error) { return parseTime(text(v), time.UTC) }
	}
	if l.Representation != nil {
		return notNull(*l.Representation, zone)
	}
	return func(driver.Value) (any, error) { return nil, fmt.Errorf("a field of type %s", l.URN) }
}

func midnight(s string) (any, error) {
	at, err := parseTime(s, time.UTC)
	return at.Truncate(24 * time.Hour), err
}

// parseTime reads a DATE, DATETIME or TIMESTAMP.
func parseTime(s string, zone *time.Location) (time.Time, error) {
	if strings.HasPrefix(s, "0000-00-00") {
		return time.Time{}, errZeroDate
	}
	layout := "2006-01-02 15:04:05"
	if len(s) == len(time.DateOnly) {
		layout = time.DateOnly
	}
	at, err := time.ParseInLocation(layout, s, zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no date or time", s)
	}
	return at, nil
}

// clock reads a TIME of the day; MySQL's go beyond a day.
func clock(s string) (coder.TimeOfDay, error) {
	at, err := time.Parse("15:04:05", s)
	if err != nil {
		return 0, fmt.Errorf("%q is no time of the day", s)
	}
	return coder.TimeOfDay(at.Sub(at.Truncate(24 * time.Hour))), nil
}
