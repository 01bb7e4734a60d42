package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go/compress"

	"fresnel/connectors"
	"fresnel/internal/beam"
)

// encodeBatch writes records whose offsets start at base.
func encodeBatch(t testing.TB, base int64, kind compress.Compression, records ...outRecord) []byte {
	t.Helper()
	var e batchEncoder
	for i := range records {
		e.add(&records[i])
	}
	b, err := e.finish(kind)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(b.raw, uint64(base))
	return b.raw
}

// alter changes a batch's attributes and producer, and its checksum with them.
func alter(b []byte, attributes uint16, producerID int64) []byte {
	binary.BigEndian.PutUint16(b[21:], binary.BigEndian.Uint16(b[21:])|attributes)
	binary.BigEndian.PutUint64(b[43:], uint64(producerID))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcStart:], castagnoli))
	return b
}

func numbered(from, to int) []outRecord {
	var out []outRecord
	for i := from; i < to; i++ {
		out = append(out, outRecord{timestamp: int64(1000 + i), key: fmt.Appendf(nil, "k%d", i), value: fmt.Appendf(nil, "v%d", i)})
	}
	return out
}

// decodeAll returns the values that the decoder gives, as offset:value.
func decodeAll(d *batchDecoder) ([]string, error) {
	var out []string
	var r record
	for {
		more, err := d.next(&r)
		if !more || err != nil {
			return out, err
		}
		out = append(out, fmt.Sprintf("%d:%s", r.offset, r.value))
	}
}

func decodeSet(t *testing.T, set []byte, offset int64, gone ...aborted) ([]string, int64) {
	t.Helper()
	var d batchDecoder
	d.reset(set, offset, gone)
	got, err := decodeAll(&d)
	if err != nil {
		t.Fatal(err)
	}
	next, err := nextOffset(set, offset)
	if err != nil || next != d.offset {
		t.Errorf("the headers say that %d is next, the records say %d (%v)", next, d.offset, err)
	}
	return got, d.offset
}

func want(t *testing.T, got []string, expected ...string) {
	t.Helper()
	if !slices.Equal(got, expected) {
		t.Errorf("got %v, want %v", got, expected)
	}
}

func TestRecordsComeBackAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	in := []outRecord{
		{timestamp: 5_000, key: []byte("k"), value: []byte("v"), headers: []recordHeader{{"h", []byte("x")}, {"null", nil}}},
		{timestamp: 4_000, key: nil, value: nil},
		{timestamp: 9_000, key: []byte{}, value: bytes.Repeat([]byte("long"), 1000)},
	}
	for kind := compress.None; kind <= compress.Zstd; kind++ {
		var d batchDecoder
		d.reset(encodeBatch(t, 7, kind, in...), 7, nil)
		for i := range in {
			var r record
			if more, err := d.next(&r); !more || err != nil {
				t.Fatalf("%v: record %d: %v", kind, i, err)
			}
			if r.offset != int64(7+i) || r.timestamp != in[i].timestamp || r.nHeaders != len(in[i].headers) {
				t.Errorf("%v: record %d: %+v", kind, i, r)
			}
			if !bytes.Equal(r.key, in[i].key) || (r.key == nil) != (in[i].key == nil) ||
				!bytes.Equal(r.value, in[i].value) || (r.value == nil) != (in[i].value == nil) {
				t.Errorf("%v: record %d: key %q, value %q", kind, i, r.key, r.value)
			}
			var headers []recordHeader
			if err := r.eachHeader(func(k, v []byte) { headers = append(headers, recordHeader{string(k), v}) }); err != nil {
				t.Error(err)
			}
			for j, h := range headers {
				if h.key != in[i].headers[j].key || !bytes.Equal(h.value, in[i].headers[j].value) {
					t.Errorf("%v: header %+v", kind, h)
				}
			}
		}
	}
}

func TestABatchIsReadFromTheAskedOffsetOn(t *testing.T) {
	t.Parallel()
	set := slices.Concat(encodeBatch(t, 0, compress.None, numbered(0, 3)...), encodeBatch(t, 3, compress.Gzip, numbered(3, 6)...))
	got, next := decodeSet(t, set, 4)
	want(t, got, "4:v4", "5:v5")
	if next != 6 {
		t.Errorf("the next offset is %d", next)
	}
}

func TestABatchThatIsCutOffIsLeftForTheNextFetch(t *testing.T) {
	t.Parallel()
	first, second := encodeBatch(t, 0, compress.None, numbered(0, 2)...), encodeBatch(t, 2, compress.None, numbered(2, 4)...)
	for cut := range second {
		got, next := decodeSet(t, slices.Concat(first, second[:cut]), 0)
		want(t, got, "0:v0", "1:v1")
		if next != 2 {
			t.Fatalf("the next offset is %d", next)
		}
	}
}

