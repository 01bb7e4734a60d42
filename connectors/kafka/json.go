package kafka

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"fresnel/internal/coder"
)

// jsonOf encodes a row as a JSON object, its fields in their order, as Beam's
// Java transforms do: bytes in base64, times in RFC 3339.
func jsonOf(r coder.Row) ([]byte, error) { return appendJSON(nil, r) }

func appendJSON(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case coder.Row:
		return appendObject(dst, len(v.Values), func(i int) (any, any) { return v.Schema.Fields[i].Name, v.Values[i] })
	case coder.Map:
		return appendObject(dst, len(v), func(i int) (any, any) { return v[i].Key, v[i].Value })
	case []any:
		return appendList(dst, v)
	case coder.Decimal:
		return append(dst, v.String()...), nil
	case coder.Date, coder.TimeOfDay:
		return fmt.Appendf(dst, "%q", v), nil
	case time.Time:
		return fmt.Appendf(dst, "%q", v.UTC().Format(time.RFC3339Nano)), nil
	case float32:
		return appendNumber(dst, float64(v), v)
	case float64:
		return appendNumber(dst, v, v)
	}
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

// appendNumber writes what JSON has no number for as text.
func appendNumber(dst []byte, f float64, v any) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Appendf(dst, `"%v"`, v), nil
	}
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

func appendList(dst []byte, list []any) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, e); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, n int, at func(i int) (key, value any)) ([]byte, error) {
	dst = append(dst, '{')
	for i := range n {
		key, value := at(i)
		if i > 0 {
			dst = append(dst, ',')
		}
		name, err := json.Marshal(fmt.Sprint(key))
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, name...), ':')
		if dst, err = appendJSON(dst, value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}
