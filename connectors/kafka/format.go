package kafka

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"fresnel/connectors/expansion"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// serde is how one half of a record is (de)serialized: the part of Java's
// serializer class names that says so.
type serde string

// The serdes, named as in org.apache.kafka.common.serialization.
const (
	byteArray serde = "ByteArray"
	text      serde = "String"
	integer   serde = "Integer"
	long      serde = "Long"
)

// parseSerde takes a Java class name apart; suffix is Serializer or Deserializer.
func parseSerde(class, suffix string) (serde, error) {
	name := class[strings.LastIndexByte(class, '.')+1:]
	switch s := serde(strings.TrimSuffix(name, suffix)); s {
	case byteArray, text, integer, long:
		if strings.HasSuffix(name, suffix) {
			return s, nil
		}
	}
	return "", &beam.Error{Code: beam.Unsupported, Where: strings.ToLower(suffix), What: fmt.Sprintf("Fresnel has no %q", class),
		Cure: "it has ByteArray" + suffix + ", String" + suffix + ", Integer" + suffix + " and Long" + suffix +
			"; for others read or write bytes and convert them in a Map"}
}

// coder is that of the elements on Beam's side.
func (s serde) coder() *coder.Coder {
	switch s {
	case text:
		return coder.StringUTF8
	case integer, long:
		return coder.VarInt
	}
	return coder.Bytes
}

// appendNested appends a deserialized key or value as a nullable element.
func (s serde) appendNested(dst, b []byte) ([]byte, error) {
	if b == nil {
		return append(dst, 0), nil
	}
	dst = append(dst, 1)
	switch s {
	case integer:
		if len(b) != 4 {
			return nil, fmt.Errorf("%d bytes where an Integer has 4", len(b))
		}
		return coder.AppendVarInt(dst, int64(int32(binary.BigEndian.Uint32(b)))), nil
	case long:
		if len(b) != 8 {
			return nil, fmt.Errorf("%d bytes where a Long has 8", len(b))
		}
		return coder.AppendVarInt(dst, int64(binary.BigEndian.Uint64(b))), nil
	case text:
		b = validUTF8(b)
	}
	return coder.AppendLengthPrefixed(dst, b), nil
}

// validUTF8 replaces what is no UTF-8, as Java's decoder does.
func validUTF8(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return []byte(strings.ToValidUTF8(string(b), "\uFFFD"))
}

// format is what a read makes of its records: KV<nullable key, nullable value>,
// a row that has the metadata too, or a row of the value alone.
type format struct {
	Key      serde `json:"key"`
	Value    serde `json:"value"`
	Metadata bool  `json:"metadata,omitempty"`
	Payload  bool  `json:"payload,omitempty"`
}

func (f format) coder() *coder.Coder {
	switch {
	case f.Metadata:
		return coder.RowCoder(metadataSchema())
	case f.Payload:
		kind := coder.TypeBytes
		if f.Value == text {
			kind = coder.TypeString
		}
		return coder.RowCoder(expansion.NewSchema(coder.Field{Name: "payload", Type: coder.Atomic(kind)}))
	}
	return coder.KVOf(coder.NullableOf(f.Key.coder()), coder.NullableOf(f.Value.coder()))
}

// append appends the record as an element of the coder.
func (f format) append(dst []byte, r *record, tp topicPartition) ([]byte, error) {
	switch {
	case f.Metadata:
		return appendMetadata(dst, r, tp)
	case f.Payload: // one field, no nulls: a tombstone is an empty payload
		value := r.value
		if f.Value == text {
			value = validUTF8(value)
		}
		return coder.AppendLengthPrefixed(append(dst, 1, 0), value), nil
	}
	dst, err := f.Key.appendNested(dst, r.key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if dst, err = f.Value.appendNested(dst, r.value); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return dst, nil
}
