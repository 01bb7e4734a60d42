package expansion

import (
	"fmt"
	"slices"
	"strings"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// Config is the configuration of a transform by field name. The getters keep
// the first thing that is wrong, and Err reports it: also a field that was set
// but that nobody asked for, since ignoring it could change the result. No
// message shows a value.
type Config struct {
	values map[string]any
	asked  map[string]bool
	err    error
}

// NewConfig makes a configuration of decoded values; nil is an unset one.
func NewConfig(values map[string]any) *Config {
	return &Config{values: values, asked: map[string]bool{}}
}

func configOf(r coder.Row) *Config {
	values := make(map[string]any, len(r.Values))
	for i, f := range r.Schema.Fields {
		if i < len(r.Values) {
			values[f.Name] = r.Values[i]
		}
	}
	return NewConfig(values)
}

// Err returns what is wrong with the configuration, if anything is: to be
// called after all fields have been asked for.
func (c *Config) Err() error {
	if c.err != nil {
		return c.err
	}
	var left []string
	for name, v := range c.values {
		if v != nil && !c.asked[name] {
			left = append(left, name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	slices.Sort(left)
	return &beam.Error{Code: beam.Unsupported, Where: strings.Join(left, ", "),
		What: "Fresnel does not know what this setting means here", Cure: "leave it out"}
}

func (c *Config) get(name string) any {
	c.asked[name] = true
	return c.values[name]
}

func (c *Config) fail(name, want string) {
	if c.err == nil {
		c.err = &beam.Error{Code: beam.InvalidPipeline, Where: name, What: "the setting is not " + want}
	}
}

// Has tells whether a field has a value.
func (c *Config) Has(name string) bool { return c.values[name] != nil }

// Ignore marks fields that have no meaning here and do no harm.
func (c *Config) Ignore(names ...string) {
	for _, n := range names {
		c.asked[n] = true
	}
}

// Require makes unset fields an error.
func (c *Config) Require(names ...string) {
	for _, n := range names {
		if v := c.values[n]; (v == nil || v == "") && c.err == nil {
			c.err = &beam.Error{Code: beam.InvalidPipeline, Where: n, What: "the setting is missing"}
		}
	}
}

// String returns a text field, "" if it is unset.
func (c *Config) String(name string) string {
	switch v := c.get(name).(type) {
	case nil:
	case string:
		return v
	default:
		c.fail(name, "a text")
	}
	return ""
}

// Bytes returns a field of bytes, nil if it is unset.
func (c *Config) Bytes(name string) []byte {
	switch v := c.get(name).(type) {
	case nil:
	case []byte:
		return v
	default:
		c.fail(name, "bytes")
	}
	return nil
}

// Bool returns a truth value, false if it is unset.
func (c *Config) Bool(name string) bool {
	switch v := c.get(name).(type) {
	case nil:
	case bool:
		return v
	default:
		c.fail(name, "true or false")
	}
	return false
}

// Int returns a number; ok is false if it is unset.
func (c *Config) Int(name string) (n int64, ok bool) {
	switch v := c.get(name).(type) {
	case nil:
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case int16:
		return int64(v), true
	case int8:
		return int64(v), true
	case int:
		return int64(v), true
	default:
		c.fail(name, "a whole number")
	}
	return 0, false
}

// Strings returns a list of texts, nil if it is unset.
func (c *Config) Strings(name string) []string {
	switch v := c.get(name).(type) {
	case nil:
	case []any:
		if out, ok := texts(v); ok {
			return out
		}
		c.fail(name, "a list of texts")
	default:
		c.fail(name, "a list of texts")
	}
	return nil
}

func texts(list []any) ([]string, bool) {
	out := make([]string, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, false
		}
		out[i] = s
	}
	return out, true
}

// StringMap returns a map of texts, nil if it is unset.
func (c *Config) StringMap(name string) map[string]string {
	out := map[string]string{}
	set := func(k, v any) {
		key, isKey := k.(string)
		value, isValue := textOf(v)
		if !isKey || !isValue {
			c.fail(name, "a map of texts")
			return
		}
		out[key] = value
	}
	switch v := c.get(name).(type) {
	case nil:
		return nil
	case coder.Map:
		for _, kv := range v {
			set(kv.Key, kv.Value)
		}
	case map[string]any: // from YAML
		for k, e := range v {
			set(k, e)
		}
	default:
		c.fail(name, "a map of texts")
	}
	return out
}

// textOf takes what people write without quotes in YAML for text as well.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool, int, int64, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// Row returns a nested configuration, nil if it is unset.
func (c *Config) Row(name string) *Config {
	switch v := c.get(name).(type) {
	case nil:
	case coder.Row:
		return configOf(v)
	case map[string]any:
		return NewConfig(v)
	default:
		c.fail(name, "a row")
	}
	return nil
}
