package kafka

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

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
		if !utf8.Valid(b) { // as Java decodes it
			b = []byte(strings.ToValidUTF8(string(b), "\uFFFD"))
		}
	}
	return coder.AppendLengthPrefixed(dst, b), nil
}

// format is what a read makes of its records: KV<nullable key, nullable value>,
// or a row that has the metadata too.
type format struct {
	Key      serde `json:"key"`
	Value    serde `json:"value"`
	Metadata bool  `json:"metadata,omitempty"`
}

func (f format) coder() *coder.Coder {
	if f.Metadata {
		return coder.RowCoder(metadataSchema())
	}
	return coder.KVOf(coder.NullableOf(f.Key.coder()), coder.NullableOf(f.Value.coder()))
}

// append appends the record as an element of the coder.
func (f format) append(dst []byte, r *record, tp topicPartition) ([]byte, error) {
	if f.Metadata {
		return appendMetadata(dst, r, tp)
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