func TestMarkersAndAbortedRecordsAreSkipped(t *testing.T) {
	t.Parallel()
	abort := outRecord{key: []byte{0, 0, 0, 0}, value: []byte{}}
	commit := outRecord{key: []byte{0, 0, 0, 1}, value: []byte{}}
	set := slices.Concat(
		alter(encodeBatch(t, 0, compress.None, numbered(0, 1)...), transactionalFlag, 9), // aborted
		encodeBatch(t, 1, compress.None, numbered(1, 2)...),                              // no transaction
		alter(encodeBatch(t, 2, compress.None, numbered(2, 3)...), transactionalFlag, 8), // committed
		alter(encodeBatch(t, 3, compress.None, abort), transactionalFlag|controlFlag, 9),
		alter(encodeBatch(t, 4, compress.None, commit), transactionalFlag|controlFlag, 8),
		alter(encodeBatch(t, 5, compress.None, numbered(5, 6)...), transactionalFlag, 9), // the next transaction of 9
	)
	got, next := decodeSet(t, set, 0, aborted{9, 0})
	want(t, got, "1:v1", "2:v2", "5:v5")
	if next != 6 {
		t.Errorf("the next offset is %d", next)
	}
	got, _ = decodeSet(t, set, 0) // read_uncommitted
	want(t, got, "0:v0", "1:v1", "2:v2", "5:v5")
}

func TestAPartitionOfNothingButMarkersMovesOn(t *testing.T) {
	t.Parallel()
	set := alter(encodeBatch(t, 41, compress.None, outRecord{key: []byte{0, 0, 0, 1}}), transactionalFlag|controlFlag, 1)
	got, next := decodeSet(t, set, 41)
	want(t, got)
	if next != 42 {
		t.Errorf("the next offset is %d", next)
	}
}

func TestTimestampsOfTheLogAreUsed(t *testing.T) {
	t.Parallel()
	var d batchDecoder
	d.reset(alter(encodeBatch(t, 0, compress.None, numbered(0, 3)...), logAppendTime, -1), 0, nil)
	var r record
	if more, err := d.next(&r); !more || err != nil || r.timestamp != 1002 || !r.appended {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDamagedBatchesAreErrors(t *testing.T) {
	t.Parallel()
	set := encodeBatch(t, 0, compress.None, numbered(0, 3)...)
	for i := crcStart; i < len(set); i++ {
		damaged := bytes.Clone(set)
		damaged[i] ^= 0x40
		var d batchDecoder
		d.reset(damaged, 0, nil)
		if _, err := decodeAll(&d); !errors.Is(err, errChecksum) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	old := bytes.Clone(set)
	old[16] = 1
	var d batchDecoder
	d.reset(old, 0, nil)
	if _, err := decodeAll(&d); !errors.Is(err, errOldFormat) {
		t.Errorf("%v", err)
	}
}

// FuzzDecode gives the decoder whatever a broker may send. The checksum is made
// right, or nothing would get past it.
func FuzzDecode(f *testing.F) {
	for kind := compress.None; kind <= compress.Zstd; kind++ {
		f.Add(encodeBatch(f, 3, kind, numbered(0, 5)...), int64(3), false)
	}
	f.Add(alter(encodeBatch(f, 0, compress.None, outRecord{key: []byte{0, 0, 0, 0}}), transactionalFlag|controlFlag, 1), int64(0), true)
	f.Fuzz(func(t *testing.T, set []byte, offset int64, isAborted bool) {
		for b := set; len(b) >= batchHeader; {
			length := int64(int32(binary.BigEndian.Uint32(b[8:])))
			if length < batchHeader-batchPrefix || length > int64(len(b)-batchPrefix) {
				break
			}
			binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcStart:batchPrefix+length], castagnoli))
			b = b[batchPrefix+length:]
		}
		var gone []aborted
		if isAborted {
			gone = []aborted{{1, 0}, {2, 5}}
		}
		var d batchDecoder
		d.reset(set, offset, gone)
		_ = d.pending()
		_, _ = nextOffset(set, offset)
		var r record
		for range 1 << 20 {
			more, err := d.next(&r)
			if err != nil || !more {
				return
			}
			if r.offset < offset {
				t.Fatalf("offset %d before the asked %d", r.offset, offset)
			}
			_, _ = appendMetadata(nil, &r, topicPartition{"t", 0})
		}
	})
}

// BenchmarkDecode measures record sets of about a megabyte into elements.
func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{100, 1000} {
		for _, kind := range []compress.Compression{compress.None, compress.Snappy, compress.Lz4, compress.Zstd} {
			b.Run(fmt.Sprintf("%dB/%v", size, kind), func(b *testing.B) { benchmarkDecode(b, size, kind) })
		}
	}
}

func benchmarkDecode(b *testing.B, size int, kind compress.Compression) {
	var set []byte
	var records []outRecord
	line := []byte("0b4a4a3e-9d3c-4c2b-8f51-6f1c1b1e7a10,203.0.113.77,17.25,1048576,")
	for i := 0; len(set) < 1<<20; i++ {
		records = append(records, outRecord{timestamp: int64(i), value: append(fmt.Appendf(nil, "%d", i), bytes.Repeat(line, size/len(line)+1)[:size]...)})
		if len(records) == 200 {
			set = append(set, encodeBatch(b, int64(i-199), kind, records...)...)
			records = records[:0]
		}
	}
	r := &partitionReader{source: &source{read: readSpec{Policy: createTime, Format: format{Key: byteArray, Value: byteArray}}, consumer: &consumer{}},
		mark: newWatermark(createTime), end: -1}
	count, bytes := 0, 0
	b.SetBytes(int64(len(set)))
	b.ReportAllocs()
	for b.Loop() {
		r.decoder.reset(set, 0, nil)
		for r.decoder.rest() > 0 {
			batch := connectors.Batch{MinTimestamp: beam.MaxEventTime}
			if err := r.decode(&batch, 1<<20, -1); err != nil {
				b.Fatal(err)
			}
			count += batch.Count
			bytes += len(batch.Elements)
		}
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}
