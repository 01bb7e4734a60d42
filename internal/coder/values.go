package coder

import "fresnel/internal/beam"

// Decode gives, and Append takes:
//
//	bytes, length_prefix of an unknown coder   []byte
//	string_utf8                                string
//	bool                                       bool
//	varint                                     int64
//	double                                     float64
//	kv                                         KV
//	iterable, state_backed_iterable            []any, StateBacked
//	nullable                                   nil, or the value
//	global_window, interval_window             beam.Window
//	custom_window                              CustomWindow
//	windowed_value, param_windowed_value       WindowedValue
//	timer                                      Timer
//	sharded_key                                ShardedKey
//	row                                        Row
//
// and for the fields of rows what TypeKind says. Where a value is an integer,
// Append takes every integer type of Go that holds the number.

// KV is a key-value pair.
type KV struct{ Key, Value any }

// Map is a map of a row, in the order of its encoding: its keys may be of
// types that Go's maps cannot have.
type Map []KV

// Strings returns the entries of m whose keys and values are strings.
func (m Map) Strings() map[string]string {
	strings := make(map[string]string, len(m))
	for _, kv := range m {
		key, ok := kv.Key.(string)
		if value, also := kv.Value.(string); ok && also {
			strings[key] = value
		}
	}
	return strings
}

// StateBacked is an iterable whose rest is kept in state.
type StateBacked struct {
	// Head holds the values before the rest.
	Head []any
	// Token is what the State API knows the rest by.
	Token []byte
}

// CustomWindow is a window of an SDK-defined window function.
type CustomWindow struct {
	MaxTimestamp beam.EventTime
	Window       any
}

// ShardedKey is a key that was spread over shards.
type ShardedKey struct {
	ShardID []byte
	Key     any
}

// WindowedValue is a decoded windowed value.
type WindowedValue struct {
	Timestamp beam.EventTime
	Windows   []any
	Pane      beam.Pane
	Value     any
}
