package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// input turns the elements of a sink into records to write.
type input struct {
	windowed *coder.Windowed
	topic    string // where an element names none
	// Of KVs: how the halves are serialized.
	kv         *coder.Coder
	key, value half
	// Of rows (with_headers): the index of each field, -1 if there is none.
	row                                                 *coder.Coder
	keyAt, valueAt, headersAt, topicAt, partAt, stampAt int
	// value of a row that is written as a whole (kafka_write); nil for others.
	encode func(r coder.Row) ([]byte, error)
}

// half is a key or a value.
type half struct {
	serde    serde
	coder    *coder.Coder // of what is not null
	nullable bool
}

// addressed is a record with where it goes; partition -1 is for the key to say.
type addressed struct {
	outRecord
	topic     string
	partition int32
}

// newInput checks that the elements are what the serializers take.
func newInput(c *coder.Coder, spec *writeSpec) (*input, error) {
	in := &input{topic: spec.Topic}
	switch {
	case spec.Headers:
		return in, in.useRows(c)
	case spec.Rows != "":
		return in, in.useWholeRows(c, spec.Rows)
	}
	if c == nil || c.Kind() != coder.KindKV {
		return nil, notPairs(coderName(c))
	}
	in.kv = c
	var err error
	if in.key, err = newHalf("key", spec.Key, c.Component(0)); err != nil {
		return nil, err
	}
	in.value, err = newHalf("value", spec.Value, c.Component(1))
	return in, err
}

func coderName(c *coder.Coder) string {
	if c == nil {
		return "of a coder that Fresnel does not know"
	}
	return "of the coder " + c.String()
}

func notPairs(what string) error {
	return &beam.Error{Code: beam.InvalidPipeline, What: "the elements to write are not pairs of key and value, but " + what,
		Cure: "give the transform before it with_output_types(typing.Tuple[bytes, bytes])"}
}

func newHalf(name string, s serde, c *coder.Coder) (half, error) {
	h := half{serde: s, coder: c}
	if c.Kind() == coder.KindNullable {
		h.coder, h.nullable = c.Component(0), true
	}
	if h.coder.Kind() == coder.KindLengthPrefix {
		h.coder = h.coder.Component(0)
	}
	kind, want := h.coder.Kind(), "bytes"
	fits := kind == coder.KindBytes
	switch s {
	case text:
		fits, want = kind == coder.KindStringUTF8, "str"
	case integer, long:
		fits, want = kind == coder.KindVarInt, "int"
	}
	if !fits {
		return h, &beam.Error{Code: beam.InvalidPipeline, Where: name + "_serializer",
			What: fmt.Sprintf("%sSerializer takes %s, but the %ss are of the coder %s", s, want, name, c),
			Cure: fmt.Sprintf("give the transform before it with_output_types with a %s of type %s", name, want)}
	}
	return h, nil
}

// useRows finds the fields of the rows that WriteToKafka(with_headers=True) takes.
func (in *input) useRows(c *coder.Coder) error {
	wrong := func(what string) error {
		return &beam.Error{Code: beam.InvalidPipeline, Where: "with_headers", What: what,
			Cure: "write rows with key and value of type bytes, and if needed headers (list of rows of key: str and value: bytes), " +
				"topic, partition and timestamp"}
	}
	if c == nil || c.Kind() != coder.KindRow || c.Schema() == nil {
		return wrong("the elements to write are not rows, but " + coderName(c))
	}
	s := c.Schema()
	in.row = c
	in.keyAt, in.valueAt, in.headersAt = s.Index("key"), s.Index("value"), s.Index("headers")
	in.topicAt, in.partAt, in.stampAt = s.Index("topic"), s.Index("partition"), s.Index("timestamp")
	for name, at := range map[string]int{"key": in.keyAt, "value": in.valueAt} {
		if at < 0 || s.Fields[at].Type.Kind != coder.TypeBytes {
			return wrong("the rows have no field " + name + " of type bytes")
		}
	}
	return nil
}

