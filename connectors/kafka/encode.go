package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/segmentio/kafka-go/compress"
)

// batchEncoder writes one record batch (the format is drawn in batch.go).
// Producer id and sequence are set at the end, so that a batch can be given new
// ones without encoding its records again.
type batchEncoder struct {
	records   []byte
	count     int
	firstTime int64
	maxTime   int64
}

// recordHeader is a header of a record to write.
type recordHeader struct {
	key   string
	value []byte
}

// outRecord is a record to write.
type outRecord struct {
	timestamp  int64 // milliseconds
	key, value []byte
	headers    []recordHeader
}

// add appends a record.
func (e *batchEncoder) add(r *outRecord) {
	if e.count == 0 {
		e.firstTime, e.maxTime = r.timestamp, r.timestamp
	}
	e.maxTime = max(e.maxTime, r.timestamp)
	e.records = appendVarint(e.records, int64(e.bodySize(r)))
	e.records = append(e.records, 0) // attributes: unused
	e.records = appendVarint(e.records, r.timestamp-e.firstTime)
	e.records = appendVarint(e.records, int64(e.count))
	e.records = appendField(e.records, r.key)
	e.records = appendField(e.records, r.value)
	e.records = appendVarint(e.records, int64(len(r.headers)))
	for _, h := range r.headers {
		e.records = appendVarint(e.records, int64(len(h.key)))
		e.records = append(e.records, h.key...)
		e.records = appendField(e.records, h.value)
	}
	e.count++
}

// bodySize is the size of a record without its own length.
func (e *batchEncoder) bodySize(r *outRecord) int {
	n := 1 + varintLen(r.timestamp-e.firstTime) + varintLen(int64(e.count)) + fieldLen(r.key) + fieldLen(r.value) +
		varintLen(int64(len(r.headers)))
	for _, h := range r.headers {
		n += varintLen(int64(len(h.key))) + len(h.key) + fieldLen(h.value)
	}
	return n
}

func appendField(dst, b []byte) []byte {
	if b == nil {
		return appendVarint(dst, -1)
	}
	return append(appendVarint(dst, int64(len(b))), b...)
}

func fieldLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// size is that of the batch before compression.
func (e *batchEncoder) size() int { return batchHeader + len(e.records) }

// batch is a finished record batch.
type batch struct {
	raw   []byte
	count int
}

// finish closes the batch; sequences come later, by stamp.
func (e *batchEncoder) finish(compression compress.Compression) (batch, error) {
	body, err := compressed(compression, e.records)
	if err != nil {
		return batch{}, err
	}
	raw := make([]byte, batchHeader, batchHeader+len(body))
	binary.BigEndian.PutUint32(raw[8:], uint32(batchHeader-batchPrefix+len(body)))
	binary.BigEndian.PutUint32(raw[12:], ^uint32(0)) // leader epoch: unknown
	raw[16] = 2
	binary.BigEndian.PutUint16(raw[21:], uint16(compression)&compressionMask)
	binary.BigEndian.PutUint32(raw[23:], uint32(e.count-1))
	binary.BigEndian.PutUint64(raw[27:], uint64(e.firstTime))
	binary.BigEndian.PutUint64(raw[35:], uint64(e.maxTime))
	binary.BigEndian.PutUint32(raw[57:], uint32(e.count))
	b := batch{raw: append(raw, body...), count: e.count}
	b.stamp(producer{id: -1, epoch: -1}, -1)
	return b, nil
}

// producer identifies an idempotent producer; id -1 is none.
type producer struct {
	id            int64
	epoch         int16
	transactional bool // its batches are within transactions
}

// stamp gives the batch its producer and the sequence number of its first
// record, by which the broker knows a batch that it has already.
func (b *batch) stamp(p producer, sequence int32) {
	binary.BigEndian.PutUint64(b.raw[43:], uint64(p.id))
	binary.BigEndian.PutUint16(b.raw[51:], uint16(p.epoch))
	binary.BigEndian.PutUint32(b.raw[53:], uint32(sequence))
	if p.transactional {
		b.raw[22] |= transactionalFlag
	}
	binary.BigEndian.PutUint32(b.raw[17:], crc32.Checksum(b.raw[crcStart:], castagnoli))
}

func compressed(kind compress.Compression, b []byte) ([]byte, error) {
	codec := kind.Codec()
	if codec == nil {
		return b, nil
	}
	var out bytes.Buffer
	w := codec.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
