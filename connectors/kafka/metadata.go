package kafka

import (
	"encoding/binary"

	"fresnel/internal/coder"

	"fresnel/connectors/expansion"
)

// metadataSchema is the row that ReadFromKafka(with_metadata=True) returns.
func metadataSchema() *coder.Schema {
	str, i32, i64 := coder.Atomic(coder.TypeString), coder.Atomic(coder.TypeInt32), coder.Atomic(coder.TypeInt64)
	bytes := coder.Atomic(coder.TypeBytes)
	headers := expansion.NewSchema(coder.Field{Name: "key", Type: str}, coder.Field{Name: "value", Type: bytes.OrNull()})
	return expansion.NewSchema(
		coder.Field{Name: "topic", Type: str},
		coder.Field{Name: "partition", Type: i32},
		coder.Field{Name: "offset", Type: i64},
		coder.Field{Name: "timestamp", Type: i64},
		coder.Field{Name: "key", Type: bytes.OrNull()},
		coder.Field{Name: "value", Type: bytes.OrNull()},
		coder.Field{Name: "headers", Type: coder.ArrayOf(coder.RowOf(headers)).OrNull()},
		coder.Field{Name: "timestampTypeId", Type: i32},
		coder.Field{Name: "timestampTypeName", Type: str},
	)
}

const metadataFields = 9

// appendMetadata appends the row: the number of fields, the bitmap of nulls
// (empty if there are none), then the fields that are not null. It is the hot
// path of such a read, so it does without coder.Row and its boxed values;
// TestMetadataRows compares the two.
func appendMetadata(dst []byte, r *record, tp topicPartition) ([]byte, error) {
	dst = append(dst, metadataFields)
	switch {
	case r.key == nil && r.value == nil:
		dst = append(dst, 1, 1<<4|1<<5)
	case r.key == nil:
		dst = append(dst, 1, 1<<4)
	case r.value == nil:
		dst = append(dst, 1, 1<<5)
	default:
		dst = append(dst, 0)
	}
	dst = coder.AppendLengthPrefixed(dst, []byte(tp.topic))
	dst = coder.AppendVarInt(dst, int64(tp.partition))
	dst = coder.AppendVarInt(dst, r.offset)
	dst = coder.AppendVarInt(dst, r.timestamp)
	if r.key != nil {
		dst = coder.AppendLengthPrefixed(dst, r.key)
	}
	if r.value != nil {
		dst = coder.AppendLengthPrefixed(dst, r.value)
	}
	dst, err := appendHeaders(dst, r)
	if err != nil {
		return nil, err
	}
	id, name := timestampType(r)
	dst = coder.AppendVarInt(dst, int64(uint32(id))) // an INT32 has 32 bits
	return coder.AppendLengthPrefixed(dst, []byte(name)), nil
}

func appendHeaders(dst []byte, r *record) ([]byte, error) {
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.nHeaders))
	err := r.eachHeader(func(key, value []byte) {
		dst = append(dst, 2)
		if value == nil {
			dst = append(dst, 1, 1<<1)
			dst = coder.AppendLengthPrefixed(dst, key)
			return
		}
		dst = append(dst, 0)
		dst = coder.AppendLengthPrefixed(dst, key)
		dst = coder.AppendLengthPrefixed(dst, value)
	})
	return dst, err
}

// timestampType returns Java's TimestampType of the record.
func timestampType(r *record) (id int32, name string) {
	switch {
	case r.appended:
		return 1, "LogAppendTime"
	case r.timestamp < 0:
		return -1, "NoTimestampType"
	}
	return 0, "CreateTime"
}