// useWholeRows takes rows as kafka_write does.
func (in *input) useWholeRows(c *coder.Coder, format string) error {
	if c == nil || c.Kind() != coder.KindRow || c.Schema() == nil {
		return &beam.Error{Code: beam.InvalidPipeline, What: "the elements to write are not rows, but " + coderName(c),
			Cure: "make them rows with beam.Row or, in YAML, MapToFields"}
	}
	in.row, in.encode = c, jsonOf
	if format != "RAW" {
		return nil
	}
	if fields := c.Schema().Fields; len(fields) != 1 || fields[0].Type.Kind != coder.TypeBytes {
		return &beam.Error{Code: beam.InvalidPipeline, Where: "format", What: "RAW takes rows with one field of bytes",
			Cure: "select that field alone, or write JSON"}
	}
	in.encode = func(r coder.Row) ([]byte, error) {
		b, _ := r.Values[0].([]byte)
		return b, nil
	}
	return nil
}

// read decodes an element.
func (in *input) read(b []byte, r *addressed, now time.Time) error {
	var e coder.Element
	if _, err := in.windowed.Scan(b, &e); err != nil {
		return err
	}
	*r = addressed{topic: in.topic, partition: -1}
	r.timestamp = now.UnixMilli()
	if in.row != nil {
		return in.readRow(e.Value, r)
	}
	key, value, err := in.kv.SplitKV(e.Value)
	if err != nil {
		return err
	}
	if r.key, err = in.key.read(key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if r.value, err = in.value.read(value); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	return nil
}

// read serializes an encoded half; nil is null.
func (h *half) read(b []byte) ([]byte, error) {
	if h.nullable {
		if len(b) == 0 {
			return nil, coder.ErrShort
		}
		if b[0] == 0 {
			return nil, nil
		}
		b = b[1:]
	}
	if h.coder.Kind() != coder.KindVarInt {
		content, _, err := coder.DecodeLengthPrefixed(b)
		if err == nil && content == nil {
			content = []byte{}
		}
		return content, err
	}
	v, _, err := coder.DecodeVarInt(b)
	switch {
	case err != nil:
		return nil, err
	case h.serde == long:
		return binary.BigEndian.AppendUint64(nil, uint64(v)), nil
	case v < math.MinInt32 || v > math.MaxInt32:
		return nil, fmt.Errorf("%d does not fit IntegerSerializer's 32 bits", v)
	}
	return binary.BigEndian.AppendUint32(nil, uint32(v)), nil
}

func (in *input) readRow(b []byte, r *addressed) error {
	v, _, err := in.row.Decode(b)
	if err != nil {
		return err
	}
	row, ok := v.(coder.Row)
	if !ok {
		return errors.New("not a row")
	}
	if in.encode != nil {
		r.value, err = in.encode(row)
		return err
	}
	at := func(i int) any {
		if i < 0 || i >= len(row.Values) {
			return nil
		}
		return row.Values[i]
	}
	r.key, _ = at(in.keyAt).([]byte)
	r.value, _ = at(in.valueAt).([]byte)
	if topic, ok := at(in.topicAt).(string); ok {
		r.topic = topic
	}
	if p, ok := whole(at(in.partAt)); ok {
		if p < 0 || p > math.MaxInt32 {
			return fmt.Errorf("partition %d", p)
		}
		r.partition = int32(p)
	}
	if ts, ok := whole(at(in.stampAt)); ok {
		r.timestamp = ts
	}
	r.headers, err = headersOf(at(in.headersAt))
	return err
}

func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case int16:
		return int64(v), true
	}
	return 0, false
}

func headersOf(v any) ([]recordHeader, error) {
	list, _ := v.([]any)
	headers := make([]recordHeader, len(list))
	for i, e := range list {
		row, _ := e.(coder.Row)
		key, _ := row.Get("key")
		value, _ := row.Get("value")
		name, ok := key.(string)
		if !ok {
			return nil, errors.New("a header without a key")
		}
		headers[i].key = name
		headers[i].value, _ = value.([]byte)
	}
	return headers, nil
}
