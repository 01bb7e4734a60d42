package mysql

import (
	"database/sql/driver"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// binding says how a field of a row becomes an argument of a statement.
type binding struct {
	name string
	// date and clock: the field is one of Java's SQL types, an instant of which
	// only the day or the time of the day counts.
	date, clock bool
}

// bindings checks that every field has a type that MySQL has.
func bindings(s *coder.Schema) ([]binding, error) {
	out := make([]binding, len(s.Fields))
	for i, f := range s.Fields {
		t := f.Type
		switch t.Kind {
		case coder.TypeArray, coder.TypeIterable, coder.TypeMap, coder.TypeRow:
			return nil, &beam.Error{Code: beam.Unsupported, Where: "field " + f.Name,
				What: "MySQL has no arrays, maps and rows", Cure: "write it as text, with json.dumps for a JSON column"}
		}
		out[i].name = f.Name
		if t.Logical != nil {
			out[i].date = t.Logical.URN == "beam:logical_type:javasdk_date:v1"
			out[i].clock = t.Logical.URN == "beam:logical_type:javasdk_time:v1"
		}
	}
	return out, nil
}

const (
	dateTimeLayout = "2006-01-02 15:04:05.999999"
	clockLayout    = "15:04:05.999999"
)

// value converts a decoded field. Times are written in the session's zone, as
// text, since the driver would convert them in its own.
func (b *binding) value(v any, zone *time.Location) (driver.Value, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case int64, string, []byte:
		return v, nil
	case int8:
		return int64(v), nil
	case int16:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case float32:
		return shortest(v)
	case float64:
		return finite(v)
	case coder.Decimal:
		return v.String(), nil
	case coder.Date:
		return v.String(), nil
	case coder.TimeOfDay:
		return time.Unix(0, int64(v)).UTC().Format(clockLayout), nil
	case time.Time:
		return b.instant(v, zone), nil
	}
	return nil, fmt.Errorf("a value of type %T", v)
}

func (b *binding) instant(t time.Time, zone *time.Location) string {
	switch {
	case b.date: // midnight UTC of the day
		return t.UTC().Format(time.DateOnly)
	case b.clock:
		return t.UTC().Format(clockLayout)
	}
	return t.In(zone).Format(dateTimeLayout)
}

// shortest widens a float by its decimal text: 0.1 stays 0.1.
func shortest(f float32) (driver.Value, error) {
	if _, err := finite(float64(f)); err != nil {
		return nil, err
	}
	return strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
}

func finite(f float64) (driver.Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v, which MySQL does not have", f)
	}
	return f, nil
}

// size estimates the bytes of an argument within a statement's text.
func size(v driver.Value) int {
	switch v := v.(type) {
	case string:
		return 2*len(v) + 2
	case []byte:
		return 2*len(v) + 10
	}
	return 24
}

// rowText shows a row to people, its values cut short.
func rowText(fields []binding, args []driver.Value) string {
	var b strings.Builder
	for i, v := range args {
		if i > 0 {
			b.WriteString(", ")
		}
		if i < len(fields) {
			b.WriteString(fields[i].name + "=")
		}
		b.WriteString(valueText(v))
		if b.Len() > 400 {
			b.WriteString(", ...")
			break
		}
	}
	return b.String()
}

const shownBytes = 40

func valueText(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return fmt.Sprintf("%d bytes", len(v))
	case string:
		if len(v) <= shownBytes {
			return strconv.Quote(v)
		}
		cut := shownBytes
		for cut > 0 && !utf8.RuneStart(v[cut]) {
			cut--
		}
		return strconv.Quote(v[:cut]) + fmt.Sprintf("... (%d bytes)", len(v))
	}
	return fmt.Sprint(v)
}
